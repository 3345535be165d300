package bench

import (
	"encoding/csv"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"bilevel/internal/atomicfile"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Write writes scaling.csv, scaling.svg and scaling.png into a folder, each of them completely or not at all.
func (r *ScalingReport) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, "scaling.csv"), r.writeCSV); err != nil {
		return err
	}
	for _, format := range []string{"svg", "png"} {
		file := filepath.Join(dir, "scaling."+format)
		if err := atomicfile.Write(file, func(w io.Writer) error { return r.draw(w, format) }); err != nil {
			return fmt.Errorf("plot: %w", err)
		}
	}
	return nil
}

func (r *ScalingReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.Write([]string{"series", "axis", "at", "ms", "flop", "relative"})
	for _, s := range r.Series {
		for _, p := range s.Points {
			relative := ""
			if p.Relative != nil {
				relative = number(*p.Relative)
			}
			c.Write([]string{s.Key, s.Axis, strconv.Itoa(p.At), number(p.Milliseconds), number(p.Flop), relative})
		}
	}
	c.Flush()
	return c.Error()
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 7, 64) }

// draw draws one panel for each series, two in a row.
func (r *ScalingReport) draw(w io.Writer, format string) error {
	t := draw.Tiles{
		Cols: min(2, len(r.Series)), Rows: (len(r.Series) + 1) / 2,
		PadX: 6 * vg.Millimeter, PadY: 6 * vg.Millimeter,
		PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter,
		PadLeft: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter,
	}
	panels := make([][]*plot.Plot, t.Rows)
	for i := range panels {
		panels[i] = make([]*plot.Plot, t.Cols)
	}
	for i, s := range r.Series {
		p, err := s.panel()
		if err != nil {
			return err
		}
		panels[i/t.Cols][i%t.Cols] = p
	}
	c, err := draw.NewFormattedCanvas(vg.Length(t.Cols)*12*vg.Centimeter, vg.Length(t.Rows)*8*vg.Centimeter, format)
	if err != nil {
		return err
	}
	whole := draw.New(c)
	whole.SetColor(color.White) // a panel paints its own background, but not the space between panels
	whole.Fill(whole.Rectangle.Path())
	for i, row := range plot.Align(panels, t, whole) {
		for j, place := range row {
			if panels[i][j] != nil {
				panels[i][j].Draw(place)
			}
		}
	}
	_, err = c.WriteTo(w)
	return err
}

// panel plots time over size on logarithmic axes. A dashed line through the last point shows times in proportion to the
// work per thread: its slope is 1 over batch sizes, and -1 over threads.
func (s *ScalingSeries) panel() (*plot.Plot, error) {
	measured, linear := make(plotter.XYs, len(s.Points)), make(plotter.XYs, len(s.Points))
	ticks := make(plot.ConstantTicks, len(s.Points))
	low, high := math.Inf(1), 0.0
	last := s.Points[len(s.Points)-1]
	for i, p := range s.Points {
		x := float64(p.At)
		measured[i] = plotter.XY{X: x, Y: p.Milliseconds}
		linear[i] = plotter.XY{X: x, Y: s.inProportion(last, p)}
		ticks[i] = plot.Tick{Value: x, Label: strconv.Itoa(p.At)}
		low, high = min(low, measured[i].Y, linear[i].Y), max(high, measured[i].Y, linear[i].Y)
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = s.title, s.Axis, "milliseconds"
	p.Title.Padding = 2 * vg.Millimeter
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks, plot.TickerFunc(logTicks)
	p.X.Min, p.X.Max = measured[0].X/1.1, float64(last.At)*1.1
	p.Y.Min, p.Y.Max = low/1.3, high*1.3
	p.Add(plotter.NewGrid())
	dashed, err := plotter.NewLine(linear)
	if err != nil {
		return nil, err
	}
	dashed.Color, dashed.Dashes = color.Gray{110}, []vg.Length{vg.Points(4), vg.Points(3)}
	line, dots, err := plotter.NewLinePoints(measured)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = blue, vg.Points(1.5)
	dots.Color, dots.Shape, dots.Radius = blue, draw.CircleGlyph{}, vg.Points(2.5)
	p.Add(dashed, line, dots)
	p.Legend.Top, p.Legend.Left = true, s.Axis != overThreads // times fall with threads: there the right top is free
	p.Legend.XOffs = 2 * vg.Millimeter
	if !p.Legend.Left {
		p.Legend.XOffs = -p.Legend.XOffs
	}
	p.Legend.TextStyle.Font.Size = font.Points(9)
	p.Legend.Add("measured", line, dots)
	p.Legend.Add("in proportion to the work", dashed)
	return p, nil
}

// blue is a colour that the colour-blind can tell from others (Okabe, Ito 2008).
var blue = color.NRGBA{0, 114, 178, 255}

// logTicks puts ticks at the multiples 1 to 9 of powers of ten. It labels the multiples 1, 2 and 5, and all of them
// where the axis covers less than a factor of ten.
func logTicks(from, to float64) (ticks []plot.Tick) {
	for d := math.Pow(10, math.Floor(math.Log10(from))); d <= to; d *= 10 {
		for f := 1.0; f < 10; f++ {
			t := plot.Tick{Value: f * d}
			if f == 1 || f == 2 || f == 5 || to < 10*from {
				t.Label = strconv.FormatFloat(t.Value, 'g', 3, 64)
			}
			if from <= t.Value && t.Value <= to {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
