package linear_test

import (
	"math"
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// Negative curvature is reported at the first direction that has it, and the last iterate before it is kept.
func TestCGIndefinite(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		s := prepare(t, dev, linear.CG{RTol: 1e-4}, diagonal(1, 2, -3))
		v, st := s.solve([]float64{1, 0, 0}, nil) // b is an eigenvector of a positive eigenvalue
		require.Equal(t, linear.Converged, st.Status)
		require.InDeltaSlice(t, []float64{1, 0, 0}, v, 1e-6)

		v, st = s.solve([]float64{0, 0, 1}, nil) // the first direction has negative curvature
		require.Equal(t, linear.NegativeCurvature, st.Status)
		require.Zero(t, st.Steps)
		require.Equal(t, []float64{0, 0, 0}, v)
		require.Equal(t, 1.0, st.Residual)

		v, st = s.solve([]float64{1, 1, 0.5}, nil) // b'Ab = 2.25 > 0: the second direction has negative curvature
		require.Equal(t, linear.NegativeCurvature, st.Status)
		require.Equal(t, 1, st.Steps)
		require.InDelta(t, residual(diagonal(1, 2, -3), []float64{1, 1, 0.5}, v), st.Residual, 1e-5)
		require.InDeltaSlice(t, []float64{1, 1, 0.5}, scaled(v, 1/v[0]), 1e-6, "one step along b")

		_, st = s.solve(normals(20, 3), []float64{3, 1, -2}) // from a warm start
		require.NotEqual(t, linear.Converged, st.Status)
	})
}

func scaled(x []float64, c float64) []float64 {
	out := append([]float64(nil), x...)
	floats.Scale(c, out)
	return out
}

// For a random indefinite matrix and a b that has a part along every eigenvector, CG must meet a direction of negative
// curvature within n steps.
func TestCGMeetsNegativeCurvature(t *testing.T) {
	for seed := range uint64(30) {
		n := 3 + int(seed%8)
		eigenvalues := spread(n, 50)
		eigenvalues[n-1] = -0.3
		s := prepare(t, float64s(t), linear.CG{RTol: 1e-10}, withSpectrum(seed, eigenvalues...))
		_, st := s.solve(normals(seed+50, n), nil)
		require.Equal(t, linear.NegativeCurvature, st.Status, "seed %d: %+v", seed, st)
		require.Less(t, st.Steps, n)
	}
}

func TestCGSemidefinite(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		s := prepare(t, dev, linear.CG{RTol: 1e-5, MaxSteps: 20}, diagonal(1, 2, 0))
		v, st := s.solve([]float64{1, 1, 0}, nil) // b is in the range of A, so the system can be solved
		require.Equal(t, linear.Converged, st.Status)
		require.InDeltaSlice(t, []float64{1, 0.5, 0}, v, 1e-5)
		_, st = s.solve([]float64{0, 0, 1}, nil)
		require.Equal(t, linear.NegativeCurvature, st.Status)
		require.Zero(t, st.Steps)
		_, st = s.solve([]float64{1, 1, 1}, nil)
		require.Equal(t, linear.NegativeCurvature, st.Status)
		require.Equal(t, 2, st.Steps)
	})
}

// The threshold is c·u·|d||Ad| with c = SumError(n), tested from both sides. For A = diag(1, t-1) and b = (1, 1) the
// first direction has d'Ad = t and |d||Ad| = 2 up to terms of the size of t, all exact in binary.
func TestCGCurvatureThreshold(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		info := dev.Info()
		threshold := info.SumError(2) * info.UnitRoundoff() * 2
		require.Equal(t, 4.0, info.SumError(2), "this makes the threshold a power of two")
		for _, c := range []struct {
			t     float64
			steps int
		}{{threshold / 2, 0}, {2 * threshold, 1}} {
			s := prepare(t, dev, linear.CG{RTol: 1e-2, MaxSteps: 1}, diagonal(1, c.t-1))
			_, st := s.solve([]float64{1, 1}, nil)
			require.Equal(t, c.steps, st.Steps, "t = %g of %g: %+v", c.t, threshold, st)
			require.Equal(t, c.steps == 0, st.Status == linear.NegativeCurvature)
		}
	})
}

func TestCGNotFinite(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		nan, inf := math.NaN(), math.Inf(1)
		s := prepare(t, dev, linear.CG{RTol: 1e-4}, diagonal(1, 2, 3))
		for _, bad := range []float64{nan, inf, -inf} {
			_, st := s.solve([]float64{1, bad, 1}, nil)
			require.Equal(t, linear.NotFinite, st.Status, "b holds %g", bad)
			_, st = s.solve([]float64{1, 1, 1}, []float64{0, 0, bad})
			require.Equal(t, linear.NotFinite, st.Status, "v holds %g", bad)
		}
		for _, bad := range []float64{nan, inf} {
			s := prepare(t, dev, linear.CG{RTol: 1e-4}, diagonal(1, bad, 3))
			v, st := s.solve([]float64{1, 1, 1}, nil)
			require.Equal(t, linear.NotFinite, st.Status, "A holds %g", bad)
			for _, x := range v {
				require.False(t, math.IsNaN(x), "the NaN does not get into the solution")
			}
		}
		_, st := s.solve([]float64{1, 1, 1}, nil) // a failed solve leaves nothing behind that spoils the next one
		require.Equal(t, linear.Converged, st.Status)
	})
}

// With a condition number of 1e7, float32 leaves few correct digits; the reported residual must be right all the same.
func TestCGNearlySingular(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 20
		a, b := withSpectrum(30, spread(n, 1e7)...), normals(31, n)
		s := prepare(t, dev, linear.CG{RTol: 1e-6, MaxSteps: 2000}, a)
		v, st := s.solve(b, nil)
		t.Logf("%+v", st)
		require.LessOrEqual(t, math.Abs(residual(a, b, v)-st.Residual), rounding(dev, a, b, v))
		if dev.Info().RealBits == 64 {
			require.Equal(t, linear.Converged, st.Status)
		} else {
			require.NotEqual(t, linear.NotFinite, st.Status)
			require.NotEqual(t, linear.Converged, st.Status, "float32 cannot reach 1e-6 here")
		}
	})
}
