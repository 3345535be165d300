package solvers_test

import (
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// The first two iterates on Q1 from x = 0.2, y = z = 0.7, computed by hand from the papers' algorithms.
func TestTwoPhaseTraces(t *testing.T) {
	for _, c := range []struct {
		a    solvers.Algorithm
		want [2][]float64
		cost problem.Counts
	}{
		{
			solvers.F2SA{YStep: 0.1, ZStep: 0.1, OuterStep: 0.1, Multiplier: 2, Growth: 0.1, InnerSteps: 1},
			[2][]float64{{0.176, 0.63, 0.65}, {0.151903, 0.571660, 0.602600}},
			problem.Counts{LowerGradients: 4, UpperGradients: 2},
		},
		{
			solvers.StocBiO{Step: 0.5, OuterStep: 0.05, NeumannStep: 0.5, Terms: 2, InnerSteps: 2},
			[2][]float64{{0.219531, 0.325, -0.590625}, {0.241547, 0.245898, -0.659839}},
			problem.Counts{LowerGradients: 2, UpperGradients: 1, HVP: 2, JVP: 1},
		},
	} {
		ex := executor(t)
		s := begin(t, ex, load(t, ex, solvertest.Scalar{}), c.a, 2, 0)
		for k, want := range c.want {
			step(t, s, k, 1)
			for i, a := range arrays(t, s) {
				require.InDelta(t, want[i], a[0], 1e-6, "%s, iteration %d, array %d", c.a.Name(), k+1, i)
			}
		}
		require.Equal(t, c.cost, s.Counts(0), c.a.Name())
	}
}
