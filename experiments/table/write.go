package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/atomicfile"
)

// Write writes the results into a folder, each file whole or not at all:
//
//	result.json       the summary, for programs
//	table.csv         rows with mean and deviation of each measure, of how many runs they are, and their oracle calls
//	differences.csv   paired differences with their intervals
//	cells.csv         every cell with all of its numbers, or why it has none
//	table.md, .tex    rows, differences and what the seeds have in common, for documents
//	MEASURE-SETTING   the plots that the recipe asks for, .svg and .png
//	COLUMN-OVER       its curves, likewise, and curves.csv, every point of them but what a clock says
//	seconds.csv       what each cell took, and all that its record has from a clock
//	report.html       all of it, and the seconds, on one page
//
// All but the last two, and curves over seconds, are the same bytes whoever did which cell, and when.
func (r *Result) Write(dir, version, recipe string) error {
	summary, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	put := func(name string, write func(io.Writer) error) {
		err = errors.Join(err, atomicfile.Write(filepath.Join(dir, name), write))
	}
	put("cells.csv", r.cells().Write)
	put("table.csv", r.rows().Write)
	put("differences.csv", r.differences().Write)
	put("seconds.csv", r.seconds().Write)
	put("table.md", r.markdown)
	put("table.tex", r.latex)
	page := experiments.View{
		Page: experiments.Page{Title: r.heading(), Version: version, Config: recipe},
		Rows: [][2]string{
			{"cells", strconv.Itoa(r.Cells)}, {"finished", strconv.Itoa(r.Finished)},
			{"failed", strconv.Itoa(r.Failed)}, {"missing", strconv.Itoa(r.Missing)},
		},
		Before:   r.Table.Recipe.About,
		Warnings: r.warnings(),
	}
	for _, t := range append(r.shown(true), r.failures(), r.cautions()) {
		if len(t.Rows) > 0 {
			page.Tables = append(page.Tables, experiments.List{Name: t.Name, Columns: t.Columns, Rows: t.Rows})
		}
	}
	for _, s := range r.sweeps() {
		drawn := s.Save(dir)
		figure, ok, read := experiments.ReadFigure(dir, s.File)
		if err = errors.Join(err, drawn, read); ok {
			page.Figures = append(page.Figures, figure)
		}
	}
	for _, c := range r.courses() {
		drawn := c.Save(dir)
		figure, ok, read := experiments.ReadFigure(dir, c.File)
		if err = errors.Join(err, drawn, read); ok {
			page.Figures = append(page.Figures, figure)
		}
	}
	if len(r.Table.Recipe.Curves) > 0 {
		put("curves.csv", r.curves().Write)
	}
	err = errors.Join(err, page.Write(filepath.Join(dir, "report.html")))
	put("result.json", func(w io.Writer) error {
		_, err := w.Write(append(summary, '\n'))
		return err
	})
	return err
}

// Show prints the results for people.
func (r *Result) Show(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s\n", r.heading())
	for _, sentence := range r.Table.Recipe.About {
		fmt.Fprintf(b, "%s\n", sentence)
	}
	for _, t := range append(r.shown(true), r.failures()) {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n%s\n", t.Name)
		b.WriteString(aligned(t, "  ", ""))
	}
	for _, note := range r.warnings() {
		fmt.Fprintf(b, "\nwarning: %s", note)
	}
	if n := len(r.cautions().Rows); n > 0 {
		fmt.Fprintf(b, "\nwarning: cells have %s: table.md lists them", plural(n, "warning", "warnings"))
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n")+"\n")
	return err
}

func (r *Result) heading() string {
	title := r.Title
	if title == "" {
		title = "Table"
	}
	if r.Missing > 0 {
		title += " (partial)"
	}
	return title
}

// warnings are the table's state and the notes on it.
func (r *Result) warnings() (list []string) {
	if state := r.State(); state != "" {
		list = append(list, state)
	}
	return append(list, r.Notes...)
}

// cautions are the warnings of records.
func (r *Result) cautions() experiments.Table {
	t := experiments.Table{Name: "Warnings", Columns: []string{"cell", "warning"}}
	for _, o := range r.Outcomes {
		if o.Record != nil {
			for _, sentence := range o.Record.Warnings {
				t.Rows = append(t.Rows, []string{r.Table.Title(o.Cell), sentence})
			}
		}
	}
	return t
}

// The rows as they are shown: mean and deviation, the interval of a difference. Seconds are only for people.
func (r *Result) shown(clock bool) []experiments.Table {
	rows := experiments.Table{
		Name:    "Mean and standard deviation over seeds",
		Columns: append(append([]string{"method"}, r.Varied...), "seeds"),
	}
	for _, m := range r.Measures {
		rows.Columns = append(rows.Columns, m.Title)
	}
	rows.Columns = append(rows.Columns, "oracle calls")
	if clock {
		for _, m := range r.Clocks {
			rows.Columns = append(rows.Columns, m.Title)
		}
		rows.Columns = append(rows.Columns, "seconds of the cell")
	}
	for i, row := range r.Rows {
		seeds := strconv.Itoa(row.Finished)
		if row.Missing+row.Failed > 0 {
			seeds += fmt.Sprintf(" of %d", row.Finished+row.Missing+row.Failed)
		}
		line := append(append([]string{row.Method}, row.Varied...), seeds)
		for k, m := range r.Measures {
			line = append(line, among(m.text(row.Values[k]), row.Values[k].N, row.Finished))
		}
		line = append(line, Measure{}.text(row.Calls))
		if clock {
			for k, m := range r.Clocks {
				line = append(line, among(m.text(r.Times[i][k]), r.Times[i][k].N, row.Finished))
			}
			line = append(line, among(Measure{}.text(r.Seconds[i]), r.Seconds[i].N, row.Finished))
		}
		rows.Rows = append(rows.Rows, line)
	}
	differences := experiments.Table{
		Name:    "Paired differences over seeds",
		Columns: append(append([]string{"difference"}, r.Varied...), "measure", "seeds", "mean", "95 % interval"),
	}
	for _, d := range r.Differences {
		m := r.Measures[d.Measure]
		interval := "–"
		if d.N > 1 {
			interval = m.number(d.Low) + " to " + m.number(d.High)
		}
		mean := "–"
		if d.N > 0 {
			mean = m.number(d.Mean)
		}
		line := append([]string{d.Method + " − " + d.Minus}, d.Varied...)
		differences.Rows = append(differences.Rows, append(line, m.Title, strconv.Itoa(d.N), mean, interval))
	}
	tables := []experiments.Table{rows, r.beside(), differences, r.overlaps()}
	if spread := r.spread(); len(spread.Rows) > 0 {
		return append([]experiments.Table{spread}, tables...)
	}
	return tables
}

// spread has the measures at the values of one axis beside each other, a line for each method at the values of the
// others. It has no rows where the recipe names no such axis.
func (r *Result) spread() experiments.Table {
	name := r.Table.Recipe.Spread
	t := experiments.Table{Name: "Means over seeds, the values of " + name + " beside each other",
		Columns: []string{"method"}}
	at := slices.Index(r.Varied, name)
	if at < 0 {
		return t
	}
	others := slices.Delete(slices.Clone(r.Varied), at, at+1)
	t.Columns = append(t.Columns, others...)
	for _, v := range r.Table.Recipe.Vary[at].Values {
		for _, m := range r.Measures {
			t.Columns = append(t.Columns, fmt.Sprintf("%s, %s %v", m.Title, name, v))
		}
	}
	lines := map[string]int{}
	for _, row := range r.Rows {
		head := append([]string{row.Method}, slices.Delete(slices.Clone(row.Varied), at, at+1)...)
		id := strings.Join(head, "\x00")
		if _, ok := lines[id]; !ok {
			lines[id] = len(t.Rows)
			t.Rows = append(t.Rows, head)
		}
		for k, m := range r.Measures {
			text := "–"
			if n := row.Values[k].N; n > 0 {
				text = among(m.number(row.Values[k].Mean), n, row.Finished)
			}
			t.Rows[lines[id]] = append(t.Rows[lines[id]], text)
		}
	}
	return t
}

func (r *Result) failures() experiments.Table {
	t := experiments.Table{Name: "Failures", Columns: []string{"cell", "reason"}}
	for _, o := range r.Outcomes {
		if o.Reason != "" {
			t.Rows = append(t.Rows, []string{r.Table.Title(o.Cell), o.Reason})
		}
	}
	return t
}

// number is a value as it is shown, text a mean with its deviation, or a dash where there is none.
func (m Measure) number(v Number) string {
	if m.Percent {
		return fmt.Sprintf("%.2f %%", 100*v)
	}
	if v == Number(math.Trunc(float64(v))) && math.Abs(float64(v)) < 1e15 {
		return strconv.FormatInt(int64(v), 10)
	}
	return fmt.Sprintf("%.4g", v)
}

func (m Measure) text(s Stat) string {
	switch {
	case s.N == 0:
		return "–"
	case s.N == 1 || s.Std == 0 && !m.Percent:
		return m.number(s.Mean)
	case m.Percent:
		return fmt.Sprintf("%.2f ± %.2f %%", 100*s.Mean, 100*s.Std)
	}
	return fmt.Sprintf("%.4g ± %.2g", s.Mean, s.Std)
}

// among says of a mean, given as text, where it is of n runs alone and more are finished: it leaves out those that came
// to no number, such as the ones that diverged, and is no fair match for a mean of all.
func among(text string, n, finished int) string {
	if n == 0 || n == finished {
		return text
	}
	return fmt.Sprintf("%s (%d of %d)", text, n, finished)
}

// exact is the shortest text that gives the same float64, "" for what is no number.
func exact(v float64) string {
	if !Number(v).finite() {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func (s Stat) fields() []string { return []string{exact(float64(s.Mean)), exact(float64(s.Std))} }

// rows, differences, cells and seconds are the CSV files, with numbers in full.
func (r *Result) rows() experiments.Table {
	t := experiments.Table{Columns: append(append([]string{"method"}, r.Varied...), "finished", "failed", "missing")}
	for _, m := range r.Measures {
		t.Columns = append(t.Columns, m.Scalar+".mean", m.Scalar+".std", m.Scalar+".n")
	}
	t.Columns = append(t.Columns, "oracle_calls.mean", "oracle_calls.std", "samples.mean", "samples.std")
	for _, row := range r.Rows {
		line := append([]string{row.Method}, row.Varied...)
		line = append(line, strconv.Itoa(row.Finished), strconv.Itoa(row.Failed), strconv.Itoa(row.Missing))
		for _, v := range row.Values {
			line = append(append(line, v.fields()...), strconv.Itoa(v.N))
		}
		t.Rows = append(t.Rows, append(append(line, row.Calls.fields()...), row.Samples.fields()...))
	}
	return t
}

func (r *Result) differences() experiments.Table {
	t := experiments.Table{Columns: append([]string{"method", "minus"}, r.Varied...)}
	t.Columns = append(t.Columns, "measure", "seeds", "mean", "std", "low", "high")
	for _, d := range r.Differences {
		line := append([]string{d.Method, d.Minus}, d.Varied...)
		line = append(line, r.Measures[d.Measure].Scalar, strconv.Itoa(d.N))
		t.Rows = append(t.Rows, append(append(line, d.fields()...), exact(float64(d.Low)), exact(float64(d.High))))
	}
	return t
}

func (r *Result) cells() experiments.Table {
	names := r.columns()
	t := experiments.Table{Columns: append(append([]string{"method"}, r.Varied...), "seed", "key", "state")}
	t.Columns = append(append(t.Columns, names...), "reason")
	for _, o := range r.Outcomes {
		state := "missing"
		if o.Record != nil {
			state = "finished"
		} else if o.Reason != "" {
			state = "failed"
		}
		line := append(r.head(o), state)
		for _, name := range names {
			line = append(line, exact(float64(value(o, name))))
		}
		t.Rows = append(t.Rows, append(line, o.Reason))
	}
	return t
}

func (r *Result) seconds() experiments.Table {
	t := experiments.Table{Columns: append(append([]string{"method"}, r.Varied...), "seed", "key", "seconds",
		"processor_seconds", "memory")}
	names := r.scalars(timed)
	for _, name := range names {
		t.Columns = append(t.Columns, "record."+name)
	}
	for _, o := range r.Outcomes {
		line := append(r.head(o), exact(o.Cost.Seconds), exact(o.Cost.Processor),
			strconv.FormatInt(o.Cost.Memory, 10))
		for _, name := range names {
			line = append(line, exact(float64(value(o, name))))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// head names a cell in the files of cells.
func (r *Result) head(o Outcome) []string {
	row := r.Table.Rows[o.Cell.Row]
	return append(append([]string{row.Method}, row.Varied...), strconv.FormatUint(o.Cell.Seed, 10), o.Cell.Key)
}
