package compare

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"

	"bilevel/experiments"
)

// Run is one record of a comparison with what it is of.
type Run struct {
	Config Config
	Record *experiments.Record
}

// benchmarkColumns are those of the results of benchopt, which benchmark_bilevel runs under: what a row is of, its
// time, and the objective's measures under the names that benchmark_bilevel gives them (revision 3ad65dc). Its "value"
// is the squared norm of the hypergradient, on hyper-cleaning the part of the validation rows that are judged wrong;
// "value_func" is h at y*(x), "inner_distance" is squared, and "test_accuracy" is an error, too. There, stop_val counts
// evaluations, one of them every eval_freq iterations, and seeds are the setting random_state of a solver, which its
// plots read from the solver's name; idx_rep stays 0. The norms of the upper variable and the training error that it
// also has are not measured here; the columns after the objective's are ours, but for the names that benchopt gives to
// settings.
var benchmarkColumns = []struct {
	name string
	of   func(r evaluation, at func(column string) (float64, bool)) string
}{
	{"objective_name", func(evaluation, func(string) (float64, bool)) string { return "Bilevel Optimization" }},
	{"data_name", func(r evaluation, _ func(string) (float64, bool)) string { return r.Config.Problem }},
	{"solver_name", func(r evaluation, _ func(string) (float64, bool)) string { return r.solverName() }},
	{"idx_rep", func(evaluation, func(string) (float64, bool)) string { return "0" }},
	{"sampling_strategy", func(evaluation, func(string) (float64, bool)) string { return "Iteration" }},
	{"stop_val", func(r evaluation, _ func(string) (float64, bool)) string { return strconv.Itoa(r.number) }},
	{"time", measured("seconds")},
	{"objective_value", func(_ evaluation, at func(string) (float64, bool)) string {
		if g, ok := at("gradient"); ok {
			return exactText(g * g)
		}
		return measured("val_error")(evaluation{}, at)
	}},
	{"objective_value_func", measured("value")},
	{"objective_inner_distance", func(_ evaluation, at func(string) (float64, bool)) string {
		if d, ok := at("inner_distance"); ok {
			return exactText(d * d)
		}
		return ""
	}},
	{"objective_test_accuracy", measured("test_error")},
	{"iterations", measured("iteration")},
	{"calls", measured("calls")},
	{"samples", measured("samples")},
	{"p_solver_step_factor", func(r evaluation, _ func(string) (float64, bool)) string {
		return exactText(r.Config.StepFactor)
	}},
	{"p_solver_outer_factor", func(r evaluation, _ func(string) (float64, bool)) string {
		return exactText(r.Config.OuterFactor)
	}},
}

// measured is a column of the curve as it is, "" where there is none.
func measured(column string) func(evaluation, func(string) (float64, bool)) string {
	return func(_ evaluation, at func(string) (float64, bool)) string {
		if v, ok := at(column); ok {
			return exactText(v)
		}
		return ""
	}
}

func exactText(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// evaluation is one point of a run, the first being number 0.
type evaluation struct {
	Run
	number int
}

// solverName is the algorithm with its settings by their names, as benchopt writes it:
// soba[outer_factor=0.1,random_state=1,step_factor=4].
func (r Run) solverName() string {
	c := r.Config
	return c.Algorithm + "[outer_factor=" + exactText(c.OuterFactor) + ",random_state=" +
		strconv.FormatUint(r.Record.Seed, 10) + ",step_factor=" + exactText(c.StepFactor) + "]"
}

// WriteBenchmark writes every point of the runs as CSV with the columns of benchmark_bilevel's results.
func WriteBenchmark(w io.Writer, runs []Run) error {
	out := csv.NewWriter(w)
	var head []string
	for _, c := range benchmarkColumns {
		head = append(head, c.name)
	}
	out.Write(head)
	for _, r := range runs {
		for number, row := range r.Record.Curve.Rows {
			at := func(column string) (float64, bool) {
				if j := slices.Index(r.Record.Curve.Columns, column); j >= 0 {
					return row[j], true
				}
				return 0, false
			}
			var line []string
			for _, c := range benchmarkColumns {
				line = append(line, c.of(evaluation{r, number}, at))
			}
			out.Write(line)
		}
	}
	out.Flush()
	return out.Error()
}
