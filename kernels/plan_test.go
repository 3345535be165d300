package kernels_test

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/kernels"
)

// Products with the factors are the quotients, at both ends of runs of numbers with the same quotient, near powers of
// two and near the end of the range, where an error of the factor would show first.
func TestReciprocal(t *testing.T) {
	for _, c := range []struct {
		bits     int
		quotient func(x uint64, n int) uint64
	}{
		{31, func(x uint64, n int) uint64 {
			factor, shift := kernels.Reciprocal(n)
			return 2 * x * uint64(factor) >> 32 >> shift
		}},
		{63, func(x uint64, n int) uint64 {
			factor, shift := kernels.Reciprocal63(n)
			high, _ := bits.Mul64(2*x, factor)
			return high >> shift
		}},
	} {
		end := uint64(1) << c.bits
		divisors := []uint64{1, 2, 3, 5, 7, 10, 60, 641, 1000, 65537}
		for k := 2; k < c.bits; k++ {
			divisors = append(divisors, 1<<k-1, 1<<k, 1<<k+1)
		}
		divisors = append(divisors, end-1)
		for _, n := range divisors {
			var near []uint64
			for k := range c.bits {
				near = append(near, 1<<k)
			}
			for _, around := range append(near, 0, end-1, end/3, end/7*5) {
				for _, x := range []uint64{around, around / n * n, around/n*n + n - 1, around/n*n - 1} {
					if x < end {
						require.Equal(t, x/n, c.quotient(x, int(n)), "%d / %d", x, n)
					}
				}
			}
		}
	}
}
