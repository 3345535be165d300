package data

import (
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// oneColour is an encoded image of one colour.
func oneColour(t testing.TB, height, width int, c color.Color, asJPEG bool) []byte {
	t.Helper()
	if _, grey := c.(color.Gray); grey {
		return picture(t, image.NewGray(image.Rect(0, 0, width, height)), c, asJPEG)
	}
	return picture(t, image.NewRGBA(image.Rect(0, 0, width, height)), c, asJPEG)
}

func TestImageFolders(t *testing.T) {
	red, blue := color.RGBA{200, 10, 30, 255}, color.RGBA{0, 0, 250, 255}
	grey := color.Gray{100}
	png := func(c color.Color) []byte { return oneColour(t, 2, 3, c, false) }

	d, err := OpenFolder(unzipped(t, map[string][]byte{
		"cat/b.png": png(red), "cat/a.PNG": png(blue), "dog/images/x.jpg": oneColour(t, 2, 3, red, true),
		"dog/note.txt": nil, "empty/readme": nil, ".hidden/a.png": png(red),
	}))
	require.NoError(t, err)
	require.Equal(t, []string{"cat", "dog"}, d.ClassNames)
	require.Equal(t, []int{2, 3, 3}, d.Shape)
	require.Equal(t, []int32{0, 0, 1}, d.Train.Labels)
	require.Equal(t, []float32{0, 0, 250, 0, 0, 250}, d.Train.Row(0)[:6], "a.PNG comes first")
	require.Equal(t, []float32{200, 10, 30}, d.Train.Row(1)[15:])
	require.InDeltaSlice(t, []float32{200, 10, 30}, d.Train.Row(2)[:3], 3, "JPEG loses some")
	require.Nil(t, d.Test)
	require.Equal(t, []string{"cat/a.PNG", "cat/b.png", "dog/images/x.jpg"}, d.Train.Files)
	h, w, c, err := d.Image()
	require.NoError(t, err)
	require.Equal(t, []int{2, 3, 3}, []int{h, w, c})

	d, err = OpenFolder(unzipped(t, map[string][]byte{
		"cat/b.png": png(red), "cat/small/a.png": png(red), "dog/a.png": png(red), "dog/c.webp": nil, "gif/d.gif": nil,
		"dog/._a.png": nil, "dog/.thumbs/a.png": nil, "e.jpg": nil,
		"out/config.yaml": nil, "out/confusion.png": png(red), "runs/1/result.json": nil, "runs/1/p-given.png": nil,
		"config.yaml": nil, // the folder of the data may be one of results itself
	}))
	require.NoError(t, err)
	require.Equal(t, []string{"cat/b.png", "dog/a.png"}, d.Train.Files)
	require.Contains(t, d.Notes[0], "these are left out: cat/small/a.png, dog/c.webp, e.jpg, gif/d.gif; PNG and JPEG")

	dir := unzipped(t, map[string][]byte{
		"train/cat/a.png": png(grey), "train/dog/b.png": png(grey), "test/dog/c.png": png(grey),
		"val/images/v.png": png(grey), "val/val_annotations.txt": []byte("v.png\tcat\t0\t0\n"), "readme.md": nil,
	})
	d, err = OpenFolderWith(dir, Options{Bytes: true})
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, d.Shape, "none has colours")
	require.Equal(t, []byte{100, 100, 100, 100, 100, 100}, d.Test.Bytes)
	require.Nil(t, d.Test.Features)
	require.Equal(t, []int32{0, 1}, d.Train.Labels)
	require.Equal(t, []int32{1}, d.Test.Labels)
	require.Equal(t, []int32{0}, d.Val.Labels)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test", "dog", "c.png"), png(red), 0o600))
	d, err = OpenFolder(dir)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3, 3}, d.Shape, "one has colours")
	require.Equal(t, []float32{100, 100, 100}, d.Train.Row(0)[:3])

	d, err = OpenFolder(unzipped(t, map[string][]byte{
		"train_x.npy": array(t, []float32{1, 2, 3, 4}, 2, 2), "train_y.npy": array(t, []int32{0, 1}, 2),
		"out/config.yaml": nil, "out/confusion.png": png(red),
	}))
	require.NoError(t, err, "results beside the data that they come from are no classes of images")
	require.Equal(t, 2, d.Train.N())

	for _, c := range []struct {
		files map[string][]byte
		want  string
	}{
		{map[string][]byte{
			"cat/a.png": png(red), "cat/b.png": oneColour(t, 3, 3, red, false),
			"dog/c.png": oneColour(t, 2, 2, red, false),
		}, "images must be of one size, which is 2×3 in cat/a.png, but another one in cat/b.png (3×3), " +
			"dog/c.png (2×2)"},
		{map[string][]byte{"cat/a.png": png(red)[:40]}, "cat/a.png: "},
		{map[string][]byte{"cat/a.png": []byte("text")}, "cat/a.png: no image that is read here"},
		{map[string][]byte{"train/cat/a.png": png(red), "training/cat/a.png": png(red)},
			"train and training may both hold the training images"},
		{map[string][]byte{"train/cat/a.png": png(red), "val/cat/a.png": oneColour(t, 4, 4, red, false)},
			"rows have the shape [4 4 3]"},
		{map[string][]byte{"train/cat/a.png": png(red), "val/val_annotations.txt": []byte("b.png\tcat\n")}, "b.png"},
		{map[string][]byte{"train/cat/a.png": png(red), "val/val_annotations.txt": []byte("../b.png\tcat\n")},
			"is no line of it"},
	} {
		_, err := OpenFolder(unzipped(t, c.files))
		require.ErrorContains(t, err, c.want)
	}
	_, err = OpenFolder(unzipped(t, map[string][]byte{"cat/readme": nil}))
	require.ErrorIs(t, err, fs.ErrNotExist)
	d, err = OpenFolder(unzipped(t, map[string][]byte{"train/cat/a.png": png(red), "test/a.png": png(red)}))
	require.NoError(t, err)
	require.Contains(t, d.Notes[0], "test holds no images in folders of their classes; it is left aside")
}

func TestImageShapes(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  [3]int
		err   string
	}{
		{[]int{28, 27}, [3]int{28, 27, 1}, ""},
		{[]int{8, 7, 3}, [3]int{8, 7, 3}, ""},
		{[]int{3, 3, 16}, [3]int{3, 3, 16}, ""},
		{[]int{3, 32, 32}, [3]int{}, "the rows of x have the shape [3 32 32], with the channels first; images " +
			"need them last: save x.transpose(0, 2, 3, 1)"},
		{[]int{7}, [3]int{}, "the rows of x have the shape [7] and are no images"},
	} {
		h, w, ch, err := (&Dataset{Name: "x", Shape: c.shape}).Image()
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, [3]int{h, w, ch})
	}
}

// Bytes stay bytes where the whole source has bytes, and only there.
func TestBytesStayBytes(t *testing.T) {
	for _, name := range []string{"digits", folder(t, tiny())} {
		numbers, err := OpenWith(name, noEnv, Options{})
		require.NoError(t, err)
		d, err := OpenWith(name, noEnv, Options{Bytes: true})
		require.NoError(t, err)
		require.Nil(t, d.Train.Features)
		require.NoError(t, d.Train.Check(d.Classes))
		require.Len(t, d.Train.Bytes, len(numbers.Train.Features))
		for i, b := range d.Train.Bytes {
			require.EqualValues(t, b, numbers.Train.Features[i])
		}
	}
	x, y := array(t, []byte{1, 2, 3, 4}, 2, 2), array(t, []int32{0, 1}, 2)
	d, err := OpenFolderWith(folder(t, map[string][]byte{"train_x.npy": x, "train_y.npy": y,
		"test_x.npy": array(t, []float32{1, 2, 3, 4.5}, 2, 2), "test_y.npy": y}), Options{Bytes: true})
	require.NoError(t, err)
	require.Nil(t, d.Train.Bytes, "the test part has other numbers")
	require.Equal(t, []float32{1, 2, 3, 4}, d.Train.Features)
	require.ErrorContains(t, (&Set{Bytes: x, Features: []float32{1}, Labels: []int32{0}, Dim: 1}).Check(1), "not both")
}
