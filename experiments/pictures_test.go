package experiments

import (
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/models/params"
)

func TestPicturesAndNetworks(t *testing.T) {
	dir := t.TempDir()
	r := NewRecord()
	pixels := make([]float32, 2*3*4)
	pixels[0], pixels[len(pixels)-1] = 1, 0.5
	r.Images = []Grid{{Name: "sheet", Height: 3, Width: 4, Pixels: pixels, Captions: []string{"7: 1 > 2", "8: 0 > 1"}}}
	r.Heats = []Heat{{Name: "heat", X: "a", Y: "b", Values: [][]float64{{1, 2}, {3, 4}}}}
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
	require.FileExists(t, filepath.Join(dir, "heat.svg"))
	got, err := params.ReadNPZ(filepath.Join(dir, "model.npz"), r.Networks[0].Values.Layout)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2}, got[0].Flat)

	r.Images[0].Captions = r.Images[0].Captions[:1]
	require.ErrorContains(t, writePictures(dir, "title", []*Record{r}, 1),
		"1 captions and 24 pixels for images of 3 by 4")
}

func TestTextsStandBeforeAndAfterTheTable(t *testing.T) {
	r := NewRecord()
	r.Texts["first"], r.Texts["last"], r.Scalars["auc"] = "what it is", "what to do", 0.5
	var b writerText
	require.NoError(t, WriteTable(&b,
		Report{Before: []string{"first", "none"}, Rows: []Row{{Title: "area", Scalar: "auc"}}, After: []string{"last"}},
		[]*Record{r}))
	require.Equal(t, "what it is\narea  0.5\nwhat to do\n", string(b))
}

// writerText is what was written.
type writerText []byte

func (w *writerText) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }
