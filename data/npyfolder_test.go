package data

import (
	"io/fs"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/npy"
)

// arrays is a folder of NumPy arrays with all three parts: rows of shape [2 1], in 3 classes.
func arrays(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"train_x.npy": array(t, []float32{1, 2, 3, 4}, 2, 2, 1),
		"train_y.npy": array(t, []int64{0, 1}, 2),
		"val_x.npy":   array(t, []uint8{5, 255}, 1, 2, 1),
		"val_y.npy":   array(t, []uint8{2}, 1),
		"test_x.npy":  array(t, []npy.Float16{0x3c00, 0xc000}, 1, 2, 1),
		"test_y.npy":  array(t, []int32{1}, 1),
	}
}

func TestNPYFolder(t *testing.T) {
	files := arrays(t)
	dir := folder(t, files)
	d, err := Open(dir, noEnv)
	require.NoError(t, err)
	require.Equal(t, &Dataset{
		Name: dir, Source: dir, Shape: []int{2, 1}, Classes: 3,
		Train: &Set{Features: []float32{1, 2, 3, 4}, Labels: []int32{0, 1}, Dim: 2},
		Val:   &Set{Features: []float32{5, 255}, Labels: []int32{2}, Dim: 2},
		Test:  &Set{Features: []float32{1, -2}, Labels: []int32{1}, Dim: 2},
	}, d)

	for _, name := range []string{"val_x.npy", "val_y.npy", "test_x.npy", "test_y.npy"} {
		delete(files, name)
	}
	d, err = OpenFolder(folder(t, files))
	require.NoError(t, err)
	require.Nil(t, d.Val)
	require.Nil(t, d.Test)
	require.Equal(t, 2, d.Classes)
}

func TestNPYFolderRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"no training labels", "train_y.npy", nil, "train_y.npy is missing"},
		{"no validation features", "val_x.npy", nil, "val_x.npy is missing"},
		{"no test labels", "test_y.npy", nil, "test_y.npy is missing"},
		{"damaged features", "test_x.npy", []byte("PK"), "test_x.npy: not a usable .npy file"},
		{"damaged labels", "test_y.npy", []byte("PK"), "test_y.npy: not a usable .npy file"},
		{"rank 1", "train_x.npy", array(t, []float32{1, 2}, 2), "train_x.npy: the shape is [2]; features need at least two dimensions"},
		{"no rows", "train_x.npy", array(t, []float32{}, 0, 2), "train_x.npy: the shape is [0 2]; there are no features in it"},
		{"no columns", "train_x.npy", array(t, []float32{}, 2, 0), "there are no features in it"},
		{"NaN", "val_x.npy", array(t, []float32{1, nan}, 1, 2, 1), "val_x.npy: row 0, column 1 (counted from 0) is NaN"},
		{"Inf", "train_x.npy", array(t, []float32{1, 2, inf, 4}, 2, 2, 1), "train_x.npy: row 1, column 0 (counted from 0) is -Inf"},
		{"beyond float32", "train_x.npy", array(t, []float64{1, 2, 3, 1e39}, 2, 2, 1), "row 1, column 1 (counted from 0) is +Inf"},
		{"float16 Inf", "test_x.npy", array(t, []npy.Float16{0x7c00, 0}, 1, 2, 1), "row 0, column 0 (counted from 0) is +Inf"},
		{"other shape", "val_x.npy", array(t, []float32{1, 2}, 1, 2), "rows of val_x.npy have the shape [2], those of train_x.npy [2 1]"},
		{"label rank", "train_y.npy", array(t, []int32{0, 1}, 2, 1), "train_y.npy: the shape is [2 1]; labels have one dimension"},
		{"label type", "train_y.npy", array(t, []float64{0, 1}, 2), "train_y.npy: the labels are float64; they must be integers"},
		{"label count", "train_y.npy", array(t, []int32{0, 1, 0}, 3), "train_y.npy holds 3 labels"},
		{"negative label", "train_y.npy", array(t, []int32{0, -1}, 2), "train_y.npy: the label of row 1 (counted from 0) is -1"},
		{"huge label", "test_y.npy", array(t, []int64{1 << 40}, 1), "test_y.npy: the label of row 0 (counted from 0) is 1099511627776"},
		{"label beyond int64", "test_y.npy", array(t, []uint64{1 << 63}, 1), "beyond int64"},
	} {
		dir := folder(t, with(arrays(t), c.file, c.content))
		_, err := OpenFolder(dir)
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorContains(t, err, dir, c.name)
		if c.content == nil {
			require.ErrorIs(t, err, fs.ErrNotExist, c.name)
		}
	}
}

func TestNPYFolderWithoutTraining(t *testing.T) {
	_, err := npyFolder(t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "train_x.npy is missing")
}
