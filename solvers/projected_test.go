package solvers_test

import (
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// boxed is min ½(y+1)² with y*(x) = x in a box of x: at its minimum x stands on the lower bound.
func boxed(lo, hi float64) *problem.Problem {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	return &problem.Problem{
		Name: "boxed",
		Lower: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y.Sub(x)) })},
		Upper: problem.Level{
			Start: problem.Vector(1), Set: problem.Box{Lo: lo, Hi: hi},
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y.AddConst(1)) }),
		},
	}
}

// Every algorithm that can use a set of x ends on the bound, with steps that are given and with its own.
func TestProjectedX(t *testing.T) {
	byName := rowsByName(t)
	for _, e := range solvers.Algorithms() {
		if n := e.Zero.Needs(); n.Usable&problem.UpperSet == 0 || n.WantsDirectX {
			continue
		}
		for _, a := range []solvers.Algorithm{byName[e.Name()].quick, e.Zero} {
			p := boxed(0, 10)
			suit(p, a)
			res := solve(t, executor(t), p, a, solvers.Options{Iterations: 1000})
			off := 0.0
			if e.Zero.Needs().Wants&problem.UpperSet != 0 {
				off = 0.2 // an average of corners
			}
			require.InDelta(t, 0, res.X.Flat[0], off, "%s: %+v", e.Name(), res.Algorithm)
			require.InDelta(t, 0, res.Y.Flat[0], 0.1+off, e.Name())
		}
	}
}

// The iterates in a box against plain loops; the bounds are such that x meets one on the way.
func TestProjectedTraces(t *testing.T) {
	const lo, hi, n = 0.4, 10, 12
	onto := func(v float64) float64 { return math.Min(hi, math.Max(lo, v)) }
	x, y, v := 1.0, 0.0, 0.0
	check := func(e *engine.Engine, name string, want ...float64) {
		for i, a := range arrays(t, e) {
			require.InDelta(t, want[i], a[0], 1e-14, "%s, array %d", name, i)
		}
	}

	ex := executor(t)
	e := begin(t, ex, boxed(lo, hi), solvers.SOBA{Step: 0.3, OuterStep: 0.2}, n, 0)
	met := false
	for k := range n {
		step(t, e, k, 1)
		x, y, v = onto(x-0.2*v), y-0.3*(y-x), v-0.3*(v-(y+1))
		met = met || x == lo
		check(e, "soba", x, y, v)
	}
	require.True(t, met)

	e = begin(t, ex, boxed(lo, hi),
		solvers.StocBiO{Step: 0.3, OuterStep: 0.2, NeumannStep: 0.5, Terms: 2, InnerSteps: 2}, n, 0)
	x, y = 1, 0
	for k := range n {
		step(t, e, k, 1)
		for range 2 {
			y -= 0.3 * (y - x)
		}
		v = 0.5 * (1 + 0.5 + 0.25) * (y + 1)
		x = onto(x - 0.2*v)
		check(e, "stocbio", x, y, v)
	}
	require.Equal(t, lo, x)

	// F²SA takes projected steps of y and z too.
	p := boxed(lo, hi)
	p.Lower.Start, p.Lower.Set = problem.Vector(0.9), problem.Box{Lo: 0.5, Hi: 2}
	inside := func(v float64) float64 { return math.Min(2, math.Max(0.5, v)) }
	e = begin(t, ex, p, solvers.F2SA{YStep: 0.1, ZStep: 0.3, OuterStep: 0.3, Multiplier: 2, Growth: 0.5, InnerSteps: 2},
		n, 0)
	x, y = 1, 0.9
	z := 0.9
	for k := range n {
		step(t, e, k, 1)
		lambda := 2 + 0.5*float64(k)
		for range 2 {
			y, z = inside(y-0.1*(y+1+lambda*(y-x))), inside(z-0.3*(z-x))
		}
		x = onto(x - 0.3*lambda*((x-y)-(x-z)))
		check(e, "f2sa", x, y, z)
	}
	require.Equal(t, 0.5, y)
}

// V-PBGD projects x, y and z.
func TestProjectedPenalty(t *testing.T) {
	const n = 12
	p := boxed(0.4, 10)
	p.Lower.Start, p.Lower.Set = problem.Vector(0.9), problem.Box{Lo: 0.5, Hi: 2}
	e := begin(t, executor(t), p, solvers.VPBGD{YStep: 0.1, ZStep: 0.3, OuterStep: 0.6, Penalty: 2, Begin: 0.5,
		Ramp: 4, InnerSteps: 2}, n, 0)
	onto := func(lo, hi, v float64) float64 { return min(hi, max(lo, v)) }
	x, y, z := 1.0, 0.9, 0.9
	for k := range n {
		step(t, e, k, 1)
		gamma := min(2, 0.5+1.5/4*float64(k))
		s := min(1, 1/(gamma+1e-8))
		for range 2 {
			z = onto(0.5, 2, z-0.3*(z-x))
		}
		x, y = onto(0.4, 10, x-0.6*s*gamma*((x-y)-(x-z))), onto(0.5, 2, y-0.1*s*(y+1+gamma*(y-x)))
		for i, a := range arrays(t, e) {
			require.InDelta(t, []float64{x, y, z}[i], a[0], 1e-14, "iteration %d, array %d", k, i)
		}
	}
	require.Equal(t, 0.5, y)
	require.Equal(t, 0.5, z)
}
