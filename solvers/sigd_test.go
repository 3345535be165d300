package solvers_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Four iterates of SIGD on Q2 with y in a box, against plain loops with a dense solve of the free rows and columns, on
// one problem that is always the same and on one that this run of the test draws.
func TestSIGDOfDenseLoops(t *testing.T) {
	const lo, hi, n = -0.2, 0.25, 4
	drawn := rand.Uint64() >> 1
	held, seen := 0, 0
	for _, seed := range []uint64{7, drawn} {
		m := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(4, 5))}
		ex := executor(t)
		p := load(t, ex, m.Quadratic)
		p.Upper.Start, p.Lower.Set = problem.Vector(0.4, -1, 0.7), problem.Box{Lo: lo, Hi: hi}
		e := begin(t, ex, p, solvers.SIGD{Step: 0.3, OuterStep: 0.05, InnerSteps: 6, CGSteps: 4, Perturbation: 0.1}, n,
			seed)
		q := vector(t, e, "q")
		require.Greater(t, floats.Norm(q, 2), 0.01)
		x, y := p.Upper.Start.Flat, p.Lower.Start.Flat
		for k := range n {
			step(t, e, k, 1)
			for range 6 {
				y = move(y, 0.3, sum(m.lowerY(x, y), q))
				for i := range y {
					y[i] = min(hi, max(lo, y[i]))
				}
			}
			var free []int
			for i := range y {
				if y[i] > lo && y[i] < hi {
					free = append(free, i)
				}
			}
			v, b := make([]float64, len(y)), m.upperY(x, y)
			if len(free) > 0 {
				h, right := mat.NewDense(len(free), len(free), nil), make([]float64, len(free))
				for i, at := range free {
					right[i] = b[at]
					for j, other := range free {
						h.Set(i, j, m.A.At(at, other))
					}
				}
				for i, value := range solved(h, right) {
					v[free[i]] = value
				}
			}
			held, seen = held+len(y)-len(free), seen+len(free)
			x = move(x, 0.05, m.slope(x, y, v))
			for name, want := range map[string][]float64{"x": x, "y": y, "v": v, "q": q} {
				require.InDeltaSlice(t, want, vector(t, e, name), 1e-11*(1+floats.Norm(want, 2)), "%s, k = %d, seed %d",
					name, k, seed)
			}
		}
	}
	require.Positive(t, held, "some bounds hold y")
	require.Positive(t, seen, "some coordinates are free")
}

// On Q5 with the linear term q, y = clip(x - q): each x_i ends at t_i + q_i over 1.25, or at the kink of h where that
// is beyond a bound.
func TestSIGDComesToTheMinimum(t *testing.T) {
	c := solvertest.NewClipped(3, 12)
	ex := executor(t)
	p := load(t, ex, c)
	a := solvers.SIGD{Step: 0.5, OuterStep: 0.2, CGSteps: 2, Schedule: "linear"}
	e := begin(t, ex, p, a, 1000, 4)
	step(t, e, 0, 1000)
	x, q, kinks := vector(t, e, "x"), vector(t, e, "q"), 0
	for i := range x {
		inside := (c.T[i] + q[i]) / 1.25
		want := min(max(inside, c.Lo+q[i]), c.Hi+q[i])
		if want != inside {
			kinks++
		}
		// At a kink x goes to and fro by steps that have fallen to 0.2/1000 times a slope.
		require.InDelta(t, want, x[i], 2e-3, "x_%d, t = %v, q = %v", i, c.T[i], q[i])
	}
	require.True(t, 0 < kinks && kinks < len(x), "kinks: %d", kinks)
}

// At a kink of h draws of q give one or the other of the slopes to its sides, and their mean lies between them.
func TestSIGDAtAKink(t *testing.T) {
	const n = 24
	c := &solvertest.Clipped{Lo: -1, Hi: 1, T: []float64{3}}
	mean, sides := 0.0, map[bool]int{}
	for seed := range uint64(n) {
		ex := executor(t)
		p := load(t, ex, c)
		p.Upper.Start = problem.Vector(1)
		e := begin(t, ex, p, solvers.SIGD{Step: 0.5, OuterStep: 1, InnerSteps: 60, CGSteps: 1}, 1, seed)
		step(t, e, 0, 1)
		slope := 1 - vector(t, e, "x")[0]
		inside := slope < 0 // ¼ + (y - 3) where no bound holds y, else ¼
		if sides[inside]++; !inside {
			require.InDelta(t, 0.25, slope, 1e-12)
		} else {
			require.InDelta(t, 0.25-2, slope, 0.05)
		}
		mean += slope / n
	}
	require.Positive(t, sides[true])
	require.Positive(t, sides[false])
	require.True(t, -1.75 < mean && mean < 0.25, "%v", mean)
}

// A set of y that is more than bounds is refused with a way out.
func TestSIGDRefuses(t *testing.T) {
	ex := executor(t)
	_, err := solvers.Solve(context.Background(), load(t, ex, solvertest.NewShares(1, 4)), solvers.SIGD{},
		solvers.Options{Executor: ex, Iterations: 1})
	require.ErrorContains(t, err, "sigd: the set of y (Lower.Set) of shares is a ")
	require.ErrorContains(t, err, "give problem.Box or problem.Bounds, or take v-pbgd")
}
