package solvers_test

import (
	"context"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// Where the gap has closed, y = y*(x), its gradient is 0. Guarded, x and y then go along -∇F alone; without a guard the
// multiplier is 0/0, and the run ends with the status that says so.
func TestBOMEWithoutAGap(t *testing.T) {
	for _, phi := range []string{"grad_norm", "value"} {
		ex := executor(t)
		p := load(t, ex, solvertest.Scalar{})
		p.Upper.Start, p.Lower.Start = problem.Vector(0.25), problem.Vector(0.25)
		a := solvers.BOME{Step: 0.1, OuterStep: 0.2, Phi: phi}
		e := begin(t, ex, p, a, 2, 0)
		step(t, e, 0, 1)
		// ∇F = (x, y - 1) on Q1
		require.InDelta(t, 0.25-0.2*0.25, states(t, e)["x"][0], 1e-15)
		require.InDelta(t, 0.25+0.1*0.75, states(t, e)["y"][0], 1e-15)
		require.Equal(t, states(t, e)["y"], states(t, e)["z"], "the next inner steps start from y")

		a.Epsilon = -1
		res, err := solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, Iterations: 2})
		require.ErrorContains(t, err, "bome on scalar: not finite after iteration 1")
		require.Equal(t, engine.NotFinite, res.Status)
	}
}
