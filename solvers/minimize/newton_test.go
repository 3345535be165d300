package minimize_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// minimize runs Newton's method from a start value.
func run(t *testing.T, m *minimize.Minimizer, from []float64) ([]float64, minimize.Minimum) {
	require.NoError(t, m.Y().Write(from))
	got, err := m.Run(context.Background())
	require.NoError(t, err)
	y, err := m.Y().Read()
	require.NoError(t, err)
	return y, got
}

func newton(t *testing.T, ex *tensor.Executor, n minimize.Newton, f func(*tensor.Node) *tensor.Node,
	size int) *minimize.Minimizer {
	m, err := n.Prepare(ex, f, size)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// lower is a problem's lower objective at a fixed x.
func lower(t *testing.T, p *problem.Problem, ex *tensor.Executor, x []float64) func(*tensor.Node) *tensor.Node {
	v := ex.Variable("x", tensor.Real, len(x))
	require.NoError(t, v.Write(x))
	b, err := p.Bind(ex)
	require.NoError(t, err)
	return func(y *tensor.Node) *tensor.Node {
		return b.Oracle().At(problem.Lower, v.Node(), y, b.All(problem.Lower), params.TrainFrozen, nil).Value()
	}
}

// executor is a fresh one on the float64 reference device.
func executor(t *testing.T) *tensor.Executor { return tensortest.Executor(t, ref.New()) }

func load(t *testing.T, ex *tensor.Executor, c solvertest.Closed) *problem.Problem {
	p, err := solvertest.Load(ex, c)
	require.NoError(t, err)
	return p.Problem
}

func TestNewtonAgainstExact(t *testing.T) {
	for name, c := range map[string]solvertest.Closed{
		"scalar":      solvertest.Scalar{},
		"quadratic":   solvertest.NewQuadratic(1, 2, solvertest.Spectrum(20, 1e3)),
		"identity":    solvertest.NewQuadratic(1, 2, solvertest.Repeat(6, 3)),
		"ridge":       solvertest.NewRidge(2, 20, 10, 8),
		"cleaning":    solvertest.NewCleaning(3, 15, 8, 4, 3, 0.05),
		"weakly held": solvertest.NewCleaning(4, 15, 8, 4, 3, 1e-4),
	} {
		ex := executor(t)
		p := load(t, ex, c)
		m := newton(t, ex, minimize.Newton{Tol: 1e-12, MaxSteps: 50}, lower(t, p, ex, p.Upper.Start.Flat),
			p.Lower.Start.Size())
		want, _ := c.Exact(p.Upper.Start.Flat)
		for _, from := range [][]float64{p.Lower.Start.Flat, far(p.Lower.Start.Size())} {
			y, got := run(t, m, from)
			require.Contains(t, []minimize.Status{minimize.Converged, minimize.Stagnated}, got.Status, "%s: %+v",
				name, got)
			require.Less(t, got.GradientNorm, 1e-11*(1+floats.Norm(from, 2)), name)
			require.InDeltaSlice(t, want, y, 1e-7*(1+floats.Norm(want, 2)), name)
			require.GreaterOrEqual(t, got.Values, got.Steps)
			require.GreaterOrEqual(t, got.Products, got.Steps)
		}
		_, got := run(t, m, want)
		require.LessOrEqual(t, got.Steps, 3, "%s: already there: %+v", name, got)
	}
}

func far(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 30 * math.Sin(float64(i+1))
	}
	return out
}

// Far out the gradient hardly changes while the value falls: that is no stagnation.
func TestNewtonWhileTheGradientStands(t *testing.T) {
	ex := executor(t)
	// f = √(1 + y²): |f'| stays near 1 from far away, and full Newton steps overshoot for |y| > 1.
	m := newton(t, ex, minimize.Newton{Tol: 1e-10, MaxSteps: 200}, func(y *tensor.Node) *tensor.Node {
		return y.Square().AddConst(1).Sqrt().Sum()
	}, 1)
	y, got := run(t, m, []float64{100})
	require.Equal(t, minimize.Converged, got.Status, "%+v", got)
	require.InDelta(t, 0, y[0], 1e-9)
}

// Logistic regression against iteratively reweighted least squares in dense arithmetic, in both precisions.
func TestNewtonLogistic(t *testing.T) {
	const rows, inputs, reg = 40, 5, 0.01
	c := solvertest.NewCleaning(9, rows, 1, inputs, 2, reg)
	labels := make([]float64, rows)
	for i, l := range c.Labels {
		labels[i] = float64(l)
	}
	want := make([]float64, inputs)
	for range 30 {
		g, h := mat.NewVecDense(inputs, nil), mat.NewSymDense(inputs, nil)
		for i := range rows {
			z := c.Train.RowView(i)
			p := 1 / (1 + math.Exp(-mat.Dot(z, mat.NewVecDense(inputs, want))))
			g.AddScaledVec(g, (p-labels[i])/rows, z)
			h.SymRankOne(h, p*(1-p)/rows, z)
		}
		for j := range inputs {
			g.SetVec(j, g.AtVec(j)+2*reg*want[j])
			h.SetSym(j, j, h.At(j, j)+2*reg)
		}
		var chol mat.Cholesky
		require.True(t, chol.Factorize(h))
		var step mat.VecDense
		require.NoError(t, chol.SolveVecTo(&step, g))
		floats.Sub(want, step.RawVector().Data)
	}
	for _, dev := range []device.Device{ref.New(), cpudevice.New(2)} {
		ex := tensor.NewExecutor(dev)
		z, a := ex.Variable("z", tensor.Real, rows, inputs), ex.Variable("a", tensor.Real, rows)
		require.NoError(t, z.Write(c.Train.RawMatrix().Data))
		require.NoError(t, a.Write(labels))
		model := models.Logistic{Inputs: inputs, NoBias: true}
		m := newton(t, ex, minimize.Newton{Tol: 1e-12, MaxSteps: 50}, func(w *tensor.Node) *tensor.Node {
			odds, _ := model.Apply(w, nil, z.Node(), params.Train)
			loss := models.BinaryCrossEntropy(odds.Reshape(rows), a.Node()).Mean()
			return loss.Add(models.SquaredNorm(w).Scale(reg))
		}, inputs)
		w, got := run(t, m, make([]float64, inputs))
		u := dev.Info().UnitRoundoff()
		if dev.Info().RealBits == 64 {
			require.Equal(t, minimize.Converged, got.Status, "%+v", got)
		} else { // 1e-12 is below what float32 can do: it must notice, near the minimizer
			require.Equal(t, minimize.Stagnated, got.Status, "%+v", got)
			require.Less(t, got.GradientNorm, 200*u)
		}
		// |w - w*| <= |g|/μ with μ >= 2 reg, and the gradient itself rounds.
		require.LessOrEqual(t, floats.Distance(want, w, 2), (got.GradientNorm+100*u+1e-12)/(2*reg))
		require.NoError(t, m.Close())
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	}
}

func TestNewtonEnds(t *testing.T) {
	ex := executor(t)
	square := func(y *tensor.Node) *tensor.Node { return tensor.Dot(y, y) }
	m := newton(t, ex, minimize.Newton{Tol: 1e-10, MaxSteps: 5}, square, 3)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		_, got := run(t, m, []float64{1, bad, 0})
		require.Equal(t, minimize.NotFinite, got.Status)
		require.Zero(t, got.Steps)
	}
	_, got := run(t, m, []float64{1, 2, 3})
	require.Equal(t, minimize.Converged, got.Status)
	require.Equal(t, 1, got.Steps)

	concave := newton(t, ex, minimize.Newton{Tol: 1e-10, MaxSteps: 5},
		func(y *tensor.Node) *tensor.Node { return tensor.Dot(y, y).Neg() }, 3)
	_, got = run(t, concave, []float64{1, 2, 3})
	require.Equal(t, minimize.NegativeCurvature, got.Status)

	quartic := newton(t, ex, minimize.Newton{Tol: 1e-14, MaxSteps: 4},
		func(y *tensor.Node) *tensor.Node { return y.Square().Square().Sum() }, 1)
	_, got = run(t, quartic, []float64{1})
	require.Equal(t, minimize.MaxSteps, got.Status)
	require.Equal(t, 4, got.Steps)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, m.Y().Write([]float64{1, 2, 3}))
	_, err := m.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)

	for _, n := range []minimize.Newton{{MaxSteps: 0}, {Tol: -1, MaxSteps: 1}, {Tol: math.NaN(), MaxSteps: 1},
		{MaxSteps: 1, Forcing: 1}, {MaxSteps: 1, CGSteps: -1}} {
		_, err := n.Prepare(ex, square, 3)
		require.Error(t, err, "%+v", n)
	}
	_, err = minimize.Newton{MaxSteps: 1}.Prepare(ex, func(y *tensor.Node) *tensor.Node { return y }, 3)
	require.ErrorContains(t, err, "wants one Real number")
}
