package experiments

import (
	"bytes"
	"cmp"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"

	"bilevel/internal/atomicfile"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Courses is a plot of numbers over the course of runs: a line through the means over seeds for each method, and a band
// of one standard deviation. Where the numbers are positive and span more than logSpan, the axis is logarithmic, and
// means and deviations are those of the logarithms. Where one method's runs are more than logLength times as long as
// another's, the horizontal axis is logarithmic, too, and begins at the first point after the start.
type Courses struct {
	File, Title, X, Y string
	Lines             []Course
}

// Course is a method: the points of each seed.
type Course struct {
	Name string
	X, Y [][]float64
}

const (
	logSpan, logLength = 5, 30
	// mostAbove is how many times above the largest number at the start the axis ends: runs that diverge leave the
	// picture.
	mostAbove = 3
	// lowestShown bounds a logarithmic axis below: what is less is round-off.
	lowestShown = 1e-16
)

// dashes tell apart lines of the same colour.
var dashes = [][]vg.Length{nil, {6, 3}, {2, 2}, {8, 3, 2, 3}, {1, 4}, {12, 4}}

// faintness is the opacity of bands: less where many lie over each other.
func (c Courses) faintness() uint8 { return uint8(max(8, 40-2*len(c.Lines))) }

// Save draws the plot into a folder as FILE.svg and FILE.png, the names of the methods beside it; nothing where there
// are no numbers.
func (c Courses) Save(dir string) error {
	p := newPlot(c.Title, c.X, c.Y)
	p.Add(plotter.NewGrid())
	logarithmic, low, high, right := c.axis()
	if !(right > 0) {
		return nil
	}
	if logarithmic {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(powersOfTen)
	}
	left := c.left()
	if left > 0 {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(powersOfTen)
	}
	legend := plot.NewLegend()
	legend.Top, legend.Left, legend.YPosition = true, true, draw.PosCenter
	legend.TextStyle.Font.Size = vg.Points(8)
	legend.ThumbnailWidth, legend.Padding = vg.Points(22), vg.Points(1)
	type entry struct {
		name string
		line *plotter.Line
		end  float64
	}
	var entries []entry
	for i, l := range c.Lines {
		colour := sweepColours[i%len(sweepColours)]
		line, band := l.mean(logarithmic, left, low, high)
		if len(line) < 2 { // nothing is seen of it
			continue
		}
		if len(l.Y) > 1 {
			area, err := plotter.NewPolygon(band)
			if err != nil {
				return fmt.Errorf("plot %s: %w", c.File, err)
			}
			area.Color, area.LineStyle.Width = color.NRGBA{colour.R, colour.G, colour.B, c.faintness()}, 0
			p.Add(area)
		}
		drawn, err := plotter.NewLine(line)
		if err != nil {
			return fmt.Errorf("plot %s: %w", c.File, err)
		}
		drawn.Color, drawn.Width = colour, vg.Points(1.3)
		drawn.Dashes = dashes[i/len(sweepColours)%len(dashes)]
		p.Add(drawn)
		entries = append(entries, entry{l.Name, drawn, line[len(line)-1].Y})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(b.end, a.end) }) // as the lines end
	for _, e := range entries {
		legend.Add(e.name, e.line)
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = left, right, low, high
	return c.write(p, legend, dir)
}

// axis is the kind of the vertical axis, its ends, and the right end of the other one.
func (c Courses) axis() (logarithmic bool, low, high, right float64) {
	least, most, start, positive := math.Inf(1), 0.0, 0.0, true
	for _, l := range c.Lines {
		for s, y := range l.Y {
			for i, v := range y {
				right = max(right, l.X[s][i])
				most = max(most, v)
				positive = positive && v > -lowestShown
				if v > lowestShown {
					least = min(least, v)
				}
			}
			if len(y) > 0 {
				start = max(start, y[0])
			}
		}
	}
	high = min(most, mostAbove*start)
	if !(high > 0) {
		high = 1
	}
	if logarithmic = positive && least < high/logSpan; logarithmic {
		return true, least / 1.5, 1.5 * high, right
	}
	low = high
	for _, l := range c.Lines {
		for _, y := range l.Y {
			if len(y) > 0 {
				low = min(low, slices.Min(y))
			}
		}
	}
	margin := 0.04 * (high - low)
	if margin == 0 {
		margin = 1
	}
	return false, low - margin, high + margin, right
}

// left is where a logarithmic horizontal axis begins, 0 where the axis is not logarithmic.
func (c Courses) left() float64 {
	first, shortest, longest := math.Inf(1), math.Inf(1), 0.0
	for _, l := range c.Lines {
		end := 0.0
		for _, x := range l.X {
			if len(x) > 1 && x[1] > 0 {
				first, end = min(first, x[1]), max(end, x[len(x)-1])
			}
		}
		if end > 0 {
			shortest, longest = min(shortest, end), max(longest, end)
		}
	}
	if longest > logLength*shortest {
		return first
	}
	return 0
}

// mean is a line through the means over seeds from left on, and the band around it. Seeds that ended early are left out
// of the means after that.
func (l Course) mean(logarithmic bool, left, low, high float64) (line, band plotter.XYs) {
	n := 0
	for _, y := range l.Y {
		n = max(n, len(y))
	}
	var below plotter.XYs
	for i := range n {
		var xs, ys []float64
		for s, y := range l.Y {
			if i >= len(y) {
				continue
			}
			v := y[i]
			if logarithmic {
				v = math.Log(max(v, low))
			}
			xs, ys = append(xs, l.X[s][i]), append(ys, v)
		}
		x, _ := MeanStd(xs)
		if x < left {
			continue
		}
		y, d := MeanStd(ys)
		at := func(v float64) float64 {
			if logarithmic {
				v = math.Exp(v)
			}
			return min(max(v, low), high)
		}
		line = append(line, plotter.XY{X: x, Y: at(y)})
		band, below = append(band, plotter.XY{X: x, Y: at(y + d)}), append(below, plotter.XY{X: x, Y: at(y - d)})
		if at(y) == high && i > 0 { // it has left the picture
			break
		}
	}
	slices.Reverse(below)
	return line, append(band, below...)
}

// write draws the plot with the legend to its right.
func (c Courses) write(p *plot.Plot, legend plot.Legend, dir string) error {
	const width, least, beside, line = 18 * vg.Centimeter, 10 * vg.Centimeter, 4 * vg.Centimeter, 3.7 * vg.Millimeter
	height := max(least, vg.Length(len(c.Lines)+4)*line)
	for _, format := range []string{"svg", "png"} {
		on, err := draw.NewFormattedCanvas(width, height, format)
		if err != nil {
			return fmt.Errorf("plot %s: %w", c.File, err)
		}
		all := draw.New(on)
		all.SetColor(color.White)
		all.Fill(all.Rectangle.Path())
		p.Draw(draw.Crop(all, 0, -beside, 0, 0))
		legend.Draw(draw.Crop(all, width-beside+2*vg.Millimeter, 0, 0, -8*vg.Millimeter))
		var b bytes.Buffer
		if _, err := on.WriteTo(&b); err != nil {
			return fmt.Errorf("plot %s: %w", c.File, err)
		}
		if err := atomicfile.WriteFile(filepath.Join(dir, c.File+"."+format), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// powersOfTen labels at most eight powers of ten of a logarithmic axis, and 2 and 5 times them where there are few.
func powersOfTen(from, to float64) (ticks []plot.Tick) {
	first, last := int(math.Ceil(math.Log10(from)-1e-9)), int(math.Floor(math.Log10(to)+1e-9))
	every := max(1, (last-first+7)/8)
	for e := first; e <= last; e++ {
		t := plot.Tick{Value: math.Pow(10, float64(e))}
		if (e-first)%every == 0 {
			t.Label = fmt.Sprintf("%.0e", t.Value)
		}
		ticks = append(ticks, t)
	}
	if len(ticks) < 3 {
		for e := first - 1; e <= last; e++ {
			for _, i := range []float64{2, 5} {
				if v := i * math.Pow(10, float64(e)); v >= from && v <= to {
					ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.0e", v)})
				}
			}
		}
	}
	return ticks
}
