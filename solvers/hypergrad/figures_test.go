package hypergrad_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/internal/testrun"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// kindOf is a kind of random problem, with the methods that give a figure on it.
type kindOf struct {
	name    string
	draw    func(seed uint64, r *philox.Stream) solvertest.Closed
	methods []hypergrad.Method
}

func kindsWithFigures() []kindOf {
	cg, gmres := linear.CG{RTol: 1e-9, MaxSteps: 400}, linear.GMRES{RTol: 1e-9}
	free := []hypergrad.Method{
		hypergrad.Implicit{Solver: cg}, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-2, MaxSteps: 400}},
		hypergrad.Implicit{Solver: linear.CG{MaxSteps: 3}}, hypergrad.Implicit{Solver: linear.MINRES{RTol: 1e-6}},
		hypergrad.Implicit{Solver: linear.Neumann{Step: 0.2, Terms: 20}},
		hypergrad.Implicit{Solver: linear.ScaledIdentity{}},
	}
	held := []hypergrad.Method{hypergrad.KKT{Solver: cg}, hypergrad.KKT{Solver: linear.CG{RTol: 1e-2, MaxSteps: 400}}}
	return []kindOf{
		{"quadratic", func(seed uint64, r *philox.Stream) solvertest.Closed {
			return solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(8, math.Pow(10, 4*r.Float64())))
		}, free},
		{"ridge", func(seed uint64, _ *philox.Stream) solvertest.Closed {
			return solvertest.NewRidge(seed, 20, 12, 6)
		}, free},
		{"cleaning", func(seed uint64, _ *philox.Stream) solvertest.Closed {
			return solvertest.NewCleaning(seed, 10, 8, 4, 3, 0.1)
		}, free},
		{"box", func(seed uint64, _ *philox.Stream) solvertest.Closed { return solvertest.NewClipped(seed, 6) }, held},
		{"simplex", func(seed uint64, _ *philox.Stream) solvertest.Closed {
			return solvertest.NewShares(seed, 6)
		}, held},
		{"equality", func(seed uint64, r *philox.Stream) solvertest.Closed {
			return solvertest.NewEquality(seed, 3, 2, solvertest.Spectrum(8, math.Pow(10, 2*r.Float64())))
		}, held},
		{"lasso", func(seed uint64, _ *philox.Stream) solvertest.Closed { return solvertest.NewLasso(seed, 30, 20, 9) },
			[]hypergrad.Method{hypergrad.Prox{Solver: cg}}},
		{"fixed point", func(seed uint64, _ *philox.Stream) solvertest.Closed {
			return solvertest.NewFixedPoint(seed, 3, 6, 5)
		}, []hypergrad.Method{hypergrad.Root{Solver: gmres}, hypergrad.Root{Solver: linear.BiCGSTAB{RTol: 1e-6}},
			hypergrad.Root{Solver: linear.GMRES{MaxSteps: 3}}}},
	}
}

// On random problems of eight kinds, whose lower level is solved to a random accuracy, the true error is at most
// the figure in all cases where the figure is called a bound, and in at least 95 % of those where it is called an
// estimate. The truth is in closed form, or by an independent solver of the problem's own.
func TestFiguresHold(t *testing.T) {
	problems := testrun.Size[uint64](80, 200)
	kinds := kindsWithFigures()
	ctx := context.Background()
	within, all := map[string]int{}, map[string]int{}
	for i := range problems {
		kind := kinds[i%uint64(len(kinds))]
		r := philox.New(i, 2, philox.StreamTest)
		c := kind.draw(1000+i, r)
		ex := executor(t)
		p := load(t, ex, c)
		declared := false
		if q, ok := c.(*solvertest.Quadratic); ok && i%2 == 0 {
			p.Mu, p.Constants = q.Structure()
			declared = true
		}
		x := p.Upper.Start.Flat
		exact, want := c.Exact(x)
		y := near(p, exact, r)
		for _, m := range kind.methods {
			h, err := hypergrad.OnExecutor(ctx, ex, p, m, problem.Vector(x...), problem.Vector(y...))
			require.NoError(t, err, kind.name)
			if h.Status == linear.NegativeCurvature || h.Status == linear.NotFinite || math.IsInf(h.Error, 1) {
				continue // the method says itself that it knows nothing
			}
			off := floats.Distance(h.Gradient, want, 2)
			name := kind.name + ", " + m.Name()
			all[name]++
			if off <= h.Error {
				within[name]++
			} else if h.Kind == hypergrad.Bound {
				t.Errorf("%s, problem %d: the error %.3g is above the bound %.3g", name, i, off, h.Error)
			}
			if declared {
				require.Equal(t, hypergrad.Bound, h.Kind)
			} else {
				require.Equal(t, hypergrad.Estimate, h.Kind)
			}
		}
		require.NoError(t, ex.Close())
	}
	total, good := 0, 0
	for name, n := range all {
		t.Logf("%-22s %3d of %3d within the figure", name, within[name], n)
		total, good = total+n, good+within[name]
	}
	require.Greater(t, total, 2*int(problems))
	require.GreaterOrEqual(t, float64(good), 0.95*float64(total), "%d of %d", good, total)
}

// near is a point at a random small distance from the lower solution, on the same face of a set and of the same
// support.
func near(p *problem.Problem, exact []float64, r *philox.Stream) []float64 {
	box, inBox := p.Lower.Set.(problem.Box)
	_, inSimplex := p.Lower.Set.(problem.Simplex)
	y, d := slices.Clone(exact), make([]float64, len(exact))
	sum, free := 0.0, 0.0
	for i, v := range y {
		if v == 0 || inBox && (v == box.Lo || v == box.Hi) {
			continue
		}
		d[i] = float64(r.Normal())
		sum, free = sum+d[i], free+1
	}
	for i := range d {
		if inSimplex && d[i] != 0 {
			d[i] -= sum / free // the shares still add up to the total
		}
	}
	if size := floats.Norm(d, 2); size > 0 {
		floats.AddScaled(y, math.Pow(10, -7+5*r.Float64())*floats.Norm(exact, 2)/size, d)
	}
	return y
}
