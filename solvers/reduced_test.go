package solvers_test

import (
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// The first two iterates on Q1 from x = 0.2, y = 0.7, v = 0, computed by hand from the papers' algorithms. With full
// batches SABA and SRBA are SOBA.
func TestReducedTraces(t *testing.T) {
	soba := [2][]float64{{0.19, 0.65, -0.03}, {0.182, 0.604, -0.062}}
	for _, c := range []struct {
		a    solvers.Algorithm
		want [2][]float64
		tol  float64
	}{
		{solvers.SABA{Step: 0.1, OuterStep: 0.05}, soba, 1e-15},
		{solvers.SABA{Step: 0.1, OuterStep: 0.05, Start: "full"}, soba, 1e-15},
		{solvers.SRBA{Step: 0.1, OuterStep: 0.05, Period: 1}, soba, 1e-15},
		{solvers.SRBA{Step: 0.1, OuterStep: 0.05, Period: 3}, soba, 1e-15},
		{solvers.VRBO{Step: 0.1, OuterStep: 0.05, NeumannStep: 0.5, Terms: 2, InnerSteps: 2, Period: 3},
			[2][]float64{{0.203125, 0.605594}, {0.210224, 0.530474}}, 1e-6},
	} {
		ex := executor(t)
		s := begin(t, ex, load(t, ex, solvertest.Scalar{}), c.a, 2, 0)
		for k, want := range c.want {
			step(t, s, k, 1)
			got := arrays(t, s)
			for i := range want {
				require.InDelta(t, want[i], got[i][0], c.tol, "%+v, iteration %d, array %d", c.a, k+1, i)
			}
		}
	}
}
