package experiments

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where one method makes far more iterations than another, both are seen: the axis is logarithmic and begins at the
// first point after the start. A method whose runs all ended at once has no line and no name.
func TestCoursesOfUnequalLength(t *testing.T) {
	long := Course{Name: "many", X: [][]float64{{0, 100, 1000}, {0, 100}}, Y: [][]float64{{3, 2, 1}, {3, 2}}}
	short := Course{Name: "few", X: [][]float64{{0, 5, 10}}, Y: [][]float64{{3, 2, 2}}}
	gone := Course{Name: "gone", X: [][]float64{{0}}, Y: [][]float64{{3}}}
	c := Courses{File: "plot", Title: "t", X: "iteration", Y: "value", Lines: []Course{long, short, gone}}
	require.Equal(t, 5.0, c.left())
	line, band := long.mean(false, 5, 0, 3)
	require.Len(t, line, 2, "without the start")
	require.Len(t, band, 4)
	require.Equal(t, 100.0, line[0].X)
	require.Zero(t, Courses{Lines: []Course{long, gone}}.left())

	dir := t.TempDir()
	require.NoError(t, c.Save(dir))
	text, err := os.ReadFile(filepath.Join(dir, "plot.svg"))
	require.NoError(t, err)
	require.Contains(t, string(text), ">many<")
	require.Contains(t, string(text), ">few<")
	require.NotContains(t, string(text), ">gone<")
}
