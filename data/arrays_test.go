package data

import (
	"io/fs"
	"math"
	"path/filepath"
	"strings"
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
		Name: dir, Source: dir, Shape: []int{2, 1}, Classes: 3, ClassNames: []string{"0", "1", "2"},
		Notes: []string{"no training row has the label 2, which other parts have"},
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

// Test rows of unknown truth are left aside with a word: without labels, or with -1 where no other part has it.
func TestTestRowsOfUnknownTruth(t *testing.T) {
	files := arrays(t)
	delete(files, "test_y.npy")
	dir := folder(t, files)
	d, err := Open(dir, noEnv)
	require.NoError(t, err)
	require.Nil(t, d.Test)
	require.Contains(t, d.Notes, filepath.Join(dir, "test_x.npy")+" has no labels; it is left aside")

	files["test_x.npy"] = array(t, []float32{1, 2, 3, 4, 5, 6}, 3, 2, 1)
	for _, c := range []struct {
		labels, train []int32
		left          []int32
		features      []float32
		note          string
	}{
		{[]int32{-1, -1, -1}, []int32{0, 1}, nil, nil, "all labels are -1"},
		{[]int32{-1, 1, -1}, []int32{0, 1}, []int32{1}, []float32{3, 4}, "2 of 3 rows have the label -1"},
		{[]int32{-1, 1, -1}, []int32{-1, 1}, []int32{0, 1, 0}, []float32{1, 2, 3, 4, 5, 6}, ""},
	} {
		files["test_y.npy"], files["train_y.npy"] = array(t, c.labels, 3), array(t, c.train, 2)
		d, err := Open(folder(t, files), noEnv)
		require.NoError(t, err)
		if strings.Contains(strings.Join(d.Notes, " "), "left aside") != (c.note != "") {
			t.Errorf("notes %q for %v", d.Notes, c.labels)
		}
		require.Contains(t, strings.Join(d.Notes, " "), c.note)
		if c.left == nil {
			require.Nil(t, d.Test)
			require.NotContains(t, d.ClassNames, "-1")
			continue
		}
		require.Equal(t, c.left, d.Test.Labels)
		require.Equal(t, c.features, d.Test.Features)
	}
}

func TestNPYFolderRefuses(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, c := range []struct {
		name, file string
		content    []byte
		want       string
	}{
		{"no training labels", "train_y.npy", nil, "the training labels are missing, such as train_y.npy"},
		{"no validation features", "val_x.npy", nil, "the validation features are missing, such as val_x.npy"},
		{"damaged features", "test_x.npy", []byte("PK"), "test_x.npy: not a usable .npy file"},
		{"damaged labels", "test_y.npy", []byte("PK"), "test_y.npy: not a usable .npy file"},
		{"rank 1", "train_x.npy", array(t, []float32{1, 2}, 2),
			"train_x.npy: the shape is [2]; features need at least two dimensions"},
		{"no rows", "train_x.npy", array(t, []float32{}, 0, 2),
			"train_x.npy: the shape is [0 2]; there are no features in it"},
		{"no columns", "train_x.npy", array(t, []float32{}, 2, 0), "there are no features in it"},
		{"NaN", "val_x.npy", array(t, []float32{1, nan}, 1, 2, 1),
			"val_x.npy: row 0, column 1 (counted from 0) is NaN"},
		{"Inf", "train_x.npy", array(t, []float32{1, 2, inf, 4}, 2, 2, 1),
			"train_x.npy: row 1, column 0 (counted from 0) is -Inf"},
		{"beyond float32", "train_x.npy", array(t, []float64{1, 2, 3, 1e39}, 2, 2, 1),
			"row 1, column 1 (counted from 0): \"1e+39\" is beyond float32"},
		{"float16 Inf", "test_x.npy", array(t, []npy.Float16{0x7c00, 0}, 1, 2, 1),
			"row 0, column 0 (counted from 0) is +Inf"},
		{"other shape", "val_x.npy", array(t, []float32{1, 2}, 1, 2),
			"val_x.npy: rows have the shape [2], but those of"},
		{"label rank", "train_y.npy", array(t, []int32{0, 1, 1, 0}, 2, 1, 2),
			"train_y.npy: labels of the shape [2 1 2] for 2 rows"},
		{"label type", "train_y.npy", array(t, []float64{0, 1.5}, 2),
			"train_y.npy: the label of row 1 (counted from 0) is 1.5"},
		{"label missing", "train_y.npy", array(t, []float64{0, math.NaN()}, 2),
			"train_y.npy: the label of row 1 (counted from 0) is NaN"},
		{"label count", "train_y.npy", array(t, []int32{0, 1, 0}, 3), "train_y.npy holds 3 labels"},
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
	files := arrays(t)
	delete(files, "train_x.npy")
	delete(files, "train_y.npy")
	_, err := OpenFolder(folder(t, files))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "the training features are missing, such as train_x.npy")
}
