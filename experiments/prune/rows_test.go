package prune

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
)

// salaries are rows of two classes, one after the other, with columns of very different units.
func salaries() *data.Dataset {
	const rows = 60
	s := &data.Set{Dim: 2}
	for i := range rows {
		s.Features = append(s.Features, 20000+1000*float32(i), float32(i%7)/10)
		s.Labels = append(s.Labels, int32(2*i/rows))
	}
	return &data.Dataset{Name: "salaries", Shape: []int{2}, Classes: 2, Train: s}
}

// divided splits a set with the default settings for a perceptron, but for those that are changed.
func divided(set *data.Dataset, change func(*Config)) (*task, error) {
	t := &task{Config: Defaults(set), env: &experiments.Env{Data: set}, seed: 3}
	t.Model = "mlp:9"
	change(&t.Config)
	return t, t.split(set)
}

// The parts are those that training alone has with the same seed, scaled in the same way: drawn at random, with
// validation and test rows that the set brings, and column by column.
func TestPartsAreThoseOfTraining(t *testing.T) {
	plain, brings := salaries(), salaries()
	own := func(n int) *data.Set {
		s, err := brings.Train.Rows([]int32{1, 50, 20, 40, 2, 3}[:n])
		require.NoError(t, err)
		return s
	}
	brings.Val, brings.Test = own(6), own(4)
	onlyVal := *brings
	onlyVal.Test = nil
	for _, set := range []*data.Dataset{plain, brings, &onlyVal} {
		got, err := divided(set, func(*Config) {})
		require.NoError(t, err)
		c := train.Defaults(set)
		want, err := train.Prepare(set, "mlp:9", "", data.Preparation{Train: c.Train, Val: c.Val, NoOnes: true}, 3)
		require.NoError(t, err)
		require.Equal(t, [3]*data.Set{want.Train, want.Val, want.Test}, got.parts)
		require.Equal(t, want.Scaler, got.scaler)
		for _, part := range got.parts {
			require.Contains(t, part.Labels, int32(0))
			require.Contains(t, part.Labels, int32(1))
		}
	}
	_, err := divided(&onlyVal, func(c *Config) { c.Val = 5 })
	require.ErrorContains(t, err, "it brings 6 validation rows of its own, which are all used, not 5")
}

// Pixels are scaled all alike by the training rows, or by the whole file where the last rows are for validation and
// test.
func TestScaleOfPixels(t *testing.T) {
	_, set := small(t, "omp")
	got, err := divided(set, func(*Config) {})
	require.NoError(t, err)
	rows, err := set.Train.Rows(got.rows.Rows)
	require.NoError(t, err)
	require.Equal(t, wholeScaler(rows), got.scaler)
	require.Len(t, slices.Compact(slices.Clone(got.scaler.Deviation)), 1)

	got, err = divided(set, func(c *Config) { c.Split = Last })
	require.NoError(t, err)
	require.Equal(t, wholeScaler(set.Train), got.scaler)
	require.Equal(t, set.Train.Labels, slices.Concat(got.parts[0].Labels, got.parts[1].Labels, got.parts[2].Labels))
	require.Equal(t, []int{1797 - 2*299, 299, 299}, []int{got.parts[0].N(), got.parts[1].N(), got.parts[2].N()})
}

// The network of a file reads numbers less their origin as those that it was trained on.
func TestScaleOfFiles(t *testing.T) {
	set := salaries()
	set.Train.Origin = []float64{1e9, 0}
	task := &task{Config: Defaults(set),
		scaler: &data.Scaler{Mean: []float64{1e9 + 50000, 0}, Deviation: []float64{2, 4}}}
	task.Model = "mlp:9"
	require.NoError(t, task.split(set))
	require.Equal(t, []float64{1e9, 0}, task.scaler.Origin)
	row := set.Train.Row(int(task.rows.Rows[0]))
	require.Equal(t, []float32{(row[0] - 50000) / 2, row[1] / 4}, task.parts[0].Row(0))
}
