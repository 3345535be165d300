package experiments

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Numbers stand by their logarithms, in their order; others evenly.
func TestSweep(t *testing.T) {
	require.InDeltaSlice(t, []float64{0, math.Ln10, 2 * math.Ln10}, Sweep{Values: []float64{1, 0.1, 0.01}}.positions(),
		1e-15)
	require.InDeltaSlice(t, []float64{0, math.Ln2}, Sweep{Values: []float64{3, 6}}.positions(), 1e-15)
	require.Equal(t, []float64{0, 1, 2}, Sweep{Values: []float64{0, 4, 1}}.positions())
	dir := t.TempDir()
	s := Sweep{File: "sweep", X: "kept", Y: "accuracy", Values: []float64{0.2, 0.01}, Labels: []string{"0.2", "0.01"},
		Lines: []SweepLine{{"imp", [][]float64{{90, 91}, {88}}}, {"none", [][]float64{nil, nil}}}}
	require.NoError(t, s.Save(dir))
	f, ok, err := ReadFigure(dir, "sweep")
	require.NoError(t, err)
	require.True(t, ok)
	for _, text := range []string{"kept", "accuracy", "imp", ">0.01<"} {
		require.Contains(t, string(f.SVG), text)
	}
	require.NotContains(t, string(f.SVG), "none<")
	require.FileExists(t, filepath.Join(dir, "sweep.png"))
	s.Lines, s.File = s.Lines[1:], "empty"
	require.NoError(t, s.Save(dir))
	_, ok, err = ReadFigure(dir, "empty")
	require.NoError(t, err)
	require.False(t, ok, "nothing is drawn of nothing")
}

// Values that are not listed in their order are drawn in it, and all of them.
func TestSweepOfUnorderedValues(t *testing.T) {
	dir := t.TempDir()
	drawn := func(values []float64, at [][]float64) string {
		s := Sweep{File: "sweep", Values: values, Lines: []SweepLine{{"one", at}}}
		for _, v := range values {
			s.Labels = append(s.Labels, fmt.Sprint(v))
		}
		require.NoError(t, s.Save(dir))
		f, _, err := ReadFigure(dir, "sweep")
		require.NoError(t, err)
		lines := strings.Split(string(f.SVG), "\n")
		slices.Sort(lines) // labels and grid come in the order of the list
		return strings.Join(lines, "\n")
	}
	require.Equal(t, drawn([]float64{0.01, 0.1, 0.3, 1}, [][]float64{{3}, {1}, {4}, {2}}),
		drawn([]float64{0.1, 1, 0.01, 0.3}, [][]float64{{1}, {2}, {3}, {4}}))
}

// A number far below the others is a failure where higher is better: it does not stretch the axis, which says so. Where
// lower is better, or nobody knows, it may be the best of all and is in the picture.
func TestSweepLeavesOutFailures(t *testing.T) {
	dir := t.TempDir()
	s := Sweep{File: "sweep", Y: "measure", Values: make([]float64, 6), Labels: make([]string, 6),
		Lines: []SweepLine{{"one", [][]float64{{90}, {89}, {88}, {87}, {86}, {47}}}}}
	for _, c := range []struct {
		higher   bool
		from, to float64
		below    int
		label    string
	}{{false, 47 - 2.15, 90 + 2.15, 0, ">measure<"}, {true, 86 - 0.2, 90 + 0.2, 1, ">measure; points below: 1<"}} {
		s.HigherIsBetter = c.higher
		from, to, below := s.rangeOf([]float64{90, 89, 88, 87, 86, 47})
		require.InDelta(t, c.from, from, 1e-12)
		require.InDelta(t, c.to, to, 1e-12)
		require.Equal(t, c.below, below)
		require.NoError(t, s.Save(dir))
		f, _, err := ReadFigure(dir, "sweep")
		require.NoError(t, err)
		require.Contains(t, string(f.SVG), c.label)
	}
	require.True(t, IsAccuracy("test_accuracy"))
	require.False(t, IsAccuracy("test_error"))
	require.False(t, IsAccuracy("robust_acc_std"), "a deviation")
}
