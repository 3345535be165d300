package table

import (
	"fmt"
	"strings"

	"bilevel/experiments"
)

// sweeps are the plots that the recipe asks for: a measure of each method over a varied setting. Where other settings
// vary, too, each of their combinations is a line.
func (r *Result) sweeps() (list []experiments.Sweep) {
	for _, pair := range r.Table.Recipe.Plots {
		axis := -1
		for i, a := range r.Table.Recipe.Vary {
			if a.Name == pair[0] {
				axis = i
			}
		}
		m, scale := Measure{Scalar: pair[1], Title: strings.ReplaceAll(pair[1], "_", " ")}, 1.0
		for _, known := range append(append([]Measure{}, r.Measures...), r.Clocks...) {
			if known.Scalar == pair[1] {
				m = known
			}
		}
		s := experiments.Sweep{
			File: strings.ReplaceAll(pair[1], ".", "_") + "-" + pair[0], Title: r.heading(), X: pair[0], Y: m.Title,
			HigherIsBetter: experiments.IsAccuracy(pair[1]),
		}
		if m.Percent {
			s.Y, scale = s.Y+" (%)", 100
		}
		values := r.Table.Recipe.Vary[axis].Values
		for _, v := range values {
			x, ok := v.(float64)
			if n, whole := v.(uint64); whole {
				x, ok = float64(n), true
			}
			if s.Labels = append(s.Labels, textOf(v)); !ok {
				x = 0 // no number: the values stand evenly
			}
			s.Values = append(s.Values, x)
		}
		s.Lines = r.lines(axis, s.Labels, pair[1], scale)
		list = append(list, s)
	}
	return list
}

// thinPlots notes plots with means of fewer runs than are finished, which their lines do not show.
func (r *Result) thinPlots(of [][]Outcome) {
	for _, pair := range r.Table.Recipe.Plots {
		thin := 0
		for i, row := range r.Rows {
			if perSeed(of[i], []Measure{{Scalar: pair[1]}})[0].N < row.Finished {
				thin++
			}
		}
		if thin > 0 {
			means := plural(len(r.Rows), "mean", "means")
			r.Notes = append(r.Notes, fmt.Sprintf("the plot of %s over %s: %d of its %s leave out runs that came to "+
				"no number", pair[1], pair[0], thin, means))
		}
	}
}

// lines are the rows of a table by all but one of their settings.
func (r *Result) lines(axis int, labels []string, scalar string, scale float64) (list []experiments.SweepLine) {
	at := map[string]int{} // in the list
	for _, o := range r.Outcomes {
		row := r.Table.Rows[o.Cell.Row]
		name := row.Method
		for i, v := range row.Varied {
			if i != axis {
				name += ", " + r.Varied[i] + " " + v
			}
		}
		i, ok := at[name]
		if !ok {
			i = len(list)
			at[name] = i
			list = append(list, experiments.SweepLine{Name: name, At: make([][]float64, len(labels))})
		}
		for j, label := range labels {
			if v := value(o, scalar); label == row.Varied[axis] && v.finite() {
				list[i].At[j] = append(list[i].At[j], scale*float64(v))
			}
		}
	}
	return list
}
