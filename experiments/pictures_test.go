package experiments

import (
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"

	"bilevel/models/params"
)

func TestPicturesAndNetworks(t *testing.T) {
	dir := t.TempDir()
	r := NewRecord()
	pixels := make([]float32, 2*3*4)
	pixels[0], pixels[len(pixels)-1] = 1, 0.5
	r.Images = []Grid{{Name: "sheet", Height: 3, Width: 4, Pixels: pixels, Captions: []string{"7: 1 > 2", "8: 0 > 1"}}}
	r.Heats = []Heat{
		{Name: "heat", X: "a", Y: "b", Values: [][]float64{{1, 2}, {3, 4}}, Names: []string{"red", "white"}},
	}
	r.Networks = []Network{{Name: "model", Values: params.Values{}.And("weight", 1, 2)}}
	require.NoError(t, writePictures(dir, "title", []*Record{r}, 1))
	f, err := os.Open(filepath.Join(dir, "sheet.png"))
	require.NoError(t, err)
	defer f.Close()
	sheet, err := png.Decode(f)
	require.NoError(t, err)
	at := func(x, y int) uint32 { v, _, _, _ := sheet.At(x, y).RGBA(); return v >> 8 }
	const scale = tileSize / 4
	require.EqualValues(t, 255, at(tileSpace, tileSpace), "the first pixel of the first image")
	require.EqualValues(t, 0, at(tileSpace+scale, tileSpace), "its second pixel, a whole step further")
	right := tileSpace + (4*scale + tileSpace)
	require.EqualValues(t, 128, at(right+4*scale-1, tileSpace+3*scale-1), "the last pixel of the second image")
	heat, err := os.ReadFile(filepath.Join(dir, "heat.svg"))
	require.NoError(t, err)
	for _, name := range []string{">red<", ">white<"} {
		require.Equal(t, 2, strings.Count(string(heat), name), "%s stands on both axes", name)
	}
	got, err := params.ReadNPZ(filepath.Join(dir, "model.npz"), r.Networks[0].Values.Layout)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2}, got[0].Flat)

	r.Images[0].Captions = r.Images[0].Captions[:1]
	require.ErrorContains(t, writePictures(dir, "title", []*Record{r}, 1),
		"1 captions and 24 pixels for images of 3 by 4")
}

func TestTextsStandBeforeAndAfterTheTable(t *testing.T) {
	r := NewRecord()
	r.Warn("careful")
	r.Texts["first"], r.Texts["last"], r.Scalars["auc"], r.Scalars["n"] = "what it is", "what to do", 0.5, 214.4
	var b writerText
	require.NoError(t, WriteTable(&b,
		Report{Before: []string{"first", "none"}, Rows: []Row{{Title: "area", Scalar: "auc"},
			{Title: "rows", Scalar: "n", Whole: true}}, After: []string{"last"}},
		[]*Record{r}))
	require.Equal(t, "what it is\narea  0.5\nrows  214\nwarning: careful\nwhat to do\n", string(b))
}

// With several records a text names the file of its own.
func TestTextsNameTheFilesOfTheirSeeds(t *testing.T) {
	one, two := NewRecord(), NewRecord()
	for seed, r := range []*Record{one, two} {
		r.Seed, r.Tables, r.Texts["last"] = uint64(seed+1), []Table{{Name: "suspects"}}, "look at suspects.csv"
	}
	var b writerText
	require.NoError(t, WriteTable(&b, Report{After: []string{"last"}}, []*Record{one, two}))
	require.Equal(t, "seed 1: look at suspects-seed-1.csv\nseed 2: look at suspects-seed-2.csv\n", string(b))
}

// The page says what the terminal says, before the results and after them.
func TestPageHasTheTexts(t *testing.T) {
	r, dir := NewRecord(), t.TempDir()
	r.Texts["first"], r.Texts["last"], r.Scalars["auc"] = "what it is", "what to do", 0.5
	require.NoError(t, writePage(dir, Page{}, Report{Before: []string{"first"},
		Rows: []Row{{Title: "area", Scalar: "auc"}}, After: []string{"last"}}, []*Record{r}, 1))
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	require.Regexp(t, `(?s)<p>what it is</p>.*area.*<p>what to do</p>`, string(page))
}

// writerText is what was written.
type writerText []byte

func (w *writerText) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }

// Names that are too many for an axis stand at every second, third, … place, and long ones are cut.
func TestNamesOfHeatMaps(t *testing.T) {
	require.Empty(t, nameTicks(nil, 2))
	names := []string{"a", "b", "c", "a long name of a class", "e"}
	ticks := nameTicks(names, 3)
	require.Len(t, ticks, 3)
	require.Equal(t, plot.Tick{Value: 2, Label: "c"}, ticks[1])
	require.Equal(t, "a long name…", nameTicks(names, 5)[3].Label)
	require.Equal(t, "a long name of a class", names[3], "the caller's names stay")
}
