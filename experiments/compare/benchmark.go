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
// time, and the objective's measures under the names that benchmark_bilevel gives them. Its "value" is the squared norm
// of the hypergradient, on hyper-cleaning the part of the validation rows that are judged wrong; "func" and
// "value_func" are h at y*(x), "inner_distance" is squared, and "test_accuracy" is an error, too.
var benchmarkColumns = []struct {
	name string
	of   func(r Run, at func(column string) (float64, bool)) string
}{
	{"objective_name", func(Run, func(string) (float64, bool)) string { return "Bilevel Optimization" }},
	{"data_name", func(r Run, _ func(string) (float64, bool)) string { return r.Config.Problem }},
	{"solver_name", func(r Run, _ func(string) (float64, bool)) string { return r.Config.solverName() }},
	{"idx_rep", func(r Run, _ func(string) (float64, bool)) string {
		return strconv.FormatUint(r.Record.Seed-1, 10)
	}},
	{"sampling_strategy", func(Run, func(string) (float64, bool)) string { return "Iteration" }},
	{"stop_val", measured("iteration")},
	{"time", measured("seconds")},
	{"objective_value", func(_ Run, at func(string) (float64, bool)) string {
		if g, ok := at("gradient"); ok {
			return exactText(g * g)
		}
		return measured("val_error")(Run{}, at)
	}},
	{"objective_value_func", measured("value")},
	{"objective_func", measured("value")},
	{"objective_inner_distance", func(_ Run, at func(string) (float64, bool)) string {
		if d, ok := at("inner_distance"); ok {
			return exactText(d * d)
		}
		return ""
	}},
	{"objective_test_accuracy", measured("test_error")},
	{"calls", measured("calls")},
	{"samples", measured("samples")},
	{"p_solver_step_factor", func(r Run, _ func(string) (float64, bool)) string {
		return exactText(r.Config.StepFactor)
	}},
	{"p_solver_outer_factor", func(r Run, _ func(string) (float64, bool)) string {
		return exactText(r.Config.OuterFactor)
	}},
}

// measured is a column of the curve as it is, "" where there is none.
func measured(column string) func(Run, func(string) (float64, bool)) string {
	return func(_ Run, at func(string) (float64, bool)) string {
		if v, ok := at(column); ok {
			return exactText(v)
		}
		return ""
	}
}

func exactText(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// solverName is the algorithm with its settings, as benchopt writes it: soba[step_factor=4.0,outer_factor=1.0].
func (c Config) solverName() string {
	return c.Algorithm + "[step_factor=" + exactText(c.StepFactor) + ",outer_factor=" + exactText(c.OuterFactor) + "]"
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
		for _, row := range r.Record.Curve.Rows {
			at := func(column string) (float64, bool) {
				if j := slices.Index(r.Record.Curve.Columns, column); j >= 0 {
					return row[j], true
				}
				return 0, false
			}
			var line []string
			for _, c := range benchmarkColumns {
				line = append(line, c.of(r, at))
			}
			out.Write(line)
		}
	}
	out.Flush()
	return out.Error()
}
