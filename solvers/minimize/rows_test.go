package minimize_test

import (
	"context"
	"testing"

	"bilevel/device/null"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// rowsPreparer is a deterministic method.
type rowsPreparer interface {
	preparer
	PrepareRows(minimize.RowsObjective) (*minimize.Minimizer, error)
}

// lowerRows is a problem's lower objective at its start value of x, a mean over rows.
func lowerRows(t *testing.T, ex *tensor.Executor, p *problem.Problem) minimize.RowsObjective {
	x := ex.Variable("x", tensor.Real, p.Upper.Start.Size())
	require.NoError(t, x.Write(p.Upper.Start.Flat))
	b, err := p.Bind(ex)
	require.NoError(t, err)
	return minimize.RowsObjective{Bound: b, Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
		return b.Oracle().At(problem.Lower, x.Node(), y, rows, params.TrainFrozen, nil).Value()
	}}
}

// In pieces that divide the rows and that do not, every method takes the steps that it takes on all rows, to the same
// minimizer.
func TestPiecesOfRows(t *testing.T) {
	c := solvertest.NewCleaning(3, 13, 8, 4, 3, 0.05)
	ex := executor(t)
	p := load(t, ex, c)
	o := lowerRows(t, ex, p)
	want, _ := c.Exact(p.Upper.Start.Flat)
	for name, m := range map[string]rowsPreparer{
		"newton":           minimize.Newton{Tol: 1e-10, MaxSteps: 50},
		"l-bfgs":           minimize.LBFGS{Tol: 1e-10, MaxSteps: 300},
		"gradient descent": minimize.GradientDescent{Tol: 1e-8, MaxSteps: 5000},
		"projected": minimize.GradientDescent{Tol: 1e-8, MaxSteps: 5000,
			Set: problem.Box{Lo: -1000, Hi: 1000}},
	} {
		var whole minimize.Minimum
		for _, rows := range []int{0, 1, 3, 5, 12, 13, 100} {
			o.Rows = rows
			s, err := m.PrepareRows(o)
			require.NoError(t, err)
			y, got := run(t, s, far(p.Lower.Start.Size()))
			require.True(t, got.Status.Good(), "%s in pieces of %d: %+v", name, rows, got)
			require.InDeltaSlice(t, want, y, 1e-6*(1+floats.Norm(want, 2)), "%s in pieces of %d", name, rows)
			if rows == 0 {
				whole = got
			}
			require.InDelta(t, whole.Steps, got.Steps, 0.02*float64(whole.Steps)+1, "%s in pieces of %d", name, rows)
			require.InDelta(t, whole.Value, got.Value, 1e-12, "%s in pieces of %d", name, rows)
			require.NoError(t, s.Close())
		}
	}
}

func TestPiecesOfRowsRefuse(t *testing.T) {
	ex := executor(t)
	o := lowerRows(t, ex, load(t, ex, solvertest.NewCleaning(3, 13, 8, 4, 3, 0.05)))
	o.Rows = -1
	_, err := minimize.Newton{MaxSteps: 1}.PrepareRows(o)
	require.ErrorContains(t, err, "minimize: Newton: pieces of -1 rows: wants at least one, or 0 for all rows together")
	_, err = minimize.LBFGS{MaxSteps: 1}.PrepareRows(minimize.RowsObjective{Bound: o.Bound})
	require.ErrorContains(t, err, "minimize: L-BFGS: an objective without a problem or without a value")
	_, err = minimize.GradientDescent{MaxSteps: 1}.PrepareRows(minimize.RowsObjective{Value: o.Value})
	require.ErrorContains(t, err, "minimize: gradient descent: an objective without a problem")

	o.Rows = 2
	_, err = minimize.Newton{}.PrepareRows(o)
	require.ErrorContains(t, err, "wants a tolerance from 0 on")
	s, err := minimize.Newton{MaxSteps: 5}.PrepareRows(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Close())
	bad := o
	bad.Value = func(y *tensor.Node, rows problem.Batch) *tensor.Node { return y.MatMul(y) }
	before := ex.MemoryInUse()
	for _, m := range []rowsPreparer{
		minimize.Newton{MaxSteps: 1}, minimize.LBFGS{MaxSteps: 1}, minimize.GradientDescent{MaxSteps: 1},
	} {
		_, err = m.PrepareRows(bad)
		require.ErrorContains(t, err, "MatMul")
		require.Equal(t, before, ex.MemoryInUse(), "nothing is left behind")
	}
}

// Softmax regression on 100,000 rows of 20 features in 2,000 classes: 8 MB of data and 42,000 parameters, but 800 MB
// for each array of rows × classes. In pieces of 1,024 rows such an array has 8 MB, and the programs of a method
// together take no more than a few of them, whatever the number of rows.
func TestMemoryOfManyClasses(t *testing.T) {
	const rows, features, classes, piece = 100_000, 20, 2_000, 1_024
	model := models.Softmax{Inputs: features, Classes: classes}
	start, _ := model.Init(1)
	objective := func(ex *tensor.Executor) minimize.RowsObjective {
		x, label := ex.Variable("features", tensor.Real, rows, features), ex.Variable("labels", tensor.Int, rows)
		b, err := minimize.Alone("classes", problem.Level{
			Start: start, Rows: problem.Rows{"features": problem.On(x.Node()), "label": problem.On(label.Node())},
			Value: func(_, y problem.Vars, _ problem.Batch) *tensor.Node { return y.Flat().Sum() },
		}, params.Values{}).Bind(ex)
		require.NoError(t, err)
		return minimize.RowsObjective{Bound: b, Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
			z, _ := model.Apply(y, nil, rows.Get("features"), params.Train)
			return tensor.CrossEntropy(z, rows.Get("label")).Mean().Add(models.SquaredNorm(y).Scale(0.005))
		}}
	}
	const ofPiece, ofAll = 4 * piece * classes, 4 * rows * classes // bytes of an array of rows × classes
	for name, m := range map[string]rowsPreparer{
		"newton":           minimize.Newton{Tol: 1e-5, MaxSteps: 50, CGSteps: 200},
		"l-bfgs":           minimize.LBFGS{Tol: 1e-5, MaxSteps: 50},
		"gradient descent": minimize.GradientDescent{Tol: 1e-5, MaxSteps: 50},
	} {
		dev := null.New()
		ex := tensor.NewExecutor(dev)
		o := objective(ex)
		o.Rows = piece
		s, err := m.PrepareRows(o)
		require.NoError(t, err, name)
		_, err = s.Run(context.Background())
		require.NoError(t, err, name)
		data, vectors := 4*rows*(features+1), 40*4*start.Size()
		arenas := dev.Stats().PeakBytes - data
		require.Less(t, arenas, 9*ofPiece+vectors, name)
		t.Logf("%s: %.1f arrays of a piece", name, float64(arenas)/ofPiece)

		o.Rows = 0
		s, err = m.PrepareRows(o)
		require.NoError(t, err, name)
		require.Greater(t, dev.Stats().PeakBytes, 2*ofAll, "%s: all rows at once", name)
		require.NoError(t, s.Close())
		require.NoError(t, ex.Close())
	}
}
