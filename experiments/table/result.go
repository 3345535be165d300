package table

import (
	"maps"
	"math"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/internal/nearest"

	"gonum.org/v1/gonum/stat/distuv"
)

// Result is what a table comes to so far. Nothing in it but Seconds depends on the clock or on who did which cell.
type Result struct {
	Title       string       `json:"title"`
	Cells       int          `json:"cells"`
	Finished    int          `json:"finished"`
	Failed      int          `json:"failed"`
	Missing     int          `json:"missing"` // neither: the table is partial
	Varied      []string     `json:"varied"`
	Measures    []Measure    `json:"measures"`
	Rows        []RowResult  `json:"rows"`
	Differences []Difference `json:"differences"`
	Published   []Figure     `json:"published,omitempty"`
	Notes       []string     `json:"notes"`
	Outcomes    []Outcome    `json:"-"`
	Overlaps    []Overlap    `json:"overlaps"`
	Table       *Table       `json:"-"`
	Seconds     []Stat       `json:"-"` // of each row's cells, mean and deviation
	Clocks      []Measure    `json:"-"` // measures of the recipe that are read off a clock
	Times       [][]Stat     `json:"-"` // of each row, one for each of Clocks
}

// Measure is a scalar of records that is shown.
type Measure struct {
	Scalar  string `json:"scalar"`
	Title   string `json:"title"`
	Percent bool   `json:"percent"`
}

// Stat is a mean over N values with its standard deviation, which is 0 for one value; NaN of none.
type Stat struct {
	N    int    `json:"n"`
	Mean Number `json:"mean"`
	Std  Number `json:"std"`
}

// RowResult is one line: statistics over the seeds whose cells are finished.
type RowResult struct {
	Method   string   `json:"method"`
	Varied   []string `json:"varied"`
	Finished int      `json:"finished"`
	Failed   int      `json:"failed"`
	Missing  int      `json:"missing"`
	Values   []Stat   `json:"values"` // one for each measure, of the seeds that have it
	Calls    Stat     `json:"oracle_calls"`
	Samples  Stat     `json:"samples"`
}

// Difference is the mean of a measure of Method minus that of Minus over the seeds that both have, and the interval
// that holds the true mean with probability 0.95 where differences are normally distributed (Student's t with N-1
// degrees of freedom). Low and High are NaN for fewer than two seeds.
type Difference struct {
	Method  string   `json:"method"`
	Minus   string   `json:"minus"`
	Varied  []string `json:"varied"`
	Measure int      `json:"measure"` // index into Result.Measures
	Stat
	Low  Number `json:"low"`
	High Number `json:"high"`
}

// Number is a float64 that JSON writes as null where it is not finite.
type Number float64

// MarshalJSON writes null for what is no number.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.finite() {
		return []byte("null"), nil
	}
	return []byte(exact(float64(n))), nil
}

func (n Number) finite() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// confidence is the probability of the intervals.
const confidence = 0.95

func statistics(values []float64) Stat {
	if len(values) == 0 {
		return Stat{0, Number(math.NaN()), Number(math.NaN())}
	}
	mean, std := experiments.MeanStd(values)
	if len(values) == 1 { // one value has no deviation
		std = math.NaN()
	}
	return Stat{len(values), Number(mean), Number(std)}
}

// timed tells whether a scalar is read off a clock, by its name: seconds of something, or a latency.
func timed(scalar string) bool {
	last := scalar[strings.LastIndexAny(scalar, "._")+1:]
	return last == "seconds" || strings.HasPrefix(scalar, "latency.")
}

// Summarize computes a table's result from the outcomes of its cells, given in its order.
func Summarize(t *Table, outcomes []Outcome) *Result {
	r := &Result{
		Title: t.Recipe.Title, Cells: len(outcomes), Varied: []string{}, Measures: []Measure{}, Overlaps: []Overlap{},
		Differences: []Difference{}, Notes: []string{}, Outcomes: outcomes, Table: t,
	}
	for _, m := range measures(t) {
		to := &r.Measures
		if timed(m.Scalar) {
			to = &r.Clocks
		}
		*to = append(*to, m)
	}
	for _, a := range t.Recipe.Vary {
		r.Varied = append(r.Varied, a.Name)
	}
	of := make([][]Outcome, len(t.Rows))
	for _, o := range outcomes {
		of[o.Cell.Row] = append(of[o.Cell.Row], o)
	}
	for i, row := range t.Rows {
		line := RowResult{Method: row.Method, Varied: orEmpty(row.Varied)}
		var calls, samples, seconds []float64
		for _, o := range of[i] {
			switch {
			case o.Record != nil:
				line.Finished++
				calls = append(calls, oracleCalls(o.Record))
				samples = append(samples, float64(o.Record.Counts["oracle.samples"]))
				if o.Cost.Seconds > 0 {
					seconds = append(seconds, o.Cost.Seconds)
				}
			case o.Reason != "":
				line.Failed++
			default:
				line.Missing++
			}
		}
		line.Values = perSeed(of[i], r.Measures)
		r.Times = append(r.Times, perSeed(of[i], r.Clocks))
		r.Overlaps = append(r.Overlaps, overlaps(line, of[i])...)
		line.Calls, line.Samples = statistics(calls), statistics(samples)
		r.Finished, r.Failed, r.Missing = r.Finished+line.Finished, r.Failed+line.Failed, r.Missing+line.Missing
		r.Rows, r.Seconds = append(r.Rows, line), append(r.Seconds, statistics(seconds))
	}
	r.besides()
	r.compare(of)
	r.unknownMeasures()
	r.thinPlots(of)
	return r
}

// perSeed are the statistics of measures over the cells of a row that have them.
func perSeed(of []Outcome, measures []Measure) (list []Stat) {
	for _, m := range measures {
		var values []float64
		for _, o := range of {
			if v := value(o, m.Scalar); v.finite() {
				values = append(values, float64(v))
			}
		}
		list = append(list, statistics(values))
	}
	return list
}

// measures are those of the recipe, or what the experiments' own tables show in the first place.
func measures(t *Table) (list []Measure) {
	byName := map[string]Measure{}
	for _, row := range t.Rows {
		for _, line := range row.Run.Experiment.Report().Rows {
			if _, ok := byName[line.Scalar]; ok || timed(line.Scalar) {
				continue
			}
			m := Measure{line.Scalar, strings.TrimSpace(line.Title), line.Percent}
			byName[m.Scalar] = m
			if !strings.HasPrefix(line.Title, " ") && len(t.Recipe.Measures) == 0 { // others explain the one before
				list = append(list, m)
			}
		}
	}
	for _, name := range t.Recipe.Measures {
		m := byName[name]
		list = append(list, Measure{name, strings.ReplaceAll(name, "_", " "), m.Percent})
	}
	return list
}

// value is a scalar or count of a cell, NaN where it has none.
func value(o Outcome, name string) Number {
	if o.Record != nil {
		if v, ok := o.Record.Scalars[name]; ok {
			return Number(v)
		}
		if n, ok := o.Record.Counts[name]; ok {
			return Number(n)
		}
	}
	return Number(math.NaN())
}

// oracleCalls counts gradients, products and values; each is of one minibatch.
func oracleCalls(r *experiments.Record) (n float64) {
	for name, count := range r.Counts {
		if strings.HasPrefix(name, "oracle.") && name != "oracle.samples" {
			n += float64(count)
		}
	}
	return n
}

// compare pairs the cells of two methods at the same settings by their seeds.
func (r *Result) compare(of [][]Outcome) {
	pairs := r.Table.Recipe.Compare
	if len(pairs) == 0 && !r.Table.Recipe.Uncompared {
		methods := r.Table.Recipe.Methods
		for _, m := range methods[1:] {
			pairs = append(pairs, [2]string{m.Name, methods[0].Name})
		}
	}
	for _, pair := range pairs {
		for i, a := range r.Table.Rows {
			for j, b := range r.Table.Rows {
				if a.Method != pair[0] || b.Method != pair[1] || !slices.Equal(a.Varied, b.Varied) {
					continue
				}
				for k := range r.Measures {
					r.Differences = append(r.Differences, r.difference(k, a, b, of[i], of[j]))
				}
			}
		}
	}
}

func (r *Result) difference(measure int, a, b Row, of, minus []Outcome) Difference {
	var values []float64
	for i := range of { // both have the seeds of the recipe, in its order
		v := value(of[i], r.Measures[measure].Scalar) - value(minus[i], r.Measures[measure].Scalar)
		if v.finite() {
			values = append(values, float64(v))
		}
	}
	d := Difference{
		Method: a.Method, Minus: b.Method, Varied: orEmpty(a.Varied), Measure: measure, Stat: statistics(values),
		Low: Number(math.NaN()), High: Number(math.NaN()),
	}
	if n := float64(d.N); d.N > 1 {
		quantile := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile((1 + confidence) / 2)
		half := Number(quantile/math.Sqrt(n)) * d.Std
		d.Low, d.High = d.Mean-half, d.Mean+half
	}
	return d
}

// unknownMeasures notes measures that no finished cell has, or none as a number.
func (r *Result) unknownMeasures() {
	if r.Finished == 0 {
		return
	}
	for i, m := range r.Measures {
		has := func(row RowResult) bool { return row.Values[i].N > 0 }
		if len(r.Table.Recipe.Measures) == 0 || slices.ContainsFunc(r.Rows, has) {
			continue
		}
		if names := r.columns(); slices.Contains(names, m.Scalar) {
			r.Notes = append(r.Notes, "no run came to a number for the measure "+m.Scalar)
		} else {
			r.Notes = append(r.Notes, "no cell has the measure "+m.Scalar+nearest.Hint(m.Scalar, names))
		}
	}
}

// columns are the names of all numbers of the records but those that are read off a clock, sorted.
func (r *Result) columns() []string {
	names := r.scalars(func(name string) bool { return !timed(name) })
	for _, o := range r.Outcomes {
		if o.Record != nil {
			names = append(names, slices.Collect(maps.Keys(o.Record.Counts))...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// scalars are the names of scalars of the records that are wanted, sorted.
func (r *Result) scalars(wanted func(string) bool) (names []string) {
	for _, o := range r.Outcomes {
		if o.Record == nil {
			continue
		}
		for name := range o.Record.Scalars {
			if wanted(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// State says how far the table is, "" where it is whole.
func (r *Result) State() string {
	var parts []string
	if r.Missing > 0 {
		parts = append(parts, plural(r.Missing, "cell is", "cells are")+" missing: this table is partial")
	}
	if r.Failed > 0 {
		parts = append(parts, plural(r.Failed, "cell has", "cells have")+" failed")
	}
	return strings.Join(parts, "; ")
}
