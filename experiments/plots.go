package experiments

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"path/filepath"

	"bilevel/internal/atomicfile"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The colours of plots, readable for the colour-blind (Okabe, Ito 2008).
var (
	blue   = color.NRGBA{0, 114, 178, 255}
	orange = color.NRGBA{213, 94, 0, 255}
	green  = color.NRGBA{0, 158, 115, 255}
)

// series is one line of a plot: a value over x for several seeds, drawn as its mean with a band of one deviation.
type series struct {
	name   string
	colour color.NRGBA
	x      [][]float64 // by seed; the mean over seeds is drawn
	y      [][]float64
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
		if err := atomicfile.Write(path, func(f io.Writer) error { _, err := f.Write(b.Bytes()); return err }); err != nil {
			return err
		}
	}
	return nil
}

// curves draws series as lines with bands.
func curves(title, xLabel, yLabel string, all ...series) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, xLabel, yLabel
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	for _, s := range all {
		n := len(s.y[0])
		line, band := make(plotter.XYs, n), make(plotter.XYs, 2*n)
		for i := range n {
			var xs, ys []float64
			for k := range s.y {
				xs, ys = append(xs, s.x[k][i]), append(ys, s.y[k][i])
			}
			x, _ := MeanStd(xs)
			y, d := MeanStd(ys)
			line[i] = plotter.XY{X: x, Y: y}
			band[i], band[2*n-1-i] = plotter.XY{X: x, Y: y + d}, plotter.XY{X: x, Y: y - d}
		}
		if len(s.y) > 1 {
			area, err := plotter.NewPolygon(band)
			if err != nil {
				return nil, err
			}
			shade := s.colour
			shade.A = 50
			area.Color, area.LineStyle.Width = shade, 0
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
	return p, nil
}

// histogram draws how values in [0, 1] are distributed, one outline per group.
func histogram(title, xLabel string, groups map[string][]float64, order []string) (*plot.Plot, error) {
	const bins = 50
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, xLabel, "rows"
	p.Legend.Top = true
	for i, name := range order {
		values := groups[name]
		if len(values) == 0 {
			continue
		}
		counts := make(plotter.XYs, bins)
		for b := range counts {
			counts[b].X = (float64(b) + 0.5) / bins
		}
		for _, v := range values {
			counts[min(bins-1, max(0, int(v*bins)))].Y++
		}
		h, err := plotter.NewHistogram(counts, bins)
		if err != nil {
			return nil, err
		}
		c := []color.NRGBA{blue, orange, green}[i%3]
		fill := c
		fill.A = 90
		h.FillColor, h.LineStyle.Color = fill, c
		p.Add(h)
		p.Legend.Add(name, h)
	}
	return p, nil
}
