package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// slow is a problem with one upper variable and two lower ones, of which the first has the small curvature mu and is
// coupled to x, and the second has the curvature 1 and is not: G = ½(mu y₁² + y₂²) + c x y₁, F = ½ a y₁².
func slow(mu, c, a float64) *problem.Problem {
	pick := func(y *tensor.Node, i int) *tensor.Node { return y.Slice(0, i, i+1).Reshape() }
	return &problem.Problem{
		Name: "slow",
		Lower: problem.Level{Start: problem.Vector(1, 1),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				one, two := pick(y, 0), pick(y, 1)
				curved := one.Square().Scale(mu).Add(two.Square()).Scale(0.5)
				return curved.Add(x.Reshape().Mul(one).Scale(c))
			})},
		Upper: problem.Level{Start: problem.Vector(3),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return pick(y, 0).Square().Scale(a / 2)
			})},
	}
}

// chosen is the step sizes that SOBA chooses for a problem.
func chosen(t *testing.T, p *problem.Problem, n int) solvers.SOBA {
	b, err := p.Bind(executor(t))
	require.NoError(t, err)
	e, a, err := solvers.Init(context.Background(), b, solvers.SOBA{}, n, 0)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	return a.(solvers.SOBA)
}

// Where the lower level follows slowly, the step of x is the one by the formula of Scale, worked out by hand for this
// problem; a plain loop of SOBA's iteration settles with it, and not with a step that is larger than the stability
// limit 2 Inner mu³/(a c²).
func TestChosenStepsFollowTheLowerLevel(t *testing.T) {
	for _, p := range []struct{ mu, c, a float64 }{{0.1, 1, 1}, {0.1, 0.3, 5}, {0.2, 2, 0.5}} {
		s := chosen(t, slow(p.mu, p.c, p.a), 100)
		require.InDelta(t, 0.5, s.Step, 1e-3)
		damped := p.mu + 0.02 // 1/(100 Inner) is added to H
		require.InEpsilon(t, damped*damped*damped/(2*p.a*p.c*p.c), s.OuterStep, 0.03, "%+v", p)

		end := func(outer float64) float64 { // |x| after many iterations from x = 1
			x, y, v := 1.0, 0.0, 0.0
			for range 20000 {
				x, y, v = x+outer*p.c*v, y-s.Step*(p.mu*y+p.c*x), v-s.Step*(p.mu*v-p.a*y)
			}
			return math.Abs(x)
		}
		require.Less(t, end(s.OuterStep), 0.1, "%+v", p)
		limit := 2 * s.Step * p.mu * p.mu * p.mu / (p.a * p.c * p.c)
		require.Greater(t, end(1.2*limit), 10.0, "%+v", p)
	}
}

// More iterations go further: the step sizes are those of a short run.
func TestChosenStepsForAnyLength(t *testing.T) {
	require.Equal(t, chosen(t, slow(0.1, 1, 1), 10), chosen(t, slow(0.1, 1, 1), 1_000_000))
}
