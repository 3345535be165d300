package solvers_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// Problems whose lower level has many minimizers, several local ones, or bounds, and where algorithms made for them
// end.

// end is where an algorithm ends on a problem.
func end(t *testing.T, c solvertest.Closed, a solvers.Algorithm, n int,
	change ...func(*problem.Problem)) *solvers.Result {
	ex := tensortest.Executor(t, cpudevice.New(1)) // much faster than the reference
	p := load(t, ex, c)
	for _, f := range change {
		f(p)
	}
	return solve(t, ex, p, a, solvers.Options{Iterations: n})
}

// On Q8 the barrier of BVFIM leads to the optimistic solution, from inside and from outside.
func TestBVFIMOnManyMinimizers(t *testing.T) {
	for _, penalty := range []string{"log", "quadratic"} {
		a := solvers.BVFIM{Step: 0.5, ZStep: 0.5, OuterStep: 0.1, InnerSteps: 20, UpperSteps: 10, Penalty: penalty,
			Exponent: 1.1}
		res := end(t, solvertest.FlatLower{}, a, 1500)
		t.Logf("%s: x = %.4f, y = %.4f", penalty, res.X.Flat[0], res.Y.Flat)
		require.InDelta(t, 1, res.X.Flat[0], 0.02, penalty)
		require.InDeltaSlice(t, []float64{1, 1}, res.Y.Flat, 0.02, penalty)
	}
}

// On Q9, whose lower level is not convex, BVFIM comes to the optimum on the edge of y's box from a start between that
// branch of lower minimizers and the next one.
func TestBVFIMOnWaves(t *testing.T) {
	a := solvers.BVFIM{Step: 0.01, ZStep: 0.01, OuterStep: 0.02, InnerSteps: 50, UpperSteps: 25}
	res := end(t, solvertest.Waves{}, a, 1000, func(p *problem.Problem) {
		p.Upper.Start, p.Lower.Start = problem.Vector(9.5), problem.Vector(-1.7)
	})
	t.Logf("x = %v, y = %v", res.X.Flat, res.Y.Flat)
	require.InDelta(t, 11*math.Pi/4, res.X.Flat[0], 0.1)
	require.InDelta(t, -2, res.Y.Flat[0], 0.05)
}

// On Q10, whose lower level is not convex, algorithms with penalties come to a point where h is flat, and the best of
// three starts is the lowest point of h, which a fine grid finds.
func TestPenaltiesOnToy(t *testing.T) {
	h := func(x float64) float64 {
		return math.Cos(2-4*x)/(1+math.Exp(2-4*x)) + math.Log((4*x-2)*(4*x-2)+1)/2
	}
	lowest, at := math.Inf(1), 0.0
	for i := range 300_001 {
		if x := float64(i) * 1e-5; h(x) < lowest {
			lowest, at = h(x), x
		}
	}
	for _, a := range []solvers.Algorithm{
		solvers.VPBGD{YStep: 0.1, ZStep: 0.1, OuterStep: 0.1, Penalty: 50, InnerSteps: 10},
		solvers.GPBGD{Step: 0.05, OuterStep: 0.05, Penalty: 50},
		solvers.BVFIM{Step: 0.1, ZStep: 0.1, OuterStep: 0.01, InnerSteps: 20, UpperSteps: 10, Slack: 0.01,
			Barrier: 0.01},
	} {
		best, x := math.Inf(1), 0.0
		for _, start := range []float64{0.2, 1.3, 2.5} {
			res := end(t, solvertest.Toy{}, a, 2000, func(p *problem.Problem) {
				p.Upper.Start, p.Lower.Start = problem.Vector(start), problem.Vector(-start)
			})
			if v := h(res.X.Flat[0]); v < best {
				best, x = v, res.X.Flat[0]
			}
			require.InDelta(t, -res.X.Flat[0], res.Y.Flat[0], 0.05, "%s: y* = -x", a.Name())
		}
		t.Logf("%s: x = %.4f, h = %.4f; the lowest is %.4f at %.4f", a.Name(), x, best, lowest, at)
		require.InDelta(t, at, x, 0.02, a.Name())
	}
}

// On Q5 and Q6 algorithms that keep y in a box or in a simplex come to the lowest point of h. It is known for Q5; for
// Q6 projected steps with the exact gradient find it.
func TestSetsOfTheLowerLevel(t *testing.T) {
	box := &solvertest.Clipped{Lo: -1, Hi: 1, T: []float64{3, -0.4, 0.7, -3}}
	// Where a bound holds y, h = ½(±1 - t)² + ⅛x² falls towards the bound.
	inBox := []float64{1, -0.4 / 1.25, 0.7 / 1.25, -1}
	simplex := solvertest.NewShares(2, 4)
	inSimplex := slices.Clone(load(t, executor(t), simplex).Upper.Start.Flat)
	for range 5000 {
		_, g := simplex.Exact(inSimplex)
		floats.AddScaled(inSimplex, -0.2, g)
	}
	for _, a := range []solvers.Algorithm{
		solvers.F2SA{YStep: 0.01, ZStep: 0.5, OuterStep: 0.1, Multiplier: 50, InnerSteps: 20, Schedule: "linear"},
		solvers.VPBGD{YStep: 0.5, ZStep: 0.5, OuterStep: 1, Penalty: 50, InnerSteps: 10},
		solvers.BVFIM{Step: 0.5, ZStep: 0.5, OuterStep: 0.05, InnerSteps: 20, UpperSteps: 20, Schedule: "linear",
			Exponent: 1.1},
	} {
		for name, c := range map[string]struct {
			of   solvertest.Closed
			want []float64
		}{"box": {box, inBox}, "simplex": {simplex, inSimplex}} {
			if a.Name() == "bvfim" && name == "simplex" {
				continue // each of its trial steps is a projection: too long for a test
			}
			res := end(t, c.of, a, 1000)
			start := load(t, executor(t), c.of).Upper.Start.Flat
			off := floats.Distance(res.X.Flat, c.want, 2)
			t.Logf("%s, %s: %.3f from the solution, from %.3f at the start", name, a.Name(), off,
				floats.Distance(start, c.want, 2))
			require.Less(t, off, 0.12, "%s, %s", name, a.Name())
		}
	}
}

// On Q12 the implicit gradient is the direct part alone: steps along it go over the price at which the follower leaves,
// and h is 0 there. V-PBGD's penalty on the follower's loss holds the price at 3/2, from both sides.
func TestPricingByPenalty(t *testing.T) {
	follower := func(p *problem.Problem) {
		p.Lower.Inequality, p.Lower.Set = nil, problem.Simplex{Total: 1} // demand is met and not exceeded
	}
	for _, price := range []float64{0.8, 1.9} {
		a := solvers.VPBGD{YStep: 0.1, ZStep: 50, OuterStep: 0.1, Penalty: 4, InnerSteps: 2, Schedule: "linear"}
		res := end(t, solvertest.Pricing{}, a, 1500, follower,
			func(p *problem.Problem) { p.Upper.Start = problem.Vector(price) })
		t.Logf("from %v: price %.4f, y = %.4f", price, res.X.Flat[0], res.Y.Flat)
		require.InDelta(t, 1.5, res.X.Flat[0], 0.02)
		require.InDeltaSlice(t, []float64{1, 0}, res.Y.Flat, 0.02)
	}
	x := 0.8
	for range 100 {
		_, g := solvertest.Pricing{}.Exact([]float64{x})
		x = min(2, max(0, x-0.05*g[0]))
	}
	y, _ := solvertest.Pricing{}.Exact([]float64{x})
	require.GreaterOrEqual(t, x, 1.5)
	require.Zero(t, y[0], "the follower buys nothing from the leader")
}

// The two answers of a follower who is indifferent: the same leader ends at ¾ or at ¼.
func TestOptimisticAndPessimistic(t *testing.T) {
	for _, pessimistic := range []bool{false, true} {
		c := solvertest.Indifferent{Pessimistic: pessimistic}
		a := solvers.VPBGD{YStep: 0.3, ZStep: 0.5, OuterStep: 0.3, Penalty: 100, InnerSteps: 5, Schedule: "linear"}
		res := end(t, c, a, 4000)
		t.Logf("pessimistic %v: x = %.4f, y = %.4f", pessimistic, res.X.Flat[0], res.Y.Flat)
		require.InDelta(t, c.Optimum()[0], res.X.Flat[0], 0.02)
	}
}

// V-PBGD clusters: its centers are the means of the groups.
func TestKMeansByPenalty(t *testing.T) {
	m := solvertest.NewKMeans(1, 4, 3)
	ex := tensortest.Executor(t, cpudevice.New(1))
	a := solvers.VPBGD{YStep: 0.1, ZStep: 0.1, OuterStep: 0.005, Penalty: 1, InnerSteps: 1}
	res := solve(t, ex, load(t, ex, m), a, solvers.Options{Iterations: 250})
	require.Less(t, floats.Distance(res.X.Flat, m.Optimum(), math.Inf(1)), 0.01)
}
