package experiments

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"

	"bilevel/internal/atomicfile"
	"bilevel/solvers/linear"
)

// WriteCleanResults writes a folder of results, each file whole or not at all, the first one last:
//
//	result.json                  what --json prints
//	metrics.jsonl, metrics.csv   the curves of every seed
//	error-iterations, error-seconds, weights (.svg, .png)
//	suspects.csv                 row, label, weight, the model's own label; most suspect first (one file a seed)
func WriteCleanResults(dir, title string, runs []*CleanRun) error {
	summary, err := Summarize(runs)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(summary, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeMetrics(dir, runs); err != nil {
		return err
	}
	if err := writeSuspects(dir, runs); err != nil {
		return err
	}
	if err := cleanPlots(dir, title, runs); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, "result.json"), append(text, '\n'))
}

// writeSuspects writes one list a seed and removes those that an earlier run with other seeds left in the folder.
func writeSuspects(dir string, runs []*CleanRun) error {
	old, err := filepath.Glob(filepath.Join(dir, "suspects-seed-[0-9]*.csv"))
	if err != nil {
		return err
	}
	if single := filepath.Join(dir, "suspects.csv"); len(runs) > 1 {
		if _, err := os.Stat(single); err == nil {
			old = append(old, single)
		}
	}
	for _, r := range runs {
		name := "suspects.csv"
		if len(runs) > 1 {
			name = fmt.Sprintf("suspects-seed-%d.csv", r.Seed)
		}
		path := filepath.Join(dir, name)
		if err := atomicfile.Write(path, r.writeSuspects); err != nil {
			return err
		}
		old = slices.DeleteFunc(old, func(o string) bool { return o == path })
	}
	for _, o := range old {
		if err := os.Remove(o); err != nil {
			return err
		}
	}
	return nil
}

func writeMetrics(dir string, runs []*CleanRun) error {
	type line struct {
		Seed uint64 `json:"seed"`
		CurvePoint
	}
	err := atomicfile.Write(filepath.Join(dir, "metrics.jsonl"), func(w io.Writer) error {
		e := json.NewEncoder(w)
		for _, r := range runs {
			for _, p := range r.Curve {
				if err := e.Encode(line{r.Seed, p}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, "metrics.csv"), func(w io.Writer) error {
		c := csv.NewWriter(w)
		c.Write([]string{"seed", "iteration", "seconds", "samples", "val_error", "val_loss", "test_error"})
		for _, r := range runs {
			for _, p := range r.Curve {
				c.Write([]string{strconv.FormatUint(r.Seed, 10), strconv.Itoa(p.Iteration), number(p.Seconds), strconv.FormatInt(p.Samples, 10),
					number(p.ValError), number(p.ValLoss), number(p.TestError)})
			}
		}
		c.Flush()
		return c.Error()
	})
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 7, 64) }

func (r *CleanRun) writeSuspects(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"row", "label", "weight", "own_label"})
	for _, s := range r.Suspects {
		c.Write([]string{strconv.Itoa(s.Row), strconv.Itoa(s.Label), number(s.Weight), strconv.Itoa(s.Own)})
	}
	c.Flush()
	return c.Error()
}

func cleanPlots(dir, title string, runs []*CleanRun) error {
	column := func(of func(CurvePoint) float64) [][]float64 {
		out := make([][]float64, len(runs))
		for i, r := range runs {
			for _, p := range r.Curve {
				out[i] = append(out[i], of(p))
			}
		}
		return out
	}
	val := column(func(p CurvePoint) float64 { return 100 * p.ValError })
	test := column(func(p CurvePoint) float64 { return 100 * p.TestError })
	for _, axis := range []struct {
		file, label string
		x           [][]float64
	}{
		{"error-iterations", "iteration", column(func(p CurvePoint) float64 { return float64(p.Iteration) })},
		{"error-seconds", "seconds", column(func(p CurvePoint) float64 { return p.Seconds })},
	} {
		p, err := curves(title, axis.label, "error (%)",
			series{"validation", blue, axis.x, val}, series{"test, scored at the end", orange, axis.x, test})
		if err != nil {
			return err
		}
		if err := savePlot(p, dir, axis.file); err != nil {
			return err
		}
	}
	all, kept, changed := group{name: "all rows", colour: blue}, group{name: "label kept", colour: blue}, group{name: "label changed", colour: orange}
	for _, r := range runs {
		for i, w := range r.Weights {
			to := &all
			if r.Changed != nil {
				if to = &kept; r.Changed[i] {
					to = &changed
				}
			}
			to.values = append(to.values, w)
		}
	}
	groups := []group{kept, changed}
	if len(all.values) > 0 {
		groups = []group{all}
	}
	p, err := histogram(title, "learned weight", groups...)
	if err != nil {
		return err
	}
	return savePlot(p, dir, "weights")
}

// WriteCleanTable prints the result for people.
func WriteCleanTable(w io.Writer, runs []*CleanRun) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, of func(*CleanRun) *float64, percent bool) {
		var values []float64
		for _, r := range runs {
			v := of(r)
			if v == nil {
				return
			}
			values = append(values, *v)
		}
		mean, std := MeanStd(values)
		text := fmt.Sprintf("%.4g", mean)
		if percent {
			text = fmt.Sprintf("%.2f %%", 100*mean)
		}
		if len(values) > 1 {
			if percent {
				text += fmt.Sprintf(" ± %.2f", 100*std)
			} else {
				text += fmt.Sprintf(" ± %.2g", std)
			}
		}
		fmt.Fprintf(t, "%s\t%s\n", name, text)
	}
	row("test error, cleaned", func(r *CleanRun) *float64 { return &r.TestError }, true)
	row("  trained on all rows", func(r *CleanRun) *float64 { return &r.Baselines.All }, true)
	row("  on the validation rows", func(r *CleanRun) *float64 { return &r.Baselines.Validation }, true)
	row("  on the truly clean rows", func(r *CleanRun) *float64 { return r.Baselines.Clean }, true)
	row("validation error", func(r *CleanRun) *float64 { return &r.ValError }, true)
	row("detector, area under curve", func(r *CleanRun) *float64 { return r.AUC }, false)
	row("  precision", func(r *CleanRun) *float64 { return r.Precision }, true)
	row("  recall", func(r *CleanRun) *float64 { return r.Recall }, true)
	row("hypergradient norm at the end", func(r *CleanRun) *float64 { return r.Hypergradient.Norm }, false)
	row("  its error figure ("+runs[0].Hypergradient.Kind+")", func(r *CleanRun) *float64 { return r.Hypergradient.Error }, false)
	row("solver seconds", func(r *CleanRun) *float64 { return &r.Seconds }, false)
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range runs {
		if err := r.warn(w); err != nil {
			return err
		}
	}
	return nil
}

// warn says in plain words which figures of a run not to trust.
func (r *CleanRun) warn(w io.Writer) error {
	var err error
	say := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, "warning: seed %d: "+format+"\n", append([]any{r.Seed}, args...)...)
		}
	}
	if !r.Baselines.Converged {
		say("a model to compare with was not trained to convergence: a larger --reg makes that easier")
	}
	if status := r.Hypergradient.Status; status != linear.Converged.String() {
		say("the hypergradient at the end is not reliable (%s): a larger --reg makes its linear system easier", status)
	}
	return err
}
