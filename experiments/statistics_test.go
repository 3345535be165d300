package experiments

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedianAndOrder(t *testing.T) {
	require.Equal(t, 2.0, Median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, Median([]float64{4, 1, 2, 3}))
	require.True(t, math.IsNaN(Median(nil)))
	require.Equal(t, []int{3, 0, 2, 1}, Ascending([]float64{1, 5, 1, 0}), "equal values keep their order")
}

// A value that is no number leaves nothing to say: no figure comes of it, and no loop without end.
func TestStatisticsOfNaN(t *testing.T) {
	nan := math.NaN()
	require.True(t, math.IsNaN(AUC([]float64{1, nan, 0}, []bool{true, false, false})))
	require.Equal(t, 0.875, AUC([]float64{1, math.Inf(1), 1, math.Inf(-1)}, []bool{true, true, false, false}))
	for _, values := range [][]float64{nil, {nan}, {1, nan, 2}, {3, 2, nan}} {
		require.True(t, math.IsNaN(Median(values)), values)
		mean, std := MeanStd(values)
		require.True(t, math.IsNaN(mean), values)
		require.True(t, math.IsNaN(std) || len(values) == 1, values)
	}
	require.Equal(t, []int{1, 3, 2, 4, 0}, Ascending([]float64{2, nan, 1, nan, 1}))
}
