package solvers_test

import (
	"math/rand/v2"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// Four iterates of BiSLS on Q2 against plain loops that go from the longest step to shorter ones, on one problem that
// is always the same and on one that this run of the test draws.
func TestBiSLSOfPlainLoops(t *testing.T) {
	const n, c = 4, 0.3
	drawn := rand.Uint64() >> 1
	for _, seed := range []uint64{7, drawn} {
		q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(4, 5))}
		ex := executor(t)
		p := load(t, ex, q.Quadratic)
		p.Upper.Start, p.Lower.Start = problem.Vector(0.4, -1, 0.7), problem.Vector(1, -0.5, 0.2, 0.8)
		e := begin(t, ex, p, solvers.BiSLS{Step: 3, OuterStep: 20, InnerSteps: 2, CGSteps: 4, Decrease: c}, n, 0)
		x, y, beta, alpha := p.Upper.Start.Flat, p.Lower.Start.Flat, 3.0, 20.0
		for k := range n {
			step(t, e, k, 1)
			for range 2 {
				g := q.lowerY(x, y)
				for size, i := 2*beta, 0; i < 10; size, i = size/2, i+1 {
					if there := move(y, size, g); q.lower(x, there) <= q.lower(x, y)-c*size*floats.Dot(g, g) {
						y, beta = there, size
						break
					}
				}
			}
			v := solved(q.A, q.upperY(x, y))
			d := q.slope(x, y, v)
			answer := solved(q.A, times(q.C.T(), d))
			from := alpha
			alpha /= 512 // what is remembered where no length will do
			for size, i := 2*from, 0; i < 10; size, i = size/2, i+1 {
				there := move(x, size, d)
				if q.upper(there, sum(y, scaled(size, answer))) <= q.upper(x, y)-c*size*floats.Dot(d, d) {
					x, alpha = there, size
					break
				}
			}
			for name, want := range map[string][]float64{"x": x, "y": y, "v": v, "inner": {beta}, "outer": {alpha}} {
				require.InDeltaSlice(t, want, vector(t, e, name), 1e-10*(1+floats.Norm(want, 2)), "%s, k = %d, seed %d",
					name, k, seed)
			}
		}
	}
}

// From first steps that are a thousand times too long or too short it comes to the optimum all the same, where fixed
// steps that long diverge and those that short hardly move.
func TestBiSLSNeedsNoSteps(t *testing.T) {
	q := solvertest.NewQuadratic(1, 4, solvertest.Spectrum(12, 10))
	for _, size := range []float64{1e-3, 1e3} {
		ex := executor(t)
		p := load(t, ex, q)
		a := solvers.BiSLS{Step: size, OuterStep: size, InnerSteps: 5, CGSteps: 12}
		res := solve(t, ex, p, a, solvers.Options{Iterations: 800})
		start := floats.Distance(q.Optimum(), p.Upper.Start.Flat, 2)
		require.Less(t, floats.Distance(res.X.Flat, q.Optimum(), 2), 1e-2*start, "first steps of %g", size)
	}
}
