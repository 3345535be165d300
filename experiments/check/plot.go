package check

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"bilevel/internal/atomicfile"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Point is the error of an estimator after so many oracle calls.
type Point struct {
	Calls int64  `json:"calls"`
	Error Number `json:"error"`
}

// Family is one way to differentiate at growing length: more steps, more terms.
type Family struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// families computes the estimators whose work can be chosen at several lengths, where H is positive definite and y is
// free. All begin at y*.
func (c *checker) families(ctx context.Context, s Spectrum) ([]Family, error) {
	if !s.definite() || c.on.Features()&held != 0 {
		return nil, nil
	}
	step := 1 / s.largest
	gradient := hypergrad.GradientSteps{Step: step}
	kinds := []struct {
		name string
		of   func(n int) hypergrad.Method
	}{
		{"implicit, CG", func(n int) hypergrad.Method { return hypergrad.Implicit{Solver: linear.CG{MaxSteps: n}} }},
		{"implicit, Neumann series", func(n int) hypergrad.Method {
			return hypergrad.Implicit{Solver: linear.Neumann{Step: step, Terms: n}}
		}},
		{"unrolled gradient steps", func(n int) hypergrad.Method {
			return hypergrad.Unrolled{Inner: gradient, Steps: n}
		}},
	}
	var all []Family
	for _, kind := range kinds {
		f := Family{Name: kind.name}
		for _, n := range []int{1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200} {
			row, err := c.row(ctx, Candidate{Label: kind.name, Method: kind.of(n)})
			if err != nil {
				return nil, err
			}
			if row.Refused == "" {
				f.Points = append(f.Points, Point{row.Counts.Calls(), row.Error})
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// Save writes result.json, estimators.csv and the plot families.svg (and .png) into a folder, each of them completely
// or not at all. The plot is there where the problem has families.
func (r *Result) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, "result.json"), append(text, '\n')); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, "estimators.csv"), r.writeCSV); err != nil {
		return err
	}
	if len(r.Families) == 0 {
		return nil
	}
	for _, format := range []string{"svg", "png"} {
		file := filepath.Join(dir, "families."+format)
		if err := atomicfile.Write(file, func(w io.Writer) error { return r.draw(w, format) }); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

func (r *Result) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"estimator", "error", "cosine", "residual", "figure", "kind", "lower_gradients", "upper_gradients",
		"hvp", "jvp", "values", "states", "seconds", "status", "from_start", "refused"})
	number := func(n Number) string {
		if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
			return ""
		}
		return strconv.FormatFloat(float64(n), 'g', 7, 64)
	}
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, row := range r.Rows {
		n := row.Counts
		c.Write([]string{row.Label, number(row.Error), number(row.Cosine), number(row.Residual), number(row.Figure),
			string(row.Kind), whole(n.LowerGradients), whole(n.UpperGradients), whole(n.HVP), whole(n.JVP),
			whole(n.Values), strconv.Itoa(row.States), strconv.FormatFloat(row.Seconds, 'g', 3, 64), row.Status,
			strconv.FormatBool(row.FromStart), row.Refused})
	}
	c.Flush()
	return c.Error()
}

// draw plots the error of each family over its oracle calls, on logarithmic axes.
func (r *Result) draw(w io.Writer, format string) error {
	colours := []color.NRGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}} // Okabe, Ito 2008
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: error of the hypergradient at y*", r.Problem)
	p.Title.Padding = 2 * vg.Millimeter
	p.X.Label.Text, p.Y.Label.Text = "oracle calls", "relative error"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(decades), plot.TickerFunc(decades)
	p.Legend.Top, p.Legend.Padding, p.Legend.XOffs = true, vg.Millimeter, -2*vg.Millimeter
	p.Add(plotter.NewGrid())
	low, high := math.Inf(1), 0.0
	least, most := math.Inf(1), 0.0
	for i, f := range r.Families {
		var at plotter.XYs
		for _, point := range f.Points {
			e := max(float64(point.Error), 1e-16) // an error of zero has no place on the axis
			if math.IsNaN(e) || math.IsInf(e, 0) {
				continue
			}
			at = append(at, plotter.XY{X: float64(point.Calls), Y: e})
			low, high = min(low, e), max(high, e)
			least, most = min(least, float64(point.Calls)), max(most, float64(point.Calls))
		}
		if len(at) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(at)
		if err != nil {
			return err
		}
		colour := colours[i%len(colours)]
		line.Color, line.Width = colour, vg.Points(1.5)
		dots.Color, dots.Shape, dots.Radius = colour, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(line, dots)
		p.Legend.Add(f.Name, line, dots)
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = least/1.2, most*1.2, low/3, high*30
	out, err := p.WriterTo(16*vg.Centimeter, 10*vg.Centimeter, format)
	if err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}

// decades puts a tick at each power of ten, and labels at most eight of them.
func decades(from, to float64) (ticks []plot.Tick) {
	first, last := int(math.Ceil(math.Log10(from)-1e-9)), int(math.Floor(math.Log10(to)+1e-9))
	every := max(1, (last-first+7)/8)
	for e := first; e <= last; e++ {
		t := plot.Tick{Value: math.Pow(10, float64(e))}
		if (e-first)%every == 0 {
			t.Label = strconv.FormatFloat(t.Value, 'g', 1, 64)
			if e >= 0 && e < 5 {
				t.Label = strconv.FormatFloat(t.Value, 'f', 0, 64)
			}
		}
		ticks = append(ticks, t)
	}
	return ticks
}
