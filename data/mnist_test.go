package data

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMNISTFolder(t *testing.T) {
	want := &Dataset{
		Shape: []int{2, 3}, Classes: 4, ClassNames: []string{"0", "1", "2", "3"},
		Notes: []string{"no training row has the label 3, which other parts have"},
		Train: &Set{
			Features: []float32{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25},
			Labels:   []int32{0, 2, 1}, Dim: 6,
		},
		Test: &Set{
			Features: []float32{200, 201, 202, 203, 204, 205, 210, 211, 212, 213, 214, 215},
			Labels:   []int32{3, 0}, Dim: 6,
		},
	}
	gz := map[string][]byte{}
	for name, b := range tiny() {
		gz[name+".gz"] = compress(t, b)
	}
	mixed := with(tiny(), "train-images-idx3-ubyte", compress(t, tiny()["train-images-idx3-ubyte"])) // no ending .gz
	for _, files := range []map[string][]byte{tiny(), gz, mixed} {
		dir := folder(t, files)
		want.Name, want.Source = dir, dir
		got, err := Open(dir, noEnv)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, got.Train.Check(got.Classes))
		require.NoError(t, got.Test.Check(got.Classes))
	}
}

func TestMNISTFolderRefuses(t *testing.T) {
	for _, c := range []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"training labels missing", "train-labels-idx1-ubyte", nil,
			"the training labels are missing, such as train-labels-idx1-ubyte"},
		{"test images missing", "t10k-images-idx3-ubyte", nil,
			"the test images are missing, such as t10k-images-idx3-ubyte"},
		{"test labels missing", "t10k-labels-idx1-ubyte", nil,
			"the test labels are missing, such as t10k-labels-idx1-ubyte"},
		{"fewer labels", "train-labels-idx1-ubyte", idx([]byte{0, 1}, 2), "holds 3 images, but "},
		{"labels as images", "t10k-images-idx3-ubyte", idx([]byte{0, 1}, 2), "is it the label file?"},
		{"images as labels", "train-labels-idx1-ubyte", idx(pixels(3, 0), 3, 2, 3), "is it the image file?"},
		{"no images", "t10k-images-idx3-ubyte", idx(nil, 0, 2, 3), "there are no images in it"},
		{"no pixels", "t10k-images-idx3-ubyte", idx(nil, 2, 0, 3), "there are no images in it"},
		{"other shape", "t10k-images-idx3-ubyte", idx(pixels(2, 0), 2, 3, 2),
			"rows have the shape [3 2], but those of"},
		{"damaged images", "t10k-images-idx3-ubyte", []byte("<html>"), "t10k-images-idx3-ubyte: not an IDX file"},
		{"damaged labels", "t10k-labels-idx1-ubyte", idx([]byte{1}, 2),
			"t10k-labels-idx1-ubyte: array of shape [2]: it ends"},
	} {
		dir := folder(t, with(tiny(), c.file, c.content))
		_, err := OpenFolder(dir)
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorContains(t, err, dir, c.name)
	}
}

func TestDropDuplicates(t *testing.T) {
	test := &Set{Features: []float32{1, 2, 3, 4}, Labels: []int32{0, 1}, Dim: 2}
	train := &Set{Features: []float32{5, 6, 3, 4, 7, 8, 1, 2, 3, 4, 2, 1}, Labels: []int32{0, 1, 2, 3, 4, 5}, Dim: 2}
	require.Equal(t, 3, dropDuplicates(train, test))
	require.Equal(t, &Set{Features: []float32{5, 6, 7, 8, 2, 1}, Labels: []int32{0, 2, 5}, Dim: 2}, train)
	require.Equal(t, 0, dropDuplicates(train, test))
}

// fashion is a folder that could be fashion-mnist: 28×28, training images 0, 1, 2 and test images 1, 3 of one value
// each.
func fashion(label byte) map[string][]byte {
	const size = 28 * 28
	filled := func(values ...byte) []byte {
		b := make([]byte, 0, size*len(values))
		for _, v := range values {
			for range size {
				b = append(b, v)
			}
		}
		return b
	}
	return map[string][]byte{
		"train-images-idx3-ubyte": idx(filled(0, 1, 2), 3, 28, 28),
		"train-labels-idx1-ubyte": idx([]byte{0, 2, label}, 3),
		"t10k-images-idx3-ubyte":  idx(filled(1, 3), 2, 28, 28),
		"t10k-labels-idx1-ubyte":  idx([]byte{3, 0}, 2),
	}
}

func TestNamedSets(t *testing.T) {
	root := t.TempDir()
	env := func(name string) string { return map[string]string{EnvFolder: root}[name] }
	write(t, filepath.Join(root, "mnist"), fashion(1))
	write(t, filepath.Join(root, "fashion-mnist"), fashion(1))

	d, err := Open("mnist", env)
	require.NoError(t, err)
	require.Equal(t, "mnist", d.Name)
	require.Equal(t, filepath.Join(root, "mnist"), d.Source)
	require.Equal(t, 10, d.Classes)
	require.Equal(t, 0, d.Dropped)
	require.Equal(t, 3, d.Train.N())

	d, err = Open("fashion-mnist", env)
	require.NoError(t, err)
	require.Equal(t, 1, d.Dropped)
	require.Equal(t, []int32{0, 1}, d.Train.Labels)
	require.Equal(t, float32(2), d.Train.Row(1)[783])

	write(t, filepath.Join(root, "mnist"), fashion(10))
	_, err = Open("mnist", env)
	require.ErrorContains(t, err, "the label of training row 2 (counted from 0) is 10; it must be in 0 … 9")
	require.ErrorContains(t, err, "bilevel data get mnist")

	write(t, filepath.Join(root, "mnist"), tiny())
	_, err = Open("mnist", env)
	require.ErrorContains(t, err, "rows of shape [2 3], but those of mnist are [28 28]")

	require.NoError(t, os.Remove(filepath.Join(root, "mnist", "train-labels-idx1-ubyte")))
	_, err = Open("mnist", env)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "bilevel data get mnist")

	same := fashion(1)
	same["train-images-idx3-ubyte"] = idx(same["t10k-images-idx3-ubyte"][16:], 2, 28, 28)
	same["train-labels-idx1-ubyte"] = idx([]byte{0, 1}, 2)
	write(t, filepath.Join(root, "fashion-mnist"), same)
	_, err = Open("fashion-mnist", env)
	require.ErrorContains(t, err, "every training image is in the test part too")
}

// TestRealSets reads the official files where $BILEVEL_DATA has them. The sums are those of NumPy over the same files.
func TestRealSets(t *testing.T) {
	if os.Getenv(EnvFolder) == "" {
		t.Skip("$BILEVEL_DATA is not set: the real MNIST and Fashion-MNIST were not read")
	}
	for _, c := range []struct {
		name        string
		train, test float64
		perClass    int // of the test part
	}{
		{"mnist", 1567298545, 264923200, 0},
		{"fashion-mnist", 3431889312, 573580711, 1000},
	} {
		d, err := Open(c.name, os.Getenv)
		require.NoError(t, err)
		sum := func(s *Set) (total float64) {
			for _, v := range s.Features {
				total += float64(v)
			}
			return total
		}
		require.Equal(t, 60_000, d.Train.N()+d.Dropped)
		require.Equal(t, 10_000, d.Test.N())
		require.Equal(t, 784, d.Train.Dim)
		require.NoError(t, d.Train.Check(10))
		require.NoError(t, d.Test.Check(10))
		require.Equal(t, c.test, sum(d.Test))
		if d.Dropped == 0 {
			require.Equal(t, c.train, sum(d.Train))
		}
		count := make([]int, 10)
		for _, y := range d.Test.Labels {
			count[y]++
		}
		for _, k := range count {
			require.True(t, c.perClass == 0 || k == c.perClass, count)
		}
		if c.name == "mnist" {
			require.Equal(t, []int32{5, 0, 4, 1, 9, 2, 1, 3, 1, 4}, d.Train.Labels[:10])
			require.Equal(t, []int{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}, count)
			require.Zero(t, d.Dropped)
		} else {
			require.Contains(t, []int{0, 10}, d.Dropped) // ten in the first release, none in the current one
		}
	}
}
