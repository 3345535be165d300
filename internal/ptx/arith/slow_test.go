package arith

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith/exact"
)

// The slow path is taken once in a million arguments, so it is called here by itself.
func TestSlowPath(t *testing.T) {
	pi := exact.Pi()
	functions := map[Approx]func(exact.Value) exact.Value{
		Ex2: exact.Exp2, Lg2: exact.Log2, Tanh: exact.Tanh,
		Sin:   func(v exact.Value) exact.Value { return exact.Sin(v, pi) },
		Cos:   func(v exact.Value) exact.Value { return exact.Cos(v, pi) },
		Rsqrt: func(v exact.Value) exact.Value { return exact.Div(exact.Float(1), exact.Sqrt(v)) },
	}
	for f, g := range functions {
		for _, x := range []float32{
			1, 0.5, 2, 0.75, 1.0000001, 0.99999994, 3, 1.5707964, 3.1415927, 6.2831855, 22, 100, 0.001, 1e-3,
			37.25, 8.75, 65,
			-1, -0.5, -3.1415927, -7.5, -100.125, 1e5, 16777216, 1.7014118e38, -1e30,
		} {
			if x < 0 && (f == Lg2 || f == Rsqrt) || math.Abs(float64(x)) > 500 && (f == Ex2 || f == Tanh) {
				continue
			}
			want := uint32(exact.F32().Encode(g(exact.Float(float64(x))), "rn"))
			require.Equal(t, want, single.round(f.slow(float64(x)), RN), "%s %g", f, x)
			require.Equal(t, want, f.Eval(math.Float32bits(x), 0, false), "%s %g", f, x)
		}
	}
}
