package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A sparse product is the sum of its terms in float64, within the rounding of a running sum, at every level, for any
// number of columns, with empty rows; and the same bits for any number of threads.
func TestSparseGemm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, level := range Levels() {
		for _, n := range []int{1, 2, 15, 16, 31, 32, 33, 64, 100} {
			for _, density := range []float64{0, 0.03, 0.3, 1} {
				m, k := 1+r.IntN(40), 1+r.IntN(200)
				a, x := make([]float32, m*k), make([]float32, k*n)
				count := 0
				for i := range a {
					if r.Float64() < density && i/k%7 != 3 { // some rows are empty
						a[i] = float32(r.NormFloat64())
						count++
					}
				}
				for i := range x {
					x[i] = float32(r.NormFloat64())
				}
				w := Compress(a, m, k)
				require.Equal(t, count, w.Len())
				var first []float32
				for _, threads := range []int{1, 3} {
					pool := NewPool(threads, level)
					out := make([]float32, m*n)
					for i := range out {
						out[i] = float32(math.NaN())
					}
					g := NewSparseGemm(pool, w, x, out, n)
					pool.Lock()
					require.NoError(t, g.Run())
					pool.Unlock()
					pool.Close()
					for i := range m {
						for j := range n {
							sum, size := 0.0, 0.0
							for q := range k {
								term := float64(a[i*k+q]) * float64(x[q*n+j])
								sum, size = sum+term, size+math.Abs(term)
							}
							bound := float64(k+1) * 0x1p-24 * size
							require.InDelta(t, sum, float64(out[i*n+j]), bound, "%s, %d columns", level, n)
						}
					}
					if first == nil {
						first = out
					}
					require.Equal(t, first, out, "%s, %d columns, %d threads", level, n, threads)
				}
			}
		}
	}
}
