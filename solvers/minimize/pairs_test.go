package minimize_test

import (
	"context"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// relativeResidual is |b - H v|/|b| for b the gradient of the upper objective at the minimizer and v by the inverse
// that L-BFGS has kept.
func relativeResidual(t *testing.T, ex *tensor.Executor, m *minimize.Minimizer, f,
	upper func(*tensor.Node) *tensor.Node,
	solver linear.Solver) (float64, linear.Stats) {
	y := m.Y().Node()
	system, err := solver.Prepare(ex, linear.Matrix{N: y.Size(), Pairs: m.Pairs(),
		Apply: func(v *tensor.Node) *tensor.Node {
			return tensor.HVP(f(y), []*tensor.Node{y}, []*tensor.Node{v})[0]
		}})
	require.NoError(t, err)
	defer system.Close()
	set, err := ex.Compile("b", func() []tensor.Update {
		return []tensor.Update{{Var: system.RHS(), Value: tensor.Grad(upper(y), y)[0]}}
	})
	require.NoError(t, err)
	defer set.Close()
	require.NoError(t, set.Run(1))
	st, err := system.Solve(context.Background())
	require.NoError(t, err)
	return st.Residual / st.RHSNorm, st
}

// upperAt is the upper objective at the start value of x.
func upperAt(t *testing.T, p *problem.Problem, ex *tensor.Executor) func(*tensor.Node) *tensor.Node {
	b, err := p.Bind(ex)
	require.NoError(t, err)
	x := ex.Variable("x", tensor.Real, p.Upper.Start.Size())
	require.NoError(t, x.Write(p.Upper.Start.Flat))
	return func(y *tensor.Node) *tensor.Node {
		return b.Oracle().At(problem.Upper, x.Node(), y, b.All(problem.Upper), params.TrainFrozen, nil).Value()
	}
}

// With additional pairs in the direction that is asked for, the inverse gets good there as the lower tolerance falls;
// without them nothing makes it so.
func TestPairsTowardsTheUpperObjective(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewCleaning(31, 40, 20, 6, 3, 0.02))
	f, n := lower(t, p, ex, p.Upper.Start.Flat), p.Lower.Start.Size()
	upper := upperAt(t, p, ex)
	residual := func(tol float64, towards bool) float64 {
		m, err := minimize.LBFGS{Tol: tol, MaxSteps: 500, Memory: 30}.Prepare(ex, f, n)
		if towards {
			m, err = minimize.LBFGS{Tol: tol, MaxSteps: 500, Memory: 30}.PrepareTowards(ex, f, n,
				minimize.Towards{F: upper, Every: 2})
		}
		require.NoError(t, err)
		defer m.Close()
		_, got := run(t, m, p.Lower.Start.Flat)
		require.True(t, got.Status.Good(), "%+v", got)
		r, _ := relativeResidual(t, ex, m, f, upper, linear.LBFGSInverse{})
		return r
	}
	last := 1.0
	for _, tol := range []float64{1e-2, 1e-4, 1e-6} {
		with, without := residual(tol, true), residual(tol, false)
		t.Logf("tolerance %g: residual %.2g with additional pairs, %.2g without", tol, with, without)
		require.Less(t, with, without)
		require.Less(t, with, last)
		last = with
	}
	require.Less(t, last, 0.05)
}

// On a quadratic the pairs of the inner solve shorten the system's solve: CG from B b needs fewer steps than from zero.
func TestPairsSaveStepsOfCG(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewQuadratic(33, 2, solvertest.Spectrum(20, 1e3)))
	f, n := lower(t, p, ex, p.Upper.Start.Flat), p.Lower.Start.Size()
	m := prepare(t, ex, minimize.LBFGS{Tol: 1e-9, MaxSteps: 500, Memory: 40}, f, n)
	_, got := run(t, m, far(n))
	require.True(t, got.Status.Good(), "%+v", got)
	upper := upperAt(t, p, ex)
	_, cold := relativeResidual(t, ex, m, f, upper, linear.CG{RTol: 1e-3, MaxSteps: 200})
	_, warm := relativeResidual(t, ex, m, f, upper, linear.LBFGSInverse{RTol: 1e-3, Refine: 200})
	require.Equal(t, linear.Converged, cold.Status)
	require.Equal(t, linear.Converged, warm.Status)
	require.Less(t, warm.Steps, cold.Steps)
	require.Nil(t, prepare(t, ex, minimize.GradientDescent{Tol: 1e-3, MaxSteps: 10}, f, n).Pairs())

	_, err := minimize.LBFGS{Tol: 1e-3, MaxSteps: 5}.PrepareTowards(ex, f, n, minimize.Towards{})
	require.ErrorContains(t, err, "wants an upper objective F")
	_, err = minimize.LBFGS{Tol: 1e-3, MaxSteps: 5}.PrepareTowards(ex, f, n, minimize.Towards{F: f, Every: -1})
	require.ErrorContains(t, err, "every -1 steps")
}
