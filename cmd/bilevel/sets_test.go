package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/experiments/table"
)

// rowsOfSets has each kind of row on data sets that are not on this machine, each kind twice.
const rowsOfSets = `
title: rows
experiment: train
seeds: 1
methods:
  a: {data: mnist, model: softmax, step: 0.1}
  b: {data: mnist, model: softmax, step: 0.2}
  c: {experiment: hpo, data: mnist, method: hoag}
  d: {experiment: hpo, data: mnist, method: tpe}
  e: {experiment: compare, problem: mnist-clean, algo: soba}
  f: {experiment: compare, problem: mnist-clean, algo: f2sa}
`

// A plan needs no data set of images, in whatever kind of row, and a data set is read once for all rows and for both
// passes over a recipe.
func TestSetsOfRows(t *testing.T) {
	a := &app{stderr: &bytes.Buffer{}, env: func(string) string { return t.TempDir() }}
	r, err := table.Parse([]byte(rowsOfSets))
	require.NoError(t, err)
	_, err = table.Expand(r, a.tables(&common{quiet: true}, a.sets(&tableFlags{})))
	var missing *data.NotFoundError
	require.ErrorAs(t, err, &missing)

	s := a.sets(&tableFlags{dry: true})
	open, opened := s.open, 0
	s.open = func(f *common) (*data.Dataset, error) { opened++; return open(f) }
	for range 2 {
		_, err = table.Expand(r, a.tables(&common{quiet: true}, s))
		require.NoError(t, err)
	}
	require.Equal(t, 2, opened, "as bytes for train, as numbers for the others")
	for of, set := range s.opened {
		require.Equal(t, of.bytes, set.Train.Bytes != nil)
		require.Equal(t, !of.bytes, set.Train.Features != nil)
	}
}
