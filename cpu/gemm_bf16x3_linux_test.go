package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Kernels of pieces touch nothing past the last element of their operands, nor before the first of a result.
func TestPiecesStayInside(t *testing.T) {
	kernels := needBF16x3(t)
	r := rng(7)
	const most = 1 << 14
	ends := [5][]float32{}
	for i := range ends {
		ends[i] = atPageEnd(t, most)
		for j := range ends[i] {
			ends[i][j] = ordinary(r)
		}
	}
	last := func(i, n int) []float32 { return ends[i][most-n:] }
	for rows := 1; rows <= bf16x3Panel; rows++ {
		for cols := 1; cols <= 70; cols++ {
			if testing.Short() && r.IntN(8) > 0 {
				continue
			}
			for _, k := range []int{1 + r.IntN(70), cols} {
				from, by := last(0, rows*k), last(1, k*cols)
				a, b, c := last(2, panelRoom(rows, k)), last(3, roomOf(cols, k)), last(4, rows*cols)
				require.True(t, kernels.left(a, from, k, rows, k))
				require.True(t, kernels.right(b, by, cols, k, cols))
				kernels.multiply(rows, cols, k, a, b, c, cols, r.IntN(2) == 0)
			}
		}
	}
}
