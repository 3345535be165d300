package audit

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"bilevel/experiments"
	"bilevel/experiments/table"
)

// Page is the audit: what a machine's clock says is in Seconds of its rows alone, and nothing else depends on it.
type Page struct {
	Size  string    `json:"size"` // quick or full
	Parts []Audited `json:"parts"`
}

// Audited is a part with its result.
type Audited struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	About   []string `json:"about"` // the measure, the budget, and how settings were chosen
	Measure string   `json:"measure"`
	State   string   `json:"state"` // what is missing or has failed; empty: nothing
	Rows    []Row    `json:"rows"`

	percent bool
}

// Row is one variant: means and standard deviations over the seeds.
type Row struct {
	Variant string     `json:"variant"`
	Seeds   int        `json:"seeds"`
	Share   table.Stat `json:"implicit_share"` // |C v| / |∇h|
	Own     table.Stat `json:"own_share"`      // of the method's own term in its direction d, averaged over its run
	Cosine  table.Stat `json:"cosine"`         // of the direction and ∇h
	Error   table.Stat `json:"error"`          // figure of ∇h's error, over |∇h|
	// Certified is how many points of a run had a hypergradient known to a tenth, on average, of Points.
	Certified, Points table.Stat
	Value             table.Stat `json:"value"` // of the part's measure
	// Difference is this variant minus the first one, which has the term off, paired by seeds.
	Difference *table.Difference `json:"difference"`
	Reading    string            `json:"reading"`
	Calls      table.Stat        `json:"oracle_calls"`
	Seconds    table.Stat        `json:"-"`
}

// The readings of a difference.
const (
	better  = "better"
	worse   = "worse"
	neither = "none seen"
)

// scalar names of what a row shows beside its measure.
const (
	shareName, cosineName, errorName = "direction.share", "direction.cosine", "direction.error"
	certifiedName, pointsName        = "direction.certified", "direction.points"
	ownName, secondsName             = "implicit.share", "seconds"
)

// Add puts a part's result on the page.
func (p *Page) Add(part Part, r *table.Result) {
	m := r.Measures[0]
	a := Audited{Name: part.Name, Title: r.Title, About: r.Table.Recipe.About, Measure: m.Title, State: r.State(),
		percent: m.Percent}
	for i, row := range r.Rows {
		of := func(name string) table.Stat { return stat(r.Measures, row.Values, name) }
		line := Row{
			Variant: row.Method, Seeds: row.Finished, Share: of(shareName), Own: of(ownName), Cosine: of(cosineName),
			Error: of(errorName), Certified: of(certifiedName), Points: of(pointsName), Value: row.Values[0],
			Calls: row.Calls, Seconds: stat(r.Clocks, r.Times[i], secondsName),
		}
		for k, d := range r.Differences {
			if d.Method == row.Method && d.Measure == 0 {
				line.Difference, line.Reading = &r.Differences[k], reading(d, m.Scalar)
			}
		}
		a.Rows = append(a.Rows, line)
	}
	p.Parts = append(p.Parts, a)
}

// stat is the statistics of a measure by its name; there are none where the recipe does not ask for it.
func stat(measures []table.Measure, values []table.Stat, name string) table.Stat {
	for i, m := range measures {
		if m.Scalar == name {
			return values[i]
		}
	}
	return table.Stat{Mean: table.Number(math.NaN()), Std: table.Number(math.NaN())}
}

// reading says what an interval says: accuracies are the better the higher, all else the lower. An interval of no
// width, as that of a measure that never changes, tells of no difference where it is at 0.
func reading(d table.Difference, measure string) string {
	low, high := float64(d.Low), float64(d.High)
	if experiments.IsAccuracy(measure) {
		low, high = -high, -low
	}
	switch {
	case high < 0:
		return better
	case low > 0:
		return worse
	}
	return neither
}

// Markdown writes the page but for the seconds, the same bytes on every run.
func (p *Page) Markdown(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s\n\n", header(p.Size))
	t := experiments.Table{Columns: []string{"part", "variant", "seeds", "share of the term", "cosine",
		"error of ∇h", "certified", "measure", "value", "difference to the term off", "95 % interval", "reading",
		"oracle calls"}}
	for _, a := range p.Parts {
		for i, r := range a.Rows {
			line := []string{"", r.Variant, seeds(r), share(r), text(r.Cosine, false),
				text(mean(r.Error), false), points(r), "", text(r.Value, a.percent), "", "", "", text(r.Calls, false)}
			if i == 0 {
				line[0], line[7] = a.Title, a.Measure
			}
			if d := r.Difference; d != nil {
				line[9], line[10] = text(mean(d.Stat), a.percent), interval(d, a.percent)
				line[11] = r.Reading
			}
			t.Rows = append(t.Rows, line)
		}
	}
	writeTable(b, t)
	for _, a := range p.Parts {
		b.WriteString("\n" + wrapped(fmt.Sprintf("**%s** (`%s`). %s", a.Title, a.Name, strings.Join(a.About, " "))))
		if a.State != "" {
			b.WriteString("\n" + wrapped(fmt.Sprintf("**%s: %s.**", a.Title, a.State)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// header is the first line of the page, by which a document that has it is found.
func header(size string) string {
	command := "bilevel audit"
	if size == "quick" {
		command += " --quick"
	}
	return fmt.Sprintf("Written by `%s`:", command)
}

// Clock writes the seconds of the runs, by the machine's clock.
func (p *Page) Clock(w io.Writer) error {
	b := &strings.Builder{}
	t := experiments.Table{Columns: []string{"part", "variant", "seconds of a run"}}
	for _, a := range p.Parts {
		for i, r := range a.Rows {
			line := []string{"", r.Variant, text(r.Seconds, false)}
			if i == 0 {
				line[0] = a.Title
			}
			t.Rows = append(t.Rows, line)
		}
	}
	writeTable(b, t)
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped is a paragraph in lines of at most width characters.
func wrapped(text string) string {
	const width = 120
	b, column := &strings.Builder{}, 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String() + "\n"
}

func writeTable(b *strings.Builder, t experiments.Table) {
	escape := strings.NewReplacer("|", `\|`)
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.Columns)
	line(strings.Split(strings.Repeat("--- ", len(t.Columns)-1)+"---", " "))
	for _, row := range t.Rows {
		for i := range row {
			row[i] = escape.Replace(row[i])
		}
		line(row)
	}
}

// mean is a statistic without its deviation.
func mean(s table.Stat) table.Stat {
	s.Std = table.Number(math.NaN())
	return s
}

// seeds is how many runs the measure is of: the others diverged.
func seeds(r Row) string {
	if r.Value.N < r.Seeds {
		return fmt.Sprintf("%d of %d", r.Value.N, r.Seeds)
	}
	return fmt.Sprint(r.Seeds)
}

// share is that of the implicit term, or where no hypergradient could be certified that in the method's own direction.
func share(r Row) string {
	if r.Share.N == 0 && r.Own.N > 0 {
		return "own: " + text(r.Own, false)
	}
	return text(r.Share, false)
}

// points is how many points were certified, of how many that were looked at.
func points(r Row) string {
	if r.Points.N == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2g of %.2g", float64(r.Certified.Mean), float64(r.Points.Mean))
}

func number(v table.Number, percent bool) string {
	if percent {
		return fmt.Sprintf("%.2f %%", 100*float64(v))
	}
	return fmt.Sprintf("%.3g", float64(v))
}

// text is a mean with its deviation, where there is one.
func text(s table.Stat, percent bool) string {
	switch {
	case s.N == 0:
		return "–"
	case math.IsNaN(float64(s.Std)) || s.Std == 0:
		return number(s.Mean, percent)
	case percent:
		return fmt.Sprintf("%.2f ± %.2f %%", 100*float64(s.Mean), 100*float64(s.Std))
	}
	return fmt.Sprintf("%.3g ± %.2g", float64(s.Mean), float64(s.Std))
}

func interval(d *table.Difference, percent bool) string {
	if d.N < 2 {
		return "–"
	}
	return number(d.Low, percent) + " to " + number(d.High, percent)
}
