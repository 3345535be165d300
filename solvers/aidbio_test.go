package solvers_test

import (
	"slices"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// With as many steps of conjugate gradients as there are lower variables, from any v, the system is solved and x moves
// along the hypergradient's formula at y.
func TestAIDBiOSolvesTheSystem(t *testing.T) {
	q := solvertest.NewQuadratic(5, 3, solvertest.Spectrum(4, 10))
	for _, cold := range []bool{false, true} {
		ex := executor(t)
		a := solvers.AIDBiO{Step: 0.5, OuterStep: 0.1, InnerSteps: 2, CGSteps: 4, Cold: cold}
		e := begin(t, ex, load(t, ex, q), a, 1, 0)
		x := []float64{0.3, -1, 2}
		require.NoError(t, e.Variable("x").Write(x))
		require.NoError(t, e.Variable("v").Write([]float64{1, -2, 0.5, 3}))
		step(t, e, 0, 1)
		got := states(t, e)
		v := q.Adjoint(x, got["y"])
		// CG ends exactly after four steps but for rounding, which the condition of 10 multiplies.
		require.InDeltaSlice(t, v, got["v"], 1e-12)
		want := slices.Clone(x)
		for i, d := range q.Direction(x, got["y"], v) {
			want[i] -= 0.1 * d
		}
		require.InDeltaSlice(t, want, got["x"], 1e-12)
		products := int64(4)
		if !cold {
			products++ // for the residual that the solve begins with
		}
		require.Equal(t, problem.Counts{LowerGradients: 2, UpperGradients: 1, HVP: products, JVP: 1}, e.Counts(0))
	}
}

// Where the lower Hessian is not positive definite, v stays from the first direction on along which it shows.
func TestAIDBiOStopsAtNegativeCurvature(t *testing.T) {
	for _, c := range []struct {
		curvature []float64 // of G in y
		slope     []float64 // ∇yF
		want      []float64 // v
	}{
		{[]float64{1, -2}, []float64{1, 1}, []float64{0, 0}},                  // the first direction: dᵀHd = -1
		{[]float64{2, -1}, []float64{2, 1}, []float64{10. / 7, 5. / 7}},       // the second one: bᵀb/bᵀHb = 5/7
		{[]float64{0, 4}, []float64{0, 1}, []float64{0, 0.25}},                // the residual is 0 after one step
		{[]float64{0, 0}, []float64{1, 1}, []float64{0, 0}},                   // no curvature at all
		{[]float64{2, 4}, []float64{0, 0}, []float64{0, 0}},                   // no right-hand side
		{[]float64{2, 4, 1}, []float64{2, 4, 1}, []float64{1, 1, 1}},          // as it should be
		{[]float64{3, 3, 3, 3}, []float64{3, 6, 9, 3}, []float64{1, 2, 3, 1}}, // solved in one step, then 0/0
	} {
		n := len(c.curvature)
		weigh := func(y *tensor.Node, by []float64, of func(*tensor.Node) *tensor.Node) *tensor.Node {
			sum := tensor.Const(0)
			for i, w := range by {
				sum = sum.Add(of(y.Slice(0, i, i+1).Reshape()).Scale(w))
			}
			return sum
		}
		p := &problem.Problem{Name: "curved",
			Lower: problem.Level{Start: problem.Vector(make([]float64, n)...),
				Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return weigh(y, c.curvature, (*tensor.Node).Square).Scale(0.5)
				})},
			Upper: problem.Level{Start: problem.Vector(1),
				Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return weigh(y, c.slope, func(y *tensor.Node) *tensor.Node { return y })
				})},
		}
		e := begin(t, executor(t), p, solvers.AIDBiO{Step: 0.1, OuterStep: 0.1, InnerSteps: 1, CGSteps: 4}, 1, 0)
		step(t, e, 0, 1)
		require.InDeltaSlice(t, c.want, states(t, e)["v"], 1e-13, "%v", c.curvature)
	}
}
