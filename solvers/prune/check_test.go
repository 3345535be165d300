package prune_test

import (
	"math"
	"testing"

	"bilevel/solvers/linear"
	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// rows finds the agreements of a variant, one for each γ.
func rows(list []prune.Agreement, row string) (of []prune.Agreement) {
	for _, a := range list {
		if a.Row == row {
			of = append(of, a)
		}
	}
	return of
}

// bip-exact is the dense hypergradient where the lower Hessian is positive definite, and says where it is not.
func TestExactIsDense(t *testing.T) {
	ex := executor(t, "ref")
	for _, batchNorm := range []bool{false, true} {
		s := newSmall(t, batchNorm, false, 0)
		c := prune.Comparison{Task: s.task, Gamma: []float64{10, 3, 1, 1e-4}, Steps: 3, Rate: 0.1}
		list, err := c.Compare(background, ex, s.theta, s.mask(t, ex))
		require.NoError(t, err)
		exact := rows(list, prune.RowExact)
		for _, a := range exact[:3] {
			require.Positive(t, a.Smallest, "gamma %g", a.Gamma)
			require.Equal(t, linear.Converged, a.Status)
			require.Less(t, a.Distance, 1e-6)
		}
		require.Negative(t, exact[3].Smallest)
		require.Equal(t, linear.NegativeCurvature, exact[3].Status)
		for _, row := range []string{prune.RowBiP, prune.RowNoImplicit, prune.RowUnrolled} {
			for _, a := range rows(list, row) {
				t.Logf("batch norm %v: %-15s gamma %-6g cosine %.6f ratio %.4f", batchNorm, row, a.Gamma, a.Cosine,
					a.Ratio)
			}
		}
		free := rows(list, prune.RowBiP)
		require.Less(t, free[0].Distance, 0.05, "for a large γ the Hessian hardly matters")
		require.Greater(t, free[2].Distance, free[0].Distance)
	}
}

// The dense hypergradient, and so bip-exact, is the derivative of h(m) = F(m ⊙ θ*(m)): central differences along a
// direction of masks that are real numbers, the lower level solved at each.
func TestExactIsTheDerivative(t *testing.T) {
	ex := executor(t, "ref")
	for _, batchNorm := range []bool{false, true} {
		s := newSmall(t, batchNorm, false, 0)
		const gamma, step = 1.0, 1e-5
		n := len(s.theta)
		mask, along := make([]float64, n), make([]float64, n)
		for i := range mask {
			mask[i], along[i] = 0.6+0.05*float64(i%9), float64(i*i%11)/5-1
		}
		c := prune.Comparison{Task: s.task, Gamma: []float64{gamma}, Rate: 0.1, Solve: true}
		list, err := c.Compare(background, ex, s.theta, mask)
		require.NoError(t, err)
		h := func(by float64) float64 {
			m := make([]float64, n)
			floats.AddScaledTo(m, mask, by, along)
			b, err := s.task.Bind(ex, s.theta, m)
			require.NoError(t, err)
			theta, err := s.task.Minimizer(background, b, s.theta, m, gamma)
			require.NoError(t, err)
			require.NoError(t, b.Close())
			return s.upper(t, ex, m, theta)
		}
		difference := (h(step) - h(-step)) / (2 * step)
		got := floats.Dot(rows(list, prune.RowExact)[0].Gradient, along)
		// Truncation is of the size of step² = 1e-10, and the lower level's gradient of 1e-9 moves h by about as much,
		// which the division by 2·step makes 1e-6 at worst where the errors do not cancel.
		require.InDelta(t, difference, got, 1e-6)
	}
}

// Where both levels have one loss and one batch and the lower level is solved, γ θ = -m ⊙ ∇G, so that the Hessian-free
// form is 2 θ ⊙ ∇z F.
func TestSharedLossDoubles(t *testing.T) {
	ex := executor(t, "ref")
	for _, batchNorm := range []bool{false, true} {
		s := newSmall(t, batchNorm, true, 0)
		c := prune.Comparison{Task: s.task, Gamma: []float64{1, 0.1}, Rate: 0.1, Solve: true}
		list, err := c.Compare(background, ex, s.theta, s.mask(t, ex))
		require.NoError(t, err)
		free, half := rows(list, prune.RowBiP), rows(list, prune.RowNoImplicit) // θ ⊙ ∇z F
		for i := range free {
			twice := make([]float64, len(s.theta))
			floats.AddScaled(twice, 2, half[i].Gradient)
			require.InDeltaSlice(t, twice, free[i].Gradient, 1e-6*floats.Norm(twice, 2))
			require.NotZero(t, floats.Norm(twice, 2))
		}
	}
}

// The Hessian-free form is the dense one whose Hessian is zero, which is -(1/γ) ∇G ⊙ m ⊙ ∇F beside θ ⊙ ∇F: here with
// both gradients by central differences of the losses.
func TestHessianFreeIsTheDenseFormulaWithoutHessian(t *testing.T) {
	ex := executor(t, "ref")
	for _, batchNorm := range []bool{false, true} {
		s := newSmall(t, batchNorm, false, 0)
		mask := s.mask(t, ex)
		const gamma = 0.2
		c := prune.Comparison{Task: s.task, Gamma: []float64{gamma}, Rate: 0.1}
		list, err := c.Compare(background, ex, s.theta, mask)
		require.NoError(t, err)
		gl, gu := s.differences(t, ex, mask, s.theta)
		want := make([]float64, len(mask))
		for i := range want {
			w := mask[i] * gu[i] / gamma // H = 0
			want[i] = s.theta[i]*gu[i] - gl[i]*w
		}
		require.InDeltaSlice(t, want, rows(list, prune.RowBiP)[0].Gradient, 1e-6*floats.Norm(want, 2))
	}
}

// At the minimizer of the lower level its steps stand still, and the derivative through K of them comes to the exact
// one as (1 - rate·μ)^K, where μ is the smallest eigenvalue of the lower Hessian.
func TestUnrolledConverges(t *testing.T) {
	ex := executor(t, "ref")
	s := newSmall(t, true, false, 0)
	c := prune.Comparison{Task: s.task, Gamma: []float64{1}, Rate: 0.6, Solve: true}
	last := 1.0
	for _, steps := range []int{1, 5, 25} {
		c.Steps = steps
		list, err := c.Compare(background, ex, s.theta, s.mask(t, ex))
		require.NoError(t, err)
		a := rows(list, prune.RowUnrolled)[0]
		require.Greater(t, a.Smallest, 0.5)
		require.Less(t, a.Distance, math.Pow(1-c.Rate*a.Smallest, float64(steps)))
		require.Less(t, a.Distance, last)
		last = a.Distance
	}
}
