package experiments

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"path/filepath"

	"bilevel/internal/atomicfile"
	"bilevel/models/params"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
)

// Heat is a matrix of numbers that is drawn as a map of colours, NAME.svg and NAME.png.
type Heat struct {
	Name, X, Y string // the file's name, the labels of columns and rows
	Values     [][]float64
	Names      []string // of the columns and of the rows, which are as many
}

// Network is the parameters of a model, written as NAME.npz.
type Network struct {
	Name   string
	Values params.Values
}

// heatGrid is the values as gonum wants them.
type heatGrid [][]float64

func (g heatGrid) Dims() (c, r int)   { return len(g[0]), len(g) }
func (g heatGrid) Z(c, r int) float64 { return g[r][c] }
func (g heatGrid) X(c int) float64    { return float64(c) }
func (g heatGrid) Y(r int) float64    { return float64(r) }

// writePictures draws the grids and heat maps of records and writes their networks.
func writePictures(dir, title string, records []*Record, cells int) error {
	for _, r := range records {
		suffix := suffixOf(r, cells)
		for _, g := range r.Images {
			if err := g.save(filepath.Join(dir, g.Name+suffix+".png")); err != nil {
				return err
			}
		}
		for _, h := range r.Heats {
			p := newPlot(title, h.X, h.Y)
			p.Add(plotter.NewHeatMap(heatGrid(h.Values), palette.Heat(64, 1)))
			p.X.Tick.Marker = plot.ConstantTicks(nameTicks(h.Names, mostAcross))
			p.Y.Tick.Marker = plot.ConstantTicks(nameTicks(h.Names, mostUp))
			if err := savePlot(p, dir, h.Name+suffix); err != nil {
				return err
			}
		}
		for _, n := range r.Networks {
			if err := params.WriteNPZ(filepath.Join(dir, n.Name+suffix+".npz"), n.Values); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostAcross and mostUp are how many names fit along the axes of a heat map, and longestName how many letters of one.
const (
	mostAcross  = 20
	mostUp      = 30
	longestName = 12
)

// nameTicks puts names at 0, 1, 2, …, every second, third, … of them where there are more than most.
func nameTicks(names []string, most int) (ticks []plot.Tick) {
	each := max(1, (len(names)+most-1)/most)
	for i := 0; i < len(names); i += each {
		label := []rune(names[i])
		if len(label) > longestName {
			label = append(label[:longestName-1:longestName-1], '…')
		}
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: string(label)})
	}
	return ticks
}

// suffixOf tells a record's pictures from those of the other cells.
func suffixOf(r *Record, cells int) string {
	if cells > 1 {
		return fmt.Sprintf("-seed-%d", r.Seed)
	}
	return ""
}

// The contact sheet: images of at least this size with a line of text below, so many in a row.
const (
	tileSize  = 84
	textSize  = 16
	tileSpace = 6
	sheetWide = 10
)

// save draws the images side by side, each with its caption below, enlarged by a whole factor.
func (g Grid) save(path string) error {
	n := len(g.Captions)
	if n == 0 || g.Width < 1 || g.Height < 1 || len(g.Pixels) != n*g.Width*g.Height {
		return fmt.Errorf("pictures %s: %d captions and %d pixels for images of %d by %d", g.Name, n, len(g.Pixels),
			g.Height, g.Width)
	}
	scale := max(1, tileSize/max(g.Width, g.Height))
	wide, high := max(g.Width*scale, tileSize)+tileSpace, g.Height*scale+textSize+tileSpace
	columns := min(n, sheetWide)
	sheet := image.NewGray(image.Rect(0, 0, columns*wide+tileSpace, (n+columns-1)/columns*high+tileSpace))
	draw.Draw(sheet, sheet.Bounds(), image.White, image.Point{}, draw.Src)
	for i, caption := range g.Captions {
		left, top := tileSpace+i%columns*wide, tileSpace+i/columns*high
		for y := range g.Height * scale {
			for x := range g.Width * scale {
				v := g.Pixels[(i*g.Height+y/scale)*g.Width+x/scale]
				sheet.SetGray(left+x, top+y, color.Gray{Y: uint8(255*max(0, min(1, v)) + 0.5)})
			}
		}
		d := font.Drawer{
			Dst: sheet, Src: image.Black, Face: basicfont.Face7x13, Dot: fixed.P(left, top+g.Height*scale+textSize-4),
		}
		d.DrawString(caption)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, sheet); err != nil {
		return fmt.Errorf("pictures %s: %w", g.Name, err)
	}
	return atomicfile.Write(path, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
}
