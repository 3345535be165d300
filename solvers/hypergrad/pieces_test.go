package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// The hypergradient from sums over pieces of rows is that of all rows at once, with every figure beside it, for pieces
// that divide the rows and that do not, and at y away from the minimizer too.
func TestPiecesMakeTheWhole(t *testing.T) {
	for name, c := range map[string]interface {
		solvertest.Closed
	}{
		"finite sum": solvertest.NewFiniteSum(3, 7, 5, 3, solvertest.Spectrum(4, 10)),
		"cleaning":   solvertest.NewCleaning(3, 13, 8, 4, 3, 0.05),
	} {
		ex := executor(t)
		p := load(t, ex, c)
		x := p.Upper.Start.Flat
		y, exact := c.Exact(x)
		away := make([]float64, len(y))
		for i := range y {
			away[i] = y[i] + 0.01*math.Sin(float64(i+1))
		}
		at := func(rows int) *point {
			e := &point{t: t, x: ex.Variable("x", tensor.Real, len(x)), y: ex.Variable("y", tensor.Real, len(y))}
			var err error
			e.Estimator, err = hypergrad.Implicit{Solver: linear.CG{RTol: 1e-13}, Rows: rows}.Prepare(bind(t, ex, p),
				e.x, e.y)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, e.Close()) })
			return e
		}
		whole := at(0)
		for _, rows := range []int{1, 3, 5, 6, 7, 12, 13, 100} {
			pieces := at(rows)
			require.InDeltaSlice(t, exact, pieces.at(x, y).Gradient, 1e-10*(1+floats.Norm(exact, 2)),
				"%s in pieces of %d", name, rows)
			want, got := whole.at(x, away), pieces.at(x, away)
			room := 1e-10 * (1 + want.Norm())
			require.InDeltaSlice(t, want.Gradient, got.Gradient, room, "%s in pieces of %d", name, rows)
			require.InDelta(t, want.Stationarity, got.Stationarity, room)
			require.InDelta(t, want.Implicit, got.Implicit, room)
			require.InDelta(t, want.Residual, got.Residual, room)
			require.InEpsilon(t, want.SmallestEigenvalue, got.SmallestEigenvalue, 1e-6)
			require.InEpsilon(t, want.Error, got.Error, 1e-2,
				"%s in pieces of %d: the error's systems are solved loosely", name, rows)
			require.Positive(t, got.Stationarity)
			require.Equal(t, want.Status, got.Status)
			require.Equal(t, want.Kind, got.Kind)
		}
	}
}

// Objectives that read running statistics are evaluated with them in every piece.
func TestPiecesReadStatistics(t *testing.T) {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	values := []float64{1, -2, 3, 0.5, 4}
	p := &problem.Problem{
		Name: "statistics", State: params.Values{}.And("scale", 3),
		Lower: problem.Level{Start: problem.Vector(1), Rows: problem.Rows{"z": problem.Reals(values)},
			Loss: func(x, y problem.Vars, b problem.Batch, pass problem.Pass) problem.Loss {
				// G = scale/2 (y - x)² + mean z · y
				v := half(y.Flat().Sub(x.Flat())).Mul(pass.State["scale"].Sum()).Add(
					b.Get("z").Mean().Mul(y.Flat().Sum()),
				)
				return problem.Loss{Value: v}
			}},
		Upper: problem.Level{Start: problem.Vector(2),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y) })},
	}
	ex := executor(t)
	mean := floats.Sum(values) / 5
	x, y := 2.0, 2-mean/3
	for _, rows := range []int{0, 2} {
		e := &point{t: t, x: ex.Variable("x", tensor.Real, 1), y: ex.Variable("y", tensor.Real, 1)}
		var err error
		e.Estimator, err = hypergrad.Implicit{Solver: linear.CG{RTol: 1e-12}, Rows: rows}.Prepare(bind(t, ex, p), e.x,
			e.y)
		require.NoError(t, err)
		h := e.at([]float64{x}, []float64{y})
		require.InDelta(t, y, h.Gradient[0], 1e-12, "dy*/dx = 1")
		require.InDelta(t, 0, h.Stationarity, 1e-12)
		require.InDelta(t, 3, h.SmallestEigenvalue, 1e-12, "H is the statistic")
		require.NoError(t, e.Close())
	}
}

func TestPiecesRefuse(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewFiniteSum(3, 7, 5, 3, solvertest.Spectrum(4, 10)))
	x, y := ex.Variable("x", tensor.Real, 3), ex.Variable("y", tensor.Real, 4)
	_, err := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}, Rows: -1}.Prepare(bind(t, ex, p), x, y)
	require.ErrorContains(t, err, "hypergrad: pieces of -1 rows; wants at least one, or 0 for all rows together")
	e, err := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}, Rows: 2}.Prepare(bind(t, ex, p), x, y)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = e.Compute(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, e.Close())
}
