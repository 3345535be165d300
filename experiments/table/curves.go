package table

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bilevel/experiments"
)

// Curve is a column of the records' curves that is drawn over another one, with a line for each method.
type Curve struct {
	Over, Column string
	// AboveLowest draws what the column is above the lowest value that any run of the figure came to, for a column
	// whose minimum nobody knows.
	AboveLowest bool
}

// aboveLowest is the third word of a curve in a recipe.
const aboveLowest = "above lowest"

func (r *Recipe) readCurves(v any) error {
	values, err := list(v)
	for _, one := range values {
		words, ok := one.([]any)
		if !ok || len(words) < 2 || len(words) > 3 || len(words) == 3 && words[2] != aboveLowest {
			return fmt.Errorf("%v: wants [A, B] for the column B over the column A, or [A, B, %s]", one, aboveLowest)
		}
		r.Curves = append(r.Curves, Curve{fmt.Sprint(words[0]), fmt.Sprint(words[1]), len(words) == 3})
	}
	return err
}

func curvesYAML(curves []Curve) [][]string {
	out := [][]string{}
	for _, c := range curves {
		words := []string{c.Over, c.Column}
		if c.AboveLowest {
			words = append(words, aboveLowest)
		}
		out = append(out, words)
	}
	return out
}

// courses are the plots of the recipe's curves: one for each combination of the settings that vary.
func (r *Result) courses() (list []experiments.Courses) {
	titles := map[string]string{}
	for _, m := range append(slices.Clone(r.Measures), r.Clocks...) {
		titles[m.Scalar] = m.Title
	}
	title := func(column string) string {
		if t, ok := titles[column]; ok {
			return t
		}
		return strings.ReplaceAll(column, "_", " ")
	}
	for _, c := range r.Table.Recipe.Curves {
		for _, at := range combinations(r.Table.Recipe.Vary) {
			plot := experiments.Courses{File: c.Column + "-" + c.Over, Title: r.heading(), X: title(c.Over),
				Y: title(c.Column)}
			var varied []string
			for i, v := range at {
				varied = append(varied, textOf(v))
				plot.File += "-" + textOf(v)
				plot.Title += fmt.Sprintf(", %s %s", r.Varied[i], textOf(v))
			}
			plot.Lines = r.course(c, varied)
			if c.AboveLowest {
				plot.Y += " above the lowest"
				belowNothing(plot.Lines)
			}
			list = append(list, plot)
		}
	}
	return list
}

// course has the lines of all methods at one combination of settings.
func (r *Result) course(c Curve, varied []string) (lines []experiments.Course) {
	at := map[string]int{}
	for _, o := range r.Outcomes {
		row := r.Table.Rows[o.Cell.Row]
		if o.Record == nil || !slices.Equal(row.Varied, varied) {
			continue
		}
		x, y := o.Record.Curve.Column(c.Over), o.Record.Curve.Column(c.Column)
		if x == nil || y == nil {
			continue
		}
		i, ok := at[row.Method]
		if !ok {
			i = len(lines)
			at[row.Method] = i
			lines = append(lines, experiments.Course{Name: row.Method})
		}
		lines[i].X, lines[i].Y = append(lines[i].X, x), append(lines[i].Y, y)
	}
	return lines
}

// belowNothing takes the lowest value of all from every one.
func belowNothing(lines []experiments.Course) {
	lowest := math.Inf(1)
	for _, l := range lines {
		for _, y := range l.Y {
			lowest = min(lowest, slices.Min(y))
		}
	}
	for _, l := range lines {
		for _, y := range l.Y {
			for i := range y {
				y[i] -= lowest
			}
		}
	}
}

// curves has every point of every record's curve but what a clock says.
func (r *Result) curves() experiments.Table {
	var names []string
	for _, o := range r.Outcomes {
		if o.Record == nil {
			continue
		}
		for _, name := range o.Record.Curve.Columns {
			if !timed(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	t := experiments.Table{Columns: append(append(append([]string{"method"}, r.Varied...), "seed", "key"), names...)}
	for _, o := range r.Outcomes {
		if o.Record == nil {
			continue
		}
		for _, row := range o.Record.Curve.Rows {
			line := r.head(o)
			for _, name := range names {
				text := ""
				if j := slices.Index(o.Record.Curve.Columns, name); j >= 0 {
					text = strconv.FormatFloat(row[j], 'g', -1, 64)
				}
				line = append(line, text)
			}
			t.Rows = append(t.Rows, line)
		}
	}
	return t
}
