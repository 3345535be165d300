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
