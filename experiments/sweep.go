package experiments

import (
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Sweep is a plot of what methods come to over the values of a setting: a line through the means over seeds, and a band
// of one standard deviation.
type Sweep struct {
	File, Title, X, Y string
	// Values are those of the setting. Positive numbers stand along the axis by their logarithms, rising or falling as
	// the first and the last do; others evenly, in their order. Labels are their texts.
	Values []float64
	Labels []string
	// HigherIsBetter is for numbers of which far lower ones are failures. These would leave no room for the differences
	// of all others, and are left out: the vertical axis says how many. Without it the axis has all numbers.
	HigherIsBetter bool
	Lines          []SweepLine
}

// SweepLine is a method: the numbers of all seeds at each value, none where there are none.
type SweepLine struct {
	Name string
	At   [][]float64
}

// farOut is how many times the distance of the quartiles a number may lie below the lower one without being a failure
// (Tukey 1977).
const farOut = 3

// IsAccuracy tells by its name whether a measure is an accuracy, of which higher is better.
func IsAccuracy(scalar string) bool {
	return strings.Contains(scalar, "acc") && !strings.HasSuffix(scalar, "_std")
}

// Save draws the plot into a folder as FILE.svg and FILE.png.
func (s Sweep) Save(dir string) error {
	p := newPlot(s.Title, s.X, s.Y)
	p.Add(plotter.NewGrid())
	at := s.positions()
	order := Ascending(at)
	var ticks []plot.Tick
	for i, label := range s.Labels {
		ticks = append(ticks, plot.Tick{Value: at[i], Label: label})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	var all []float64
	for i, l := range s.Lines {
		c := sweepColours[i%len(sweepColours)]
		var line, upper, lower plotter.XYs
		for _, j := range order {
			if len(l.At[j]) == 0 {
				continue
			}
			mean, d := MeanStd(l.At[j])
			all = append(all, mean)
			line = append(line, plotter.XY{X: at[j], Y: mean})
			upper = append(upper, plotter.XY{X: at[j], Y: mean + d})
			lower = append(lower, plotter.XY{X: at[j], Y: mean - d})
		}
		if len(line) == 0 {
			continue
		}
		slices.Reverse(lower)
		area, err := plotter.NewPolygon(append(upper, lower...))
		if err != nil {
			return err
		}
		area.Color, area.LineStyle.Width = faint(c), 0
		drawn, points, err := plotter.NewLinePoints(line)
		if err != nil {
			return err
		}
		drawn.Color, drawn.Width, points.Color, points.Radius = c, vg.Points(1.5), c, vg.Points(2)
		p.Add(area, drawn, points)
		p.Legend.Add(l.Name, drawn, points)
	}
	if len(all) == 0 {
		return nil
	}
	var below int
	if p.Y.Min, p.Y.Max, below = s.rangeOf(all); below > 0 {
		p.Y.Label.Text += fmt.Sprintf("; points below: %d", below)
	}
	p.X.Min, p.X.Max = at[order[0]], at[order[len(order)-1]]
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs = false, true, 2*vg.Millimeter
	return savePlot(p, dir, s.File)
}

// positions are where the values stand along the axis.
func (s Sweep) positions() []float64 {
	at := make([]float64, len(s.Values))
	positive := len(at) > 1 && s.Values[0] != s.Values[len(at)-1]
	for _, v := range s.Values {
		positive = positive && v > 0 && !math.IsInf(v, 0)
	}
	for i := range at {
		if at[i] = float64(i); positive {
			at[i] = math.Log(s.Values[i] / s.Values[0])
			if s.Values[len(at)-1] < s.Values[0] {
				at[i] = -at[i]
			}
		}
	}
	return at
}

// rangeOf is the part of the vertical axis for numbers, and how many failures lie below it.
func (s Sweep) rangeOf(all []float64) (from, to float64, below int) {
	slices.Sort(all)
	if s.HigherIsBetter {
		quartile := func(part float64) float64 { return all[int(part*float64(len(all)-1))] }
		limit := quartile(0.25) - farOut*(quartile(0.75)-quartile(0.25))
		below, _ = slices.BinarySearch(all, limit)
	}
	from, to = all[below], all[len(all)-1]
	margin := 0.05 * (to - from)
	if margin == 0 {
		margin = 1
	}
	return from - margin, to + margin, below
}

// sweepColours are enough for the methods of one application.
var sweepColours = []color.NRGBA{blue, orange, green, purple, yellow, sky, {0, 0, 0, 255}, {130, 130, 130, 255}}

// ReadFigure is a plot that was saved in a folder, for a page; ok is false where there is none.
func ReadFigure(dir, file string) (f Figure, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, file+".svg"))
	if isMissing(err) {
		return f, false, nil
	}
	return Figure{file, scalable(text)}, err == nil, err
}
