package data_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"bilevel/data"

	"github.com/stretchr/testify/require"
)

func digits(t *testing.T) *data.Dataset {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	return set
}

// Parts may be taken in the order of the rows, and scaled in a way of the caller's own.
func TestPrepareInOrder(t *testing.T) {
	set := digits(t)
	var measured *data.Set
	d, err := data.Prepare(set, data.Preparation{Train: 600, Val: 200, NoOnes: true, InOrder: true,
		Scale: func(train *data.Set) (*data.Scaler, error) {
			measured = train
			return &data.Scaler{Mean: make([]float64, 64), Deviation: slices.Repeat([]float64{2}, 64)}, nil
		}}, 4)
	require.NoError(t, err)
	require.Equal(t, set.Train.Features[:600*64], measured.Features)
	for from, part := range map[int]*data.Set{0: d.Train, 600: d.Val, 800: d.Test} {
		require.Equal(t, set.Train.Labels[from:from+part.N()], part.Labels)
		require.Equal(t, set.Train.Row(from)[10]/2, part.Row(0)[10])
	}
	require.Equal(t, 1797-800, d.Test.N())
}

func TestPrepareDoesWhatItSays(t *testing.T) {
	set := digits(t)
	d, err := data.Prepare(set, data.Preparation{Train: 600, Val: 200, Corrupt: 0.5}, 4)
	require.NoError(t, err)
	require.Equal(t, []int{600, 200, 997}, []int{d.Train.N(), d.Val.N(), d.Test.N()})
	changed, drawn := 0, 0
	for i, row := range d.Rows {
		require.Equal(t, d.Changed[i], d.Train.Labels[i] != set.Train.Labels[row])
		require.True(t, d.Drawn[i] || !d.Changed[i])
		if d.Changed[i] {
			changed++
		}
		if d.Drawn[i] {
			drawn++
		}
		require.Equal(t, float32(1), d.Train.Row(i)[d.Train.Dim-1])
	}
	require.InDelta(t, 300, drawn, 4*math.Sqrt(600*0.25)) // four standard deviations
	require.InDelta(t, 270, changed, 4*math.Sqrt(600*0.45*0.55))
	require.Len(t, d.Kept(), 600-changed)
	require.Equal(t, digits(t), set, "the source stays as it was")
}

func TestPrepareUsesTheSetsOwnParts(t *testing.T) {
	all := digits(t).Train
	part := func(from, to int32) *data.Set {
		var rows []int32
		for i := from; i < to; i++ {
			rows = append(rows, i)
		}
		s, err := all.Rows(rows)
		require.NoError(t, err)
		return s
	}
	set := &data.Dataset{Name: "own", Shape: []int{8, 8}, Classes: 10, Train: part(0, 300), Val: part(300, 400),
		Test: part(400, 500)}
	d, err := data.Prepare(set, data.Preparation{Train: 300, Val: 100}, 1)
	require.NoError(t, err)
	require.Equal(t, set.Val.Labels, d.Val.Labels)
	require.Equal(t, set.Test.Labels, d.Test.Labels)
	require.Nil(t, d.Changed)
	set.Test = nil
	_, err = data.Prepare(set, data.Preparation{Train: 300, Val: 100}, 1)
	require.ErrorContains(t, err, "some left for a test")
	d, err = data.Prepare(set, data.Preparation{Train: 200, Val: 100}, 1)
	require.NoError(t, err)
	require.Equal(t, 100, d.Test.N())
}

func TestPrepareRefuses(t *testing.T) {
	set := digits(t)
	own, single := *set, *set
	own.Val = set.Train
	single.Classes = 1
	for _, c := range []struct {
		p    data.Preparation
		set  *data.Dataset
		want string
	}{
		{data.Preparation{Train: 5000, Val: 200}, set,
			"its 1797 rows are not enough for 5000 training and 200 validation rows, and some left for a test"},
		{data.Preparation{Train: 1597, Val: 200}, set, "not enough"}, // nothing left
		{data.Preparation{Train: 600}, set, "not enough"},
		{data.Preparation{Val: 200}, set, "not enough"},
		{data.Preparation{Train: 600, Val: 200}, &own,
			"it brings 1797 validation rows of its own, which are all used, not 200"},
		{data.Preparation{Train: 600, Val: 200}, &single, "at least two classes"},
	} {
		_, err := data.Prepare(c.set, c.p, 1)
		var usage *data.UsageError
		require.True(t, errors.As(err, &usage), "%v", err)
		require.ErrorContains(t, err, c.want)
	}
}

func TestPrepareRefusesOutliers(t *testing.T) {
	set := digits(t)
	own := &data.Dataset{Name: "own", Shape: set.Shape, Classes: 10, Train: set.Train, Val: set.Train,
		Test: digits(t).Train}
	own.Test.Features[3] = 3e38 // finite, but some pixels are nearly constant
	for i := range set.Train.N() {
		set.Train.Features[i*64+3] = 1e-3 * float32(i%2)
	}
	_, err := data.Prepare(own, data.Preparation{Train: 600, Val: set.Train.N()}, 1)
	require.ErrorContains(t, err, "a feature of a test row is too large")
}
