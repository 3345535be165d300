package experiments

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Numbers stand by their logarithms, in their order; others evenly. A number far below the others does not stretch the
// axis.
func TestSweep(t *testing.T) {
	require.InDeltaSlice(t, []float64{0, math.Ln10, 2 * math.Ln10}, Sweep{Values: []float64{1, 0.1, 0.01}}.positions(),
		1e-15)
	require.InDeltaSlice(t, []float64{0, math.Ln2}, Sweep{Values: []float64{3, 6}}.positions(), 1e-15)
	require.Equal(t, []float64{0, 1, 2}, Sweep{Values: []float64{0, 4, 1}}.positions())
	from, to := rangeOf([]float64{90, 89, 88, 87, 86, 47})
	require.InDelta(t, 86-0.2, from, 1e-12)
	require.InDelta(t, 90+0.2, to, 1e-12)
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
