package hypergrad_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// figureFamily is a kind of random problem for figures: prepare compiles it for a tolerance of its linear systems, and
// what it gives computes at a point of a random problem, off the lower solution by a relative distance, with the truth.
type figureFamily struct {
	name    string
	prepare func(t *testing.T, rtol float64) func(r *philox.Stream, seed uint64, size float64) (
		*hypergrad.Hypergradient, []float64)
}

// closedFamily is one of problems of package solvertest that all have the same shapes.
func closedFamily(name string, draw func(seed uint64) solvertest.Closed, method func(rtol float64) hypergrad.Method,
	x func(r *philox.Stream) []float64, off func(r *philox.Stream, y []float64, size float64)) figureFamily {
	return figureFamily{name, func(t *testing.T, rtol float64) func(*philox.Stream, uint64, float64) (
		*hypergrad.Hypergradient, []float64) {
		ex := executor(t)
		p, err := solvertest.Load(ex, draw(0))
		require.NoError(t, err)
		e := pointOf(t, ex, p.Problem, method(rtol))
		return func(r *philox.Stream, seed uint64, size float64) (*hypergrad.Hypergradient, []float64) {
			c := draw(seed)
			require.NoError(t, p.Replace(c))
			at := x(r)
			y, want := c.Exact(at)
			off(r, y, size)
			return e.at(at, y), want
		}
	}}
}

func normals(n int, r *philox.Stream, size float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(r.Normal())
	}
	floats.Scale(size/floats.Norm(out, 2), out)
	return out
}

func figureFamilies() []figureFamily {
	anywhere := func(r *philox.Stream, y []float64, size float64) {
		floats.Add(y, normals(len(y), r, size*floats.Norm(y, 2)))
	}
	unit := func(n int) func(r *philox.Stream) []float64 {
		return func(r *philox.Stream) []float64 { return normals(n, r, 1) }
	}
	all := []figureFamily{
		closedFamily("fixed point", func(seed uint64) solvertest.Closed {
			return solvertest.NewFixedPoint(seed, 3, 5, 6)
		},
			func(rtol float64) hypergrad.Method { return hypergrad.Root{Solver: linear.GMRES{RTol: rtol}} }, unit(3),
			anywhere),
		closedFamily("equations", func(seed uint64) solvertest.Closed {
			return solvertest.NewEquality(seed, 3, 2, solvertest.Spectrum(6, 30))
		}, func(rtol float64) hypergrad.Method { return hypergrad.KKT{Solver: linear.CG{RTol: rtol}} }, unit(3),
			anywhere),
		closedFamily("lasso", func(seed uint64) solvertest.Closed { return solvertest.NewLasso(seed, 20, 12, 9) },
			func(rtol float64) hypergrad.Method { return hypergrad.Prox{Solver: linear.CG{RTol: rtol}, Step: 0.01} },
			func(*philox.Stream) []float64 { return []float64{-2} },
			func(r *philox.Stream, y []float64, size float64) { // keeps the support
				for i, d := range normals(len(y), r, size/10) {
					y[i] *= 1 + d
				}
			}),
	}
	for _, c := range curvedProblems() {
		all = append(all, figureFamily{c.name, func(t *testing.T, rtol float64) func(*philox.Stream, uint64, float64) (
			*hypergrad.Hypergradient, []float64) {
			ex := executor(t)
			e := pointOf(t, ex, c.problem(t, ex), hypergrad.KKT{Solver: linear.CG{RTol: rtol}})
			return func(r *philox.Stream, _ uint64, size float64) (*hypergrad.Hypergradient, []float64) {
				x := []float64{1 + 0.1*float64(r.Normal()), 0.6 + 0.1*float64(r.Normal())}
				y, _ := c.solve(t, x)
				anywhere(r, y, size)
				return e.at(x, y), c.dense(t, x)
			}
		}})
	}
	return all
}

// The figures of Root, Prox and KKT on 200 random problems, at points off the lower solution by a relative distance
// from 1e-8 to 0.3, with linear systems solved to 1e-2 … 1e-12: the true error is at most the figure in 95 of 100, at
// most ten times the figure in 99 of 100, and the figure is no more than 100 times the error in the median.
func TestAdjointFigures(t *testing.T) {
	const each = 8 // of a family and a tolerance
	var all []outcome
	for _, f := range figureFamilies() {
		var ratios []float64
		inside := 0
		for k, rtol := range []float64{1e-2, 1e-4, 1e-6, 1e-8, 1e-12} {
			compute := f.prepare(t, rtol)
			for i := range each {
				seed := uint64(k*each + i)
				r := philox.New(seed, 7, philox.StreamTest)
				h, want := compute(r, seed, 0.3*math.Pow(10, -7.5*r.Float64()))
				require.Equal(t, linear.Converged, h.Status, "%s, seed %d", f.name, seed)
				require.Equal(t, hypergrad.Estimate, h.Kind)
				o := outcome{f.name, h.Status, h.Error, floats.Distance(h.Gradient, want, 2)}
				all, ratios = append(all, o), append(ratios, o.ratio())
				if o.true <= o.figure {
					inside++
				}
			}
		}
		slices.Sort(ratios)
		t.Logf("%-17s %d of %d within the figure; figure/error from %.3g by %.3g to %.3g", f.name, inside, len(ratios),
			ratios[0], ratios[len(ratios)/2], ratios[len(ratios)-1])
	}
	within, tenfold, median, converged := summarize(all)
	require.GreaterOrEqual(t, len(all), 200)
	require.Equal(t, len(all), converged)
	require.GreaterOrEqual(t, within, 0.95)
	require.GreaterOrEqual(t, tenfold, 0.99)
	require.LessOrEqual(t, median, 100.0)
}

// dense is the hypergradient of a curved problem at its solution, by differences extrapolated to steps of zero
// (Richardson), which are off by about 1e-11.
func (c *curved) dense(t *testing.T, x []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		slope := func(h float64) float64 {
			at := func(s float64) float64 {
				moved := slices.Clone(x)
				moved[i] += s
				y, _ := c.solve(t, moved)
				return c.upper(moved, y)
			}
			return (at(h) - at(-h)) / (2 * h)
		}
		const h = 2e-3
		out[i] = (slope(h) - 20*slope(h/2) + 64*slope(h/4)) / 45
	}
	return out
}
