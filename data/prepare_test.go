package data

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func requireUsage(t *testing.T, err error, want string) {
	t.Helper()
	require.ErrorAs(t, err, new(*UsageError))
	require.ErrorContains(t, err, want)
}

func TestSplit(t *testing.T) {
	parts, err := Split(10, 3, 4, 0, 5)
	require.NoError(t, err)
	require.Len(t, parts, 3)
	require.Len(t, parts[0], 4)
	require.Len(t, parts[1], 0)
	require.Len(t, parts[2], 5)
	all := slices.Concat(parts...)
	slices.Sort(all)
	require.Len(t, slices.Compact(all), 9)
	require.True(t, all[0] >= 0 && all[8] < 10)

	more, err := Split(10, 3, 9)
	require.NoError(t, err)
	require.Equal(t, parts[0], more[0][:4]) // a smaller subset is the beginning of a larger one
	_ = append(parts[0], 99)
	again, err := Split(10, 3, 4, 0, 5)
	require.NoError(t, err)
	require.Equal(t, again, parts)

	other, err := Split(10, 4, 4, 0, 5)
	require.NoError(t, err)
	require.NotEqual(t, other, parts)

	golden, err := Split(8, 1, 8)
	require.NoError(t, err)
	require.Equal(t, [][]int32{{0, 1, 3, 2, 4, 6, 5, 7}}, golden)

	empty, err := Split(0, 1)
	require.NoError(t, err)
	require.Empty(t, empty)
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range []struct {
		n     int
		sizes []int
		want  string
	}{
		{-1, nil, "-1 rows to split"},
		{math.MaxInt, nil, "rows to split"},
		{10, []int{5, 6}, "parts of [5 6] rows cannot be cut from 10"},
		{10, []int{5, -1}, "cannot be cut"},
		{10, []int{math.MaxInt, math.MaxInt}, "cannot be cut"},
	} {
		_, err := Split(c.n, 0, c.sizes...)
		requireUsage(t, err, c.want)
	}
}

func TestStandardize(t *testing.T) {
	// Columns: 1, 3, 5, 7 (mean 4, deviation √5), and the constant 0.1.
	s := &Set{Features: []float32{1, 0.1, 3, 0.1, 5, 0.1, 7, 0.1}, Labels: make([]int32, 4), Dim: 2}
	scale, err := Standardize(s)
	require.NoError(t, err)
	require.Equal(t, []float64{4, float64(float32(0.1))}, scale.Mean)
	require.Equal(t, []float64{math.Sqrt(5), 1}, scale.Deviation)

	dst := make([]float32, 8)
	require.NoError(t, scale.Apply(dst, s.Features))
	r := float32(1 / math.Sqrt(5))
	// 2 ulp of 1.34: r, and its product, are rounded
	require.InDeltaSlice(t, []float32{-3 * r, 0, -r, 0, r, 0, 3 * r, 0}, dst, 2.4e-7)
	require.NoError(t, scale.Apply(s.Features, s.Features)) // in place
	require.Equal(t, dst, s.Features)
	require.NoError(t, scale.Apply(nil, nil))
}

// After standardization each column has mean 0 and deviation 1 but for the rounding of its n numbers to float32.
func TestStandardizeDigits(t *testing.T) {
	d, err := Digits()
	require.NoError(t, err)
	scale, err := Standardize(d.Train)
	require.NoError(t, err)
	require.NoError(t, scale.Apply(d.Train.Features, d.Train.Features))
	again, err := Standardize(d.Train)
	require.NoError(t, err)
	for j := range again.Mean {
		require.InDelta(t, 0, again.Mean[j], 1e-6, "column %d", j)
		require.InDelta(t, 1, again.Deviation[j], 1e-6, "column %d", j)
	}
}

func TestStandardizeRefuses(t *testing.T) {
	for _, c := range []struct {
		set  Set
		want string
	}{
		{Set{Dim: 2}, "there are no rows"},
		{Set{Labels: []int32{1}, Dim: 2}, "no set of rows"},
		{Set{Features: []float32{float32(math.NaN())}, Labels: []int32{1}, Dim: 1}, "row 0, column 0"},
	} {
		_, err := Standardize(&c.set)
		requireUsage(t, err, c.want)
	}
	s := &Scaler{Mean: []float64{0, 0}, Deviation: []float64{1, 1}}
	x := make([]float32, 4)
	requireUsage(t, s.Apply(x, x[:2]), "into")
	requireUsage(t, s.Apply(x[:3], x[:3]), "in rows of 2")
	requireUsage(t, (&Scaler{}).Apply(x, x), "in rows of 0")
	requireUsage(t, (&Scaler{Mean: s.Mean}).Apply(x, x), "in rows of 2")
}

func TestCorrupt(t *testing.T) {
	const n, classes = 100_000, 10
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(i % classes)
	}
	before := slices.Clone(labels)
	noisy3, drawn3, err := Corrupt(labels, 0.3, classes, 5)
	require.NoError(t, err)
	noisy5, drawn5, err := Corrupt(labels, 0.5, classes, 5)
	require.NoError(t, err)
	require.Equal(t, before, labels)

	drawn, kept := 0, 0
	count := make([]float64, classes)
	for i := range n {
		if !drawn3[i] {
			require.Equal(t, labels[i], noisy3[i])
			continue
		}
		require.True(t, drawn5[i], "row %d is drawn at 0.3 and not at 0.5", i)
		require.Equal(t, noisy5[i], noisy3[i])
		drawn++
		count[noisy3[i]]++
		if noisy3[i] == labels[i] {
			kept++
		}
	}
	// Five standard deviations of the binomial counts.
	near := func(name string, got int, n, p float64) {
		require.InDelta(t, n*p, float64(got), 5*math.Sqrt(n*p*(1-p)), name)
	}
	near("drawn", drawn, n, 0.3)
	near("kept", kept, float64(drawn), 1.0/classes)
	for _, c := range count {
		near("class", int(c), float64(drawn), 1.0/classes)
	}

	part, partDrawn, err := Corrupt(labels[:100], 0.3, classes, 5) // row i depends on (seed, i) only
	require.NoError(t, err)
	require.Equal(t, noisy3[:100], part)
	require.Equal(t, drawn3[:100], partDrawn)
}

func TestCorruptNoneAndAll(t *testing.T) {
	labels := []int32{0, 1, 2, 1}
	noisy, drawn, err := Corrupt(labels, 0, 3, 1)
	require.NoError(t, err)
	require.Equal(t, labels, noisy)
	require.Equal(t, make([]bool, 4), drawn)
	_, drawn, err = Corrupt(labels, 1, 3, 1)
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true, true}, drawn)
	noisy, _, err = Corrupt(nil, 0.5, 3, 1)
	require.NoError(t, err)
	require.Empty(t, noisy)
}

func TestCorruptRefuses(t *testing.T) {
	for _, p := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		_, _, err := Corrupt([]int32{0}, p, 2, 1)
		requireUsage(t, err, "it must be between 0 and 1")
	}
	for _, classes := range []int{0, -1, math.MaxInt} {
		_, _, err := Corrupt([]int32{0}, 0.5, classes, 1)
		requireUsage(t, err, "classes; there must be")
	}
	for _, y := range []int32{-1, 2} {
		_, _, err := Corrupt([]int32{0, y}, 0.5, 2, 1)
		requireUsage(t, err, "the label of row 1")
	}
}

// Channels are measured over all pixels of the training rows, and images stay as they are.
func TestPrepareChannels(t *testing.T) {
	x := []byte{0, 10, 4, 30, 2, 20, 6, 20, 9, 9, 9, 9} // three images of 1×2 pixels in two channels
	set := &Dataset{Name: "x", Shape: []int{1, 2, 2}, Classes: 2,
		Train: &Set{Bytes: x[:8], Labels: []int32{0, 1}, Dim: 4}, Val: &Set{Bytes: x[8:], Labels: []int32{1}, Dim: 4},
		Test: &Set{Bytes: x[8:], Labels: []int32{1}, Dim: 4}}
	d, err := Prepare(set, Preparation{Train: 2, Val: 1, NoOnes: true, Channels: 2}, 1)
	require.NoError(t, err)
	require.Equal(t, []float64{3, 20}, d.Scaler.Mean)
	require.InDeltaSlice(t, []float64{math.Sqrt(5), math.Sqrt(50)}, d.Scaler.Deviation, 1e-15)
	require.Nil(t, d.Train.Features)
	require.Len(t, d.Train.Bytes, 8)
	set = set.Widened()
	same, err := Prepare(set, Preparation{Train: 2, Val: 1, NoOnes: true, Channels: 2}, 1)
	require.NoError(t, err)
	require.Equal(t, d.Scaler, same.Scaler)
	_, err = Prepare(set, Preparation{Train: 2, Val: 1, NoOnes: true, Channels: 3}, 1)
	require.ErrorContains(t, err, "2 rows of 4 numbers are no images of 3 channels")
}
