package linear_test

import (
	"testing"

	"bilevel/device"
	"bilevel/internal/philox"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// With all of A and from zero, K steps are the Neumann series with K - 1 terms.
func TestSGDOnAllRowsIsNeumann(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n, step = 7, 0.6
		a, b := withSpectrum(90, spread(n, 10)...), normals(91, n)
		for _, steps := range []int{1, 2, 9} {
			v, st := prepare(t, dev, linear.SGD{Step: step, Steps: steps, FromZero: true}, a).solve(b, normals(92, n))
			want, _ := prepare(t, dev, linear.Neumann{Step: step, Terms: steps - 1}, a).solve(b, nil)
			require.LessOrEqual(t, floats.Distance(want, v, 2),
				float64(steps*(n+4))*dev.Info().UnitRoundoff()*float64(steps)*floats.Norm(b, 2))
			require.Equal(t, [2]int{steps, steps + 1}, [2]int{st.Steps, st.Products})
			require.Equal(t, linear.MaxSteps, st.Status)
			require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v))
		}
		_, st := prepare(t, dev, linear.SGD{Step: step, Steps: 400, RTol: 1e-4}, a).solve(b, nil)
		require.Equal(t, linear.Converged, st.Status)
	})
}

// The error of a step from a warm start is (I - ρA) times the one before; with Normal (I - ρA²), which also works on an
// indefinite matrix.
func TestSGDErrorRecursion(t *testing.T) {
	const n, step = 5, 0.3
	for _, normal := range []bool{false, true} {
		a := withSpectrum(93, 1, 0.7, 0.5, 0.4, 0.2)
		if normal {
			a = withSpectrum(94, 1, -0.8, 0.6, -0.5, 0.3)
		}
		b, start := normals(95, n), normals(96, n)
		v, st := prepare(t, float64s(t), linear.SGD{Step: step, Steps: 1, Normal: normal}, a).solve(b, start)
		solution := dense(t, a, b)
		e := mat.NewVecDense(n, nil)
		e.SubVec(mat.NewVecDense(n, start), mat.NewVecDense(n, solution))
		var ae mat.VecDense
		ae.MulVec(a, e)
		if normal {
			ae.MulVec(a, mat.VecDenseCopyOf(&ae))
			require.Equal(t, 3, st.Products)
		}
		e.AddScaledVec(e, -step, &ae)
		e.AddVec(e, mat.NewVecDense(n, solution))
		require.InDeltaSlice(t, e.RawVector().Data, v, 1e-13*(1+floats.Norm(solution, 2)))
	}
}

// diagonals is A as the mean of rows' diagonal matrices.
func diagonals(t *testing.T, rows int, values []float64) func(*system, *linear.Matrix) {
	return func(s *system, m *linear.Matrix) {
		table := s.ex.Variable("diagonals", tensor.Real, rows, m.N)
		require.NoError(t, table.Write(values))
		m.Sampled = &linear.Sampled{Rows: rows, Apply: func(v, index *tensor.Node) *tensor.Node {
			return tensor.Gather(table.Node(), index).Mean(0).Mul(v)
		}}
	}
}

// Steps on minibatches are those of a float64 loop with the same draws; a position written back goes on to the same
// bits; with Normal the two factors of a step see independent minibatches.
func TestSGDOnMinibatches(t *testing.T) {
	const n, rows, batch, steps, step = 3, 5, 2, 6, 0.2
	values := make([]float64, rows*n)
	for i, z := range normals(97, rows*n) {
		values[i] = 1 + z*z
	}
	mean := make([]float64, n)
	for i, v := range values {
		mean[i%n] += v / rows
	}
	b := normals(98, n)
	for _, normal := range []bool{false, true} {
		m := linear.SGD{Step: step, Steps: steps, Batch: batch, Normal: normal, Seed: 7<<33 + 1}
		s := prepareKnown(t, float64s(t), m, diagonal(mean...), diagonals(t, rows, values))
		got, st := s.solve(b, nil)
		want, draw := make([]float64, n), uint32(0)
		product := func(v []float64) []float64 {
			var index [batch]int32
			philox.Integers(index[:], rows, m.Seed, draw, philox.StreamInner, 0)
			draw++
			out := make([]float64, n)
			for _, i := range index {
				for j := range out {
					out[j] += values[int(i)*n+j] / batch * v[j]
				}
			}
			return out
		}
		run := func() {
			for range steps {
				r := product(want)
				floats.Sub(r, b)
				if normal {
					r = product(r)
				}
				floats.AddScaled(want, -step, r)
			}
		}
		run()
		require.InDeltaSlice(t, want, got, 1e-13)
		random := s.System.(linear.Randomized)
		require.Equal(t, draw, random.Position())
		require.Equal(t, int(draw)+1, st.Products)
		require.InEpsilon(t, residual(diagonal(mean...), b, got), st.Residual, 1e-12,
			"the residual is that of all rows")

		first := draw
		further, _ := s.solve(b, got)
		run() // goes on with the draws that follow
		require.InDeltaSlice(t, want, further, 1e-13)
		random.Seek(first)
		again, _ := s.solve(b, got)
		require.Equal(t, bits(further), bits(again))
	}
}
