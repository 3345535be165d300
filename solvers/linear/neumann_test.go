package linear_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// truncated is A⁻¹(I - (I - ηA)^{Q+1}) b from the eigenvalues of A: the closed form of the sum, not the recurrence.
func truncated(t *testing.T, a *mat.SymDense, b []float64, eta float64, terms int) []float64 {
	n := len(b)
	var eig mat.EigenSym
	require.True(t, eig.Factorize(a, true))
	var q mat.Dense
	eig.VectorsTo(&q)
	values := eig.Values(nil)
	var c, out mat.VecDense
	c.MulVec(q.T(), mat.NewVecDense(n, b))
	for i, l := range values {
		f := eta * float64(terms+1) // the limit for λ → 0
		if l != 0 {
			f = (1 - math.Pow(1-eta*l, float64(terms+1))) / l
		}
		c.SetVec(i, c.AtVec(i)*f)
	}
	out.MulVec(&q, &c)
	return out.RawVector().Data
}

func TestNeumannIsTheTruncatedSeries(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 8
		a, b := withSpectrum(40, spread(n, 20)...), normals(41, n)
		norm := floats.Norm(b, 2)
		for _, eta := range []float64{0.1, 0.5, 1, 1.9} {
			for _, terms := range []int{0, 1, 2, 10, 40} {
				s := prepare(t, dev, linear.Neumann{Step: eta, Terms: terms}, a)
				v, st := s.solve(b, normals(42, n)) // Neumann does not use the start value
				// Each of the Q+1 steps adds the rounding error of one product to a sum of norm at most η(Q+1)|b|.
				tol := float64(terms+1) * float64(n+4) * dev.Info().UnitRoundoff() * eta * float64(terms+1) * norm
				want := truncated(t, a, b, eta, terms)
				require.LessOrEqual(t, floats.Distance(want, v, 2), tol+1e-13*norm, "η = %g, Q = %d", eta, terms)
				require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v))
				require.InDelta(t, norm, st.RHSNorm, 1e-5*norm)
				require.Equal(t, [2]int{terms, terms + 1}, [2]int{st.Steps, st.Products})
				require.Equal(t, linear.MaxSteps, st.Status, "without a tolerance no solve converges")
				require.True(t, math.IsNaN(st.SmallestEigenvalue))
			}
		}
	})
}

func TestNeumannStatus(t *testing.T) {
	a, b := diagonal(1, 0.5, 0.25), []float64{1, 1, 1}
	status := func(m linear.Neumann, a *mat.SymDense, b []float64) linear.Status {
		_, st := prepare(t, float64s(t), m, a).solve(b, nil)
		return st.Status
	}
	require.Equal(t, linear.Converged, status(linear.Neumann{Step: 1, Terms: 100, RTol: 1e-6}, a, b))
	require.Equal(t, linear.Converged, status(linear.Neumann{Step: 1, Terms: 100, ATol: 1e-6}, a, b))
	require.Equal(t, linear.MaxSteps, status(linear.Neumann{Step: 1, Terms: 5, RTol: 1e-6}, a, b))
	require.Equal(t, linear.Converged, status(linear.Neumann{Step: 1, Terms: 3}, a, []float64{0, 0, 0}))
	require.Equal(t, linear.Diverged, status(linear.Neumann{Step: 2.5, Terms: 20, RTol: 1e-6}, a, b), "η > 2/λmax")
	require.Equal(t, linear.MaxSteps, status(linear.Neumann{Step: 2, Terms: 20, RTol: 1e-6}, a, b), "η = 2/λmax")
	indefinite := diagonal(1, 1, -0.5)
	require.Equal(t, linear.Diverged, status(linear.Neumann{Step: 1, Terms: 20, RTol: 1e-6}, indefinite, b))
	require.Equal(t, linear.NotFinite, status(linear.Neumann{Step: 10, Terms: 1000}, a, b))
	require.Equal(t, linear.NotFinite, status(linear.Neumann{Step: 1, Terms: 3}, a, []float64{1, math.NaN(), 1}))
	for s := linear.Converged; s <= linear.Breakdown; s++ {
		require.NotContains(t, s.String(), "Status(")
		require.Equal(t, s == linear.Converged, s.Advice() == "")
	}
	require.Equal(t, "Status(99)", linear.Status(99).String())
	require.Empty(t, linear.Status(99).Advice())
}

func TestNeumannAgainAndCancelled(t *testing.T) {
	s := prepare(t, float64s(t), linear.Neumann{Step: 0.5, Terms: 5}, diagonal(1, 0.5))
	first, st := s.solve([]float64{1, 2}, nil)
	second, st2 := s.solve([]float64{1, 2}, first)
	require.Equal(t, first, second)
	require.Equal(t, st.Residual, st2.Residual)
	s.setMatrix(diagonal(1, 0.25)) // each Solve reads the operator's current values
	third, _ := s.solve([]float64{1, 2}, nil)
	require.NotEqual(t, first, third)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Solve(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestNeumannSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	for _, m := range []linear.Neumann{
		{}, {Step: -1}, {Step: math.NaN()}, {Step: math.Inf(1)},
		{Step: 1, Terms: -1}, {Step: 1, RTol: -1}, {Step: 1, ATol: math.NaN()},
	} {
		_, err := m.Prepare(ex, linear.Matrix{N: 3, Apply: func(v *tensor.Node) *tensor.Node { return v }})
		require.ErrorContains(t, err, "linear: Neumann", "%+v", m)
	}
	require.Equal(t, "Neumann(step 0.5, 3 terms)", linear.Neumann{Step: 0.5, Terms: 3}.String())
}
