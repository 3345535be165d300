package solvers_test

import (
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// The first two iterates on Q1 from x = 0.2, y = 0.7, v = 0, computed by hand from the papers' algorithms and printed
// to six decimals.
func TestFirstIterates(t *testing.T) {
	for _, c := range []struct {
		a    solvers.Algorithm
		want [2][]float64 // x, y and, where it lasts, v
	}{
		{solvers.FSLA{Step: 0.1, OuterStep: 0.05, Exponent: -1},
			[2][]float64{{0.191750, 0.650000, -0.035000}, {0.185717, 0.604175, -0.071083}}},
		{solvers.MRBO{Step: 0.1, OuterStep: 0.05, NeumannStep: 0.5, Terms: 2, Exponent: -1},
			[2][]float64{{0.203125, 0.650000}, {0.208281, 0.605312}}},
		// Of seven lengths 2 is drawn, so that v is 3.5·0.25 b: the sum of the three terms 0.5 (1 + 0.5 + 0.25) b.
		{solvers.MSTSA{Step: 0.1, OuterStep: 0.05, NeumannStep: 0.5, Terms: 7, Exponent: -1},
			[2][]float64{{0.205313, 0.650000}, {0.212305, 0.605531}}},
		{solvers.STABLE{Step: 0.1, OuterStep: 0.05},
			[2][]float64{{0.205000, 0.655000}, {0.212000, 0.617000}}},
		{solvers.GPBGD{Step: 0.1, OuterStep: 0.1, Penalty: 2}, // s_k halves the steps
			[2][]float64{{0.240000, 0.665000}, {0.270500, 0.639250}}},
		{solvers.KRMD{Step: 0.5, OuterStep: 0.05, InnerSteps: 2, Last: 1},
			[2][]float64{{0.206875, 0.325000}, {0.215621, 0.236406}}},
	} {
		ex := executor(t)
		p := load(t, ex, solvertest.Scalar{})
		p.Upper.Start, p.Lower.Start = problem.Vector(0.2), problem.Vector(0.7)
		e := drawing(t, ex, p, c.a, 2, func(int, int) int { return 2 })
		for k, want := range c.want {
			step(t, e, k, 1)
			for i, name := range []string{"x", "y", "v"}[:len(want)] {
				require.InDelta(t, want[i], vector(t, e, name)[0], 1e-6, "%s, iteration %d, %s", c.a.Name(), k+1, name)
			}
		}
	}
}

// Plain alternation on F = xy, G = -xy goes round on an ellipse for ever: βx² + αy² + αβxy stays what it was.
func TestAlternationCycles(t *testing.T) {
	const beta, alpha, n = 0.3, 0.4, 2000
	product := func(sign float64) problem.Function {
		return problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return tensor.Dot(x, y).Scale(sign)
		})
	}
	p := &problem.Problem{Name: "product",
		Lower: problem.Level{Start: problem.Vector(0.5), Value: product(-1)},
		Upper: problem.Level{Start: problem.Vector(1), Value: product(1)},
	}
	e := begin(t, executor(t), p, solvers.Alternation{Step: beta, OuterStep: alpha}, n, 0)
	invariant := func() (value, distance float64) {
		x, y := vector(t, e, "x")[0], vector(t, e, "y")[0]
		return beta*x*x + alpha*y*y + alpha*beta*x*y, math.Hypot(x, y)
	}
	want, _ := invariant()
	for k := range n / 10 {
		step(t, e, 10*k, 10)
		value, distance := invariant()
		// An iteration is four roundings of numbers below 2.
		require.InDelta(t, want, value, n*8*1.2e-16, "after %d iterations", 10*(k+1))
		require.Greater(t, distance, 0.5, "it does not come near 0, where both gradients vanish")
	}
}

// On Q8, with a line of lower minimizers for every x, BDA and PDBO come to the optimistic solution x = 1, y = (1, 1).
// Unrolled gradient descent never moves y₂ from 0, and ends at x = ½.
func TestManyLowerMinimizers(t *testing.T) {
	for _, c := range []struct {
		a      solvers.Algorithm
		x, tol float64
	}{
		{solvers.ITDBiO{Step: 0.5, OuterStep: 0.1, InnerSteps: 20}, 0.5, 1e-4},
		{solvers.BDA{Step: 0.5, OuterStep: 0.1, InnerSteps: 20, Aggregate: 1}, 1, 1e-3},
		{solvers.PDBO{Step: 0.02, ZStep: 0.5, OuterStep: 0.02, DualStep: 1, Slack: 1e-4, Regularize: -1}, 1, 0.03},
	} {
		res := solve(t, tensortest.Executor(t, cpudevice.New(1)), load(t, executor(t), solvertest.FlatLower{}), c.a,
			solvers.Options{Iterations: 4000})
		require.InDelta(t, c.x, res.X.Flat[0], c.tol, c.a.Name())
		if c.x == 1 {
			require.InDeltaSlice(t, []float64{1, 1}, res.Y.Flat, 2*c.tol, c.a.Name())
		}
	}
}

// On Q9, whose lower level is not convex, IAPTT-GM comes to the optimum on the edge of y's box from a start near
// another branch of lower minimizers.
func TestWavesByWorstStep(t *testing.T) {
	p := load(t, executor(t), solvertest.Waves{})
	p.Upper.Start, p.Lower.Start = problem.Vector(1), problem.Vector(2)
	a := solvers.IAPTTGM{Step: 0.0005, ZStep: 0.1, OuterStep: 0.1, InnerSteps: 40}
	res := solve(t, tensortest.Executor(t, cpudevice.New(1)), p, a, solvers.Options{Iterations: 500})
	t.Logf("x = %v, y = %v", res.X.Flat, res.Y.Flat)
	require.InDelta(t, 11*math.Pi/4, res.X.Flat[0], 0.1)
	require.InDelta(t, -2, res.Y.Flat[0], 0.05)
}

// Where H is singular GALET's v is the solution of least norm: on Q8, H = diag(1, 0), it has nothing along y₂.
func TestGALETOnASingularHessian(t *testing.T) {
	ex := executor(t)
	a := solvers.GALET{Step: 0.5, VStep: 0.5, OuterStep: 0.1, VSteps: 40}
	e := begin(t, ex, load(t, ex, solvertest.FlatLower{}), a, 1, 0)
	step(t, e, 0, 1)
	y := vector(t, e, "y")
	// (1-ρ)^40 of v is missing.
	require.InDeltaSlice(t, []float64{y[0] - 1, 0}, vector(t, e, "v"), math.Pow(0.5, 40)*2)
}

// On Q1 away from y = x BSG-1's quotient gives the hypergradient's formula at y, x + y - 1; at y = x it leaves the
// implicit term out, or without a guard is 0/0.
func TestBSG1OnOneVariable(t *testing.T) {
	ex := executor(t)
	at := func(a solvers.BSG1, x, y float64) float64 {
		p := load(t, ex, solvertest.Scalar{})
		p.Upper.Start, p.Lower.Start = problem.Vector(x), problem.Vector(y)
		e := begin(t, ex, p, a, 1, 0)
		if err := e.Step(t.Context(), 0, 1); err != nil {
			return math.NaN()
		}
		return (x - vector(t, e, "x")[0]) / 0.1
	}
	a := solvers.BSG1{Step: 0.5, OuterStep: 0.1}
	y := 0.45 // half way from 0.7 to 0.2
	require.InDelta(t, 0.2+y-1, at(a, 0.2, 0.7), 1e-9, "the guard of 1e-12 is small beside 0.25²")
	require.InDelta(t, 0.2, at(a, 0.2, 0.2), 1e-12)
	a.Epsilon = -1
	require.True(t, math.IsNaN(at(a, 0.2, 0.2)))
}
