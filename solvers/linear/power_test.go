package linear_test

import (
	"context"
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// The largest eigenvalue in absolute value, of matrices of any size, of 0, and of the same programs' next matrix.
func TestPower(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 3
		s := &system{t: t, ex: tensor.NewExecutor(dev)}
		s.a = s.ex.Variable("A", tensor.Real, n, n)
		sc := s.ex.Scope()
		start := sc.Variable("start", tensor.Real, n)
		require.NoError(t, start.Write([]float64{3, -2, 1}))
		p, err := linear.NewPower(sc, linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node {
			return s.a.Node().MatMul(v.Reshape(n, 1)).Reshape(n)
		}}, start.Node())
		require.NoError(t, err)
		for _, size := range []float64{1, 1e25, 1e-25, 0} {
			var a mat.Dense
			a.Scale(size, withSpectrum(7, 0.5, -2, 1))
			s.setMatrix(&a)
			got, err := p.Measure(context.Background(), 40)
			require.NoError(t, err)
			require.InDelta(t, 2*size, got, 1e-5*size)
		}
		ended, end := context.WithCancel(context.Background())
		end()
		_, err = p.Measure(ended, 40)
		require.ErrorIs(t, err, context.Canceled)
		_, err = linear.NewPower(sc, linear.Matrix{N: n}, start.Node())
		require.ErrorContains(t, err, "one of Apply and Product")
		require.NoError(t, sc.Close())
		require.NoError(t, s.ex.Close())
	})
}
