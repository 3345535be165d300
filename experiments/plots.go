package experiments

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bilevel/internal/atomicfile"
	"bilevel/internal/nearest"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The colours of plots, readable for the colour-blind (Okabe, Ito 2008).
var (
	blue   = color.NRGBA{0, 114, 178, 255}
	orange = color.NRGBA{213, 94, 0, 255}
	green  = color.NRGBA{0, 158, 115, 255}
	purple = color.NRGBA{204, 121, 167, 255}
	yellow = color.NRGBA{230, 159, 0, 255}
	sky    = color.NRGBA{86, 180, 233, 255}
)

// series is one line of a plot: a value over x for several seeds, drawn as its mean with a band of one deviation.
type series struct {
	name   string
	colour color.NRGBA
	x      [][]float64 // by seed; the mean over seeds is drawn
	y      [][]float64
}

// group is one colour of a histogram.
type group struct {
	name   string
	colour color.NRGBA
	values []float64 // in [0, 1]
}

// savePlot writes a plot as SVG and PNG.
func savePlot(p *plot.Plot, dir, name string) error {
	for _, format := range []string{"svg", "png"} {
		w, err := p.WriterTo(16*vg.Centimeter, 10*vg.Centimeter, format)
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		var b bytes.Buffer
		if _, err := w.WriteTo(&b); err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		path := filepath.Join(dir, name+"."+format)
		if err := atomicfile.WriteFile(path, b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func newPlot(title, xLabel, yLabel string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, xLabel, yLabel
	p.Title.Padding = 3 * vg.Millimeter
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(roundTicks), plot.TickerFunc(roundTicks)
	p.Legend.Top, p.Legend.Padding, p.Legend.XOffs = true, vg.Millimeter, -2*vg.Millimeter
	return p
}

// towers is how many times above all later points those at the start must lie to be left out of a picture.
const towers = 3

// curves draws series of values from 0 up as lines with bands. Points at the start that tower above all later ones (an
// untrained model) do not stretch the axis: the lines come in from above.
func curves(title, xLabel, yLabel string, all ...series) (*plot.Plot, error) {
	p := newPlot(title, xLabel, yLabel)
	p.Add(plotter.NewGrid())
	start, top, right := 0.0, 0.0, 0.0
	for _, s := range all {
		n := 0
		for _, y := range s.y {
			n = max(n, len(y))
		}
		line, band := make(plotter.XYs, n), make(plotter.XYs, 2*n)
		for i := range n {
			var xs, ys []float64
			for k := range s.y { // some seeds may have ended before the others
				if i < len(s.y[k]) {
					xs, ys = append(xs, s.x[k][i]), append(ys, s.y[k][i])
				}
			}
			x, _ := MeanStd(xs)
			y, d := MeanStd(ys)
			line[i] = plotter.XY{X: x, Y: y}
			band[i], band[2*n-1-i] = plotter.XY{X: x, Y: y + d}, plotter.XY{X: x, Y: y - d}
			if right = max(right, x); i > 0 || n == 1 {
				top = max(top, y+d)
			} else {
				start = max(start, y+d)
			}
		}
		if len(s.y) > 1 {
			area, err := plotter.NewPolygon(band)
			if err != nil {
				return nil, err
			}
			area.Color, area.LineStyle.Width = faint(s.colour), 0
			p.Add(area)
		}
		l, err := plotter.NewLine(line)
		if err != nil {
			return nil, err
		}
		l.Color, l.Width = s.colour, vg.Points(1.5)
		p.Add(l)
		p.Legend.Add(s.name, l)
	}
	if start <= towers*top {
		top = max(top, start)
	}
	p.X.Min, p.X.Max = 0, positive(right)
	p.Y.Min, p.Y.Max = 0, positive((1.05+0.07*float64(len(all)))*top) // the legend has the room above the lines
	return p, nil
}

// histogram draws how values in [0, 1] are distributed: one bar a group side by side in each bin, counts on a
// logarithmic axis, for most weights end near 0 or 1 and the few between are what one wants to see.
func histogram(title, xLabel string, groups ...group) (*plot.Plot, error) {
	const bins, base, gap = 25, 0.5, 0.1 // the axis begins below one row; the gap is between bins, in bins
	p := newPlot(title, xLabel, "rows (logarithmic)")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(decades)
	top := 1.0
	for i, g := range groups {
		var counts [bins]float64
		for _, v := range g.values {
			counts[min(bins-1, max(0, int(v*bins)))]++
		}
		var bars []plotter.XYer
		for b, count := range counts {
			if count == 0 {
				continue
			}
			top = max(top, count)
			width := (1 - gap) / float64(len(groups))
			left := (float64(b) + gap/2 + float64(i)*width) / bins
			right := left + width/bins
			bars = append(bars, plotter.XYs{
				{X: left, Y: base}, {X: left, Y: count}, {X: right, Y: count}, {X: right, Y: base},
			})
		}
		if len(bars) == 0 {
			continue
		}
		drawn, err := plotter.NewPolygon(bars...)
		if err != nil {
			return nil, err
		}
		drawn.Color, drawn.LineStyle.Width = g.colour, 0
		p.Add(drawn)
		p.Legend.Add(g.name, drawn)
	}
	p.X.Min, p.X.Max = 0, 1
	p.Y.Min, p.Y.Max = base, 4*top // the legend has the room above the bars
	return p, nil
}

// markAt draws a dashed line from the bottom to the top of a picture.
func markAt(p *plot.Plot, m Mark) error {
	l, err := plotter.NewLine(plotter.XYs{{X: m.At, Y: p.Y.Min}, {X: m.At, Y: p.Y.Max}})
	if err != nil {
		return err
	}
	l.Width, l.Dashes = vg.Points(1), []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(l)
	p.Legend.Add(m.Name, l)
	return nil
}

func faint(c color.NRGBA) color.NRGBA {
	c.A = 50
	return c
}

// positive keeps an axis from having no length.
func positive(v float64) float64 {
	if v > 0 {
		return v
	}
	return 1
}

// roundTicks puts labelled ticks at multiples of 1, 2 or 5 times a power of ten, at most seven.
func roundTicks(from, to float64) (ticks []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/6)))
	for _, f := range []float64{1, 2, 5, 10} {
		if step*f*6 >= to-from {
			step *= f
			break
		}
	}
	for i := int(math.Ceil(from/step - 1e-9)); float64(i)*step <= to+1e-9*step; i++ {
		at := float64(i) * step
		ticks = append(ticks, plot.Tick{Value: at, Label: strconv.FormatFloat(at, 'g', 6, 64)})
	}
	return ticks
}

// decades labels the powers of ten of a logarithmic axis and marks what lies between.
func decades(from, to float64) (ticks []plot.Tick) {
	for d := 1.0; d <= to; d *= 10 {
		for i := 1.0; i < 10 && i*d <= to; i++ {
			label := ""
			if i == 1 {
				label = strconv.FormatFloat(d, 'f', 0, 64)
			}
			ticks = append(ticks, plot.Tick{Value: i * d, Label: label})
		}
	}
	return ticks
}

// writePlots draws what a report asks for.
func writePlots(dir, title string, report Report, records []*Record) error {
	colours := []color.NRGBA{blue, orange, green, purple, yellow, sky}
	for _, spec := range report.Plots {
		scale := 1.0
		if spec.ScaleToPercent {
			scale = 100
		}
		var missing error
		column := func(name string, factor float64) (out [][]float64) {
			for _, r := range records {
				if !slices.Contains(r.Curve.Columns, name) {
					missing = fmt.Errorf("plot %s: the curve has no column %q (there are: %s)%s", spec.File, name,
						strings.Join(r.Curve.Columns, ", "), nearest.Hint(name, r.Curve.Columns))
				}
				values := r.Curve.Column(name)
				for i := range values {
					values[i] *= factor
				}
				out = append(out, values)
			}
			return out
		}
		var all []series
		for i, l := range spec.Lines {
			if l.Optional && !slices.Contains(records[0].Curve.Columns, l.Column) {
				continue
			}
			all = append(all, series{l.Name, colours[i%len(colours)], column(spec.Over, 1), column(l.Column, scale)})
		}
		if missing != nil {
			return missing
		}
		if len(all) == 0 {
			continue
		}
		p, err := curves(title, spec.X, spec.Y, all...)
		if err != nil {
			return err
		}
		if err := savePlot(p, dir, spec.File); err != nil {
			return err
		}
	}
	if report.Histogram.File == "" {
		return nil
	}
	var groups []group
	for _, r := range records {
		for _, s := range r.Samples {
			i := slices.IndexFunc(groups, func(g group) bool { return g.name == s.Name })
			if i < 0 {
				i = len(groups)
				groups = append(groups, group{name: s.Name, colour: colours[i%len(colours)]})
			}
			groups[i].values = append(groups[i].values, s.Values...)
		}
	}
	p, err := histogram(title, report.Histogram.X, groups...)
	if err != nil {
		return err
	}
	if m := report.Histogram.Mark; m.Name != "" {
		if err := markAt(p, m); err != nil {
			return err
		}
	}
	return savePlot(p, dir, report.Histogram.File)
}
