package hypergrad_test

import (
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// Whether a bound holds y depends on the curvature along its own coordinate. With w = (stiff, 1) and y[1] at its upper
// bound, y* = (x[0], 1) and ∇h = (x[0], 0), however stiff the other coordinate is.
func TestKKTStiffNeighbour(t *testing.T) {
	for _, c := range []struct{ stiff, multiplier float64 }{
		{1, 0.001}, {100, 0.01}, {1e3, 0.1}, {1e4, 1}, {1e6, 0.005}, {1e8, 0.5},
	} {
		for name, ex := range map[string]*tensor.Executor{
			"float64": executor(t), "float32": tensortest.Executor(t, cpudevice.New(1)),
		} {
			p := squares([]float64{c.stiff, 1}, problem.Box{Lo: -1, Hi: 1}, nil, nil)
			h := on(t, ex, p, hypergrad.KKT{Solver: linear.CG{RTol: 1e-5}}, []float64{0.5, 1 + c.multiplier},
				[]float64{0.5, 1})
			require.InDelta(t, 0.5, h.Gradient[0], 1e-6, "%s %+v", name, c)
			require.Zero(t, h.Gradient[1], "%s %+v", name, c)
			require.Empty(t, h.Notes, "%s %+v", name, c)
		}
	}
}

// A step from just inside an inequality, y <= x, reaches a far bound as well, y <= 1; it stops at the inequality.
func TestKKTStopsAtTheFirst(t *testing.T) {
	target := func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return y.AddConst(-2).Square().Sum().Scale(0.5)
	}
	p := squares([]float64{1}, problem.Box{Lo: -1, Hi: 1}, problem.Flat(
		func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Sub(x) }), nil)
	p.Lower.Value = problem.Flat(target)
	for _, off := range []float64{-1e-5, 0, 1e-9, 1e-8, 1e-7, 1e-5} {
		h := on(t, executor(t), p, exactCG, []float64{0.9}, []float64{0.9 - off})
		require.LessOrEqual(t, math.Abs(h.Gradient[0]-0.9), h.Error+1e-15, "y is off by %g", off)
		require.Less(t, h.Error, 1.2*math.Abs(off)+1e-12)
		require.Empty(t, h.Notes)
	}
}

// Where ∇yF is normal to the face, nothing but rounding is left of it inside, which lies where the projected H is 0:
// that is a right-hand side of 0, not one without a solution.
func TestKKTNormalGradient(t *testing.T) {
	p := squares([]float64{1, 2, 3}, problem.Simplex{Total: 1}, nil, nil)
	p.Lower.Start = problem.Vector(1, 0, 0)
	p.Upper.Value = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Sum().Scale(0.1) })
	for name, ex := range map[string]*tensor.Executor{
		"float64": executor(t), "float32": tensortest.Executor(t, cpudevice.New(1)),
	} {
		e := pointOf(t, ex, p, hypergrad.KKT{Solver: linear.CG{RTol: 1e-5}})
		for i := range 40 {
			// x = y + λ/w with all y positive, so that y minimizes G on the simplex with the multiplier λ.
			y := []float64{0.3, 0.1 + 0.01*float64(i%7), 0}
			y[2] = 1 - y[0] - y[1]
			lambda := 0.05 * float64(i-20)
			h := e.at([]float64{y[0] + lambda, y[1] + lambda/2, y[2] + lambda/3}, y)
			require.Equal(t, linear.Converged, h.Status, "%s, λ = %g", name, lambda)
			require.InDeltaSlice(t, []float64{0, 0, 0}, h.Gradient, 1e-6)
			require.Less(t, h.Error, 1e-5, "%s, λ = %g", name, lambda)
		}
	}
}
