package data

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/npy"
)

// Columns far from 0 are standardized to the numbers that they are without the offset, from every kind of source.
func TestColumnsFarFromZero(t *testing.T) {
	const n, offset = 64, 1e9
	near, far := make([]float64, 2*n), make([]float64, 2*n)
	whole, large := make([]int64, 2*n), make([]uint64, 2*n)
	labels := make([]int32, n)
	table, sparse := "a,b,label\n", ""
	for i := range n {
		a, b := float64(i*i%23)/16, float64(i%7)
		near[2*i], near[2*i+1], labels[i] = a, b, int32(i%2)
		far[2*i], far[2*i+1] = a+offset, b
		whole[2*i], whole[2*i+1] = int64(16*a)-1<<60, int64(b)
		large[2*i], large[2*i+1] = uint64(16*a)+1<<63, uint64(b)
		table += fmt.Sprintf("%.14g,%g,%d\n", far[2*i], b, labels[i])
		sparse += fmt.Sprintf("%d 1:%.14g 2:%g\n", labels[i], far[2*i], b)
	}
	y := array(t, labels, n)
	dir := folder(t, map[string][]byte{"t.csv": []byte(table), "t.svm": []byte(sparse)})
	folders := map[string]string{"t.csv": filepath.Join(dir, "t.csv"), "t.svm": filepath.Join(dir, "t.svm")}
	for name, x := range map[string][]byte{"near": array(t, near, n, 2), "float64": array(t, far, n, 2),
		"int64": array(t, whole, n, 2), "uint64": array(t, large, n, 2)} {
		folders[name] = folder(t, map[string][]byte{"train_x.npy": x, "train_y.npy": y, "test_x.npy": x,
			"test_y.npy": y})
	}
	standardized := func(path string, o Options) (of []float32, s *Set) {
		d, err := OpenFolderWith(path, o)
		require.NoError(t, err, path)
		require.Empty(t, d.Notes, path)
		scaler, err := Standardize(d.Train)
		require.NoError(t, err)
		of = make([]float32, 2*n)
		require.NoError(t, scaler.Apply(of, d.Train.Features))
		if d.Test != nil {
			require.Equal(t, d.Train.Features, d.Test.Features)
			require.Equal(t, d.Train.Origin, d.Test.Origin)
		}
		return of, d.Train
	}
	want, plain := standardized(folders["near"], Options{Wide: true})
	require.Nil(t, plain.Origin)
	for name, path := range folders {
		got, set := standardized(path, Options{Wide: true})
		if name == "near" {
			continue
		}
		for i := range got { // means of 2⁶⁰ are rounded, which moves a column as a whole
			require.InDelta(t, want[i]-want[i%2], got[i]-got[i%2], 1e-5, "%s: %d", name, i)
		}
		require.NotZero(t, set.Origin[0], name)
		require.Zero(t, set.Origin[1], "the other column stays as it is")

		again, err := OpenFolderWith(path, Options{Unlabelled: true, Origin: set.Origin})
		require.NoError(t, err)
		require.Equal(t, set.Features, again.Train.Features)
		d, err := OpenFolderWith(path, Options{})
		require.NoError(t, err)
		require.Contains(t, d.Notes[len(d.Notes)-1], "float32 tells few of them apart: 0 (near ", name)
		require.Nil(t, d.Train.Origin)
		d, err = OpenFolderWith(path, Options{Wide: true, Origin: []float64{}})
		require.NoError(t, err)
		require.Nil(t, d.Train.Origin, "as it was before")
	}
}

// Whether there is an origin depends on the training rows alone, and images stay as they are.
func TestColumnsWithoutOrigin(t *testing.T) {
	for name, x := range map[string]*npy.Array{
		"one value": must(npy.New([]float64{1e9, 1e9, 1e9, 1e9}, 4, 1)),
		"wide":      must(npy.New([]float64{1e9, 1e9 + 1, 0, 1e9 + 2}, 4, 1)),
		"image":     must(npy.New([]float64{1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3}, 4, 1, 1)),
	} {
		dir := folder(t, map[string][]byte{"train_y.npy": array(t, []int32{0, 1, 0, 1}, 4)})
		require.NoError(t, npy.WriteFile(filepath.Join(dir, "train_x.npy"), x))
		d, err := OpenFolderWith(dir, Options{Wide: true})
		require.NoError(t, err)
		require.Nil(t, d.Train.Origin, name)
		require.Equal(t, name == "image", len(d.Notes) > 0, name)
	}
}

func must(a *npy.Array, err error) *npy.Array {
	if err != nil {
		panic(err)
	}
	return a
}
