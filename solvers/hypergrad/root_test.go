package hypergrad_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// pointOf is any method prepared for a problem.
func pointOf(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method) *point {
	e := &point{t: t, x: ex.Variable("x", tensor.Real, p.Upper.Start.Size()),
		y: ex.Variable("y", tensor.Real, p.Lower.Start.Size())}
	b := bind(t, ex, p)
	var err error
	e.Estimator, err = m.Prepare(b, e.x, e.y)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()); require.NoError(t, b.Close()) })
	return e
}

// prepareError is the refusal of a method.
func prepareError(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method) error {
	b := bind(t, ex, p)
	defer b.Close()
	_, err := m.Prepare(b, ex.Variable("x", tensor.Real, p.Upper.Start.Size()),
		ex.Variable("y", tensor.Real, p.Lower.Start.Size()))
	require.Error(t, err)
	return err
}

var generalSolvers = []linear.Solver{linear.GMRES{RTol: 1e-13}, linear.BiCGSTAB{RTol: 1e-13}}

// A network of two layers that is applied until its output does not change. At the root to round-off, the answer is
// that of central differences, the root solved anew to 1e-13 at each point by Newton's method on the host; the
// differences are off by about 1e-9. It is also that of a dense solve, to the residual of 1e-13 times the condition of
// I - ∂yΦ, which is below (1 + 0.81)/(1 - 0.81).
func TestRootOfNetwork(t *testing.T) {
	m := solvertest.NewFixedPoint(5, 3, 6, 8)
	x := []float64{0.4, -0.2, 0.7}
	value := func(x []float64) float64 {
		y, _ := m.Exact(x)
		return 0.5*floats.Distance(y, m.T, 2)*floats.Distance(y, m.T, 2) + 0.125*floats.Dot(x, x)
	}
	y, want := m.Exact(x)
	for _, s := range generalSolvers {
		ex := executor(t)
		h := pointOf(t, ex, load(t, ex, m), hypergrad.Root{Solver: s}).at(x, y)
		require.Equal(t, linear.Converged, h.Status)
		require.InDeltaSlice(t, want, h.Gradient, 1e-12*(1+floats.Norm(want, 2)))
		require.Less(t, h.Stationarity, 1e-14)
		require.Equal(t, hypergrad.MeasureResidual, h.Measure)
		require.Equal(t, hypergrad.Estimate, h.Kind)
		require.Less(t, h.Error, 1e-11)
		for i := range x {
			const step = 6e-6
			at := func(s float64) float64 {
				moved := slices.Clone(x)
				moved[i] += s
				return value(moved)
			}
			require.InDelta(t, (at(step)-at(-step))/(2*step), h.Gradient[i], 1e-8)
		}
		require.Positive(t, h.Counts.HVP)
		require.EqualValues(t, 1, h.Counts.LowerGradients-h.ForError.LowerGradients, "one residual")
		require.Greater(t, h.Implicit, 1e-3)
	}
}

// Φ = Wy + Ux has y* = (I - W)⁻¹Ux, and for F = ½|y - t|² the gradient Uᵀ(I - W)⁻ᵀ(y* - t), by a dense factorization.
// W is far from symmetric: with the matrix not transposed the answer would be another one.
func TestRootOfLinearMap(t *testing.T) {
	const p, q = 2, 5
	ex := executor(t)
	r := philox.New(3, 0, philox.StreamTest)
	dense := func(rows, columns int, scale float64) *mat.Dense {
		d := mat.NewDense(rows, columns, nil)
		for i := range rows {
			for j := range columns {
				d.Set(i, j, scale*float64(r.Normal()))
			}
		}
		return d
	}
	w, u, target := dense(q, q, 0.3), dense(q, p, 1), dense(q, 1, 1)
	wv, uv, tv := table(t, ex, w), table(t, ex, u), table(t, ex, target).Reshape(q)
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0]) }
	problemOf := &problem.Problem{
		Name: "linear map",
		Lower: problem.Level{Start: problem.Vector(make([]float64, q)...),
			Residual: problem.FixedPoint(problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return times(wv, y).Add(times(uv, x))
			}))},
		Upper: problem.Level{Start: problem.Vector(1, -2),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(tv).Square().Sum().Scale(0.5)
			})},
	}
	a := mat.NewDense(q, q, nil)
	for i := range q {
		a.Set(i, i, 1)
	}
	a.Sub(a, w)
	x := mat.NewVecDense(p, []float64{1, -2})
	var ux, y, adjoint, want, wrong mat.VecDense
	ux.MulVec(u, x)
	require.NoError(t, y.SolveVec(a, &ux))
	var off mat.VecDense
	off.SubVec(&y, target.ColView(0))
	require.NoError(t, adjoint.SolveVec(a.T(), &off))
	want.MulVec(u.T(), &adjoint)
	require.NoError(t, adjoint.SolveVec(a, &off))
	wrong.MulVec(u.T(), &adjoint)
	require.Greater(t, floats.Distance(want.RawVector().Data, wrong.RawVector().Data, 2), 0.1)
	condition := mat.Cond(a, 2)
	for _, s := range generalSolvers {
		e := pointOf(t, ex, problemOf, hypergrad.Root{Solver: s})
		h := e.at(x.RawVector().Data, y.RawVector().Data)
		require.InDeltaSlice(t, want.RawVector().Data, h.Gradient, 1e-12*condition*mat.Norm(&want, 2))

		// Away from the root: everything is linear, so that the first order is all of the error.
		moved := slices.Clone(y.RawVector().Data)
		moved[1] += 0.3
		h = e.at(x.RawVector().Data, moved)
		checkFigure(t, floats.Distance(h.Gradient, want.RawVector().Data, 2), h)
		require.Greater(t, h.Error, 1e-2)
	}
}

// checkFigure holds a figure against an error of which the first order is all: it is that, and at most as much again
// for loose solves and for the second order that it allows for.
func checkFigure(t *testing.T, err float64, h *hypergrad.Hypergradient) {
	t.Helper()
	require.LessOrEqual(t, err, h.Error)
	require.LessOrEqual(t, h.Error, 2*err)
}

// table puts a matrix on the device.
func table(t *testing.T, ex *tensor.Executor, m *mat.Dense) *tensor.Node {
	r, c := m.Dims()
	v := ex.Variable("table", tensor.Real, r, c)
	require.NoError(t, v.Write(m.RawMatrix().Data))
	return v.Node()
}

// The figure near roots that are not linear: of the size of the true error, for distances over six decades.
func TestRootFigure(t *testing.T) {
	inside, n := 0, 0
	for seed := range uint64(5) {
		m := solvertest.NewFixedPoint(seed, 3, 6, 8)
		ex := executor(t)
		e := pointOf(t, ex, load(t, ex, m), hypergrad.Root{Solver: linear.GMRES{RTol: 1e-10}})
		x := []float64{0.4, -0.2, 0.7}
		y, want := m.Exact(x)
		for k := range 7 {
			r := philox.New(seed, uint32(k), philox.StreamTest)
			moved := slices.Clone(y)
			for i := range moved {
				moved[i] += math.Pow(10, -float64(k)) * float64(r.Normal()) / 5
			}
			h := e.at(x, moved)
			err := floats.Distance(h.Gradient, want, 2)
			n++
			if err <= h.Error {
				inside++
			}
			if k > 1 { // where the first order is all of it
				require.Less(t, h.Error, 10*err, "distance 1e-%d", k)
				require.Less(t, err, 10*h.Error, "distance 1e-%d", k)
			}
		}
	}
	require.GreaterOrEqual(t, inside, n*95/100)
}

// In float32, at y* rounded to float32: the error is that of y and of sums of 8 terms, times the condition of the
// system, which is below 10.
func TestRootNarrow(t *testing.T) {
	m := solvertest.NewFixedPoint(5, 3, 6, 8)
	ex := tensortest.Executor(t, cpudevice.New(1))
	x := []float64{0.5, -0.25, 0.75}
	y, want := m.Exact(x)
	h := pointOf(t, ex, load(t, ex, m), hypergrad.Root{Solver: linear.GMRES{RTol: 1e-6}}).at(x, y)
	const u = 0x1p-24
	require.InDeltaSlice(t, want, h.Gradient, (10*1e-6+10*8*u)*(1+floats.Norm(want, 2)))
	require.LessOrEqual(t, floats.Distance(want, h.Gradient, 2), 10*h.Error)
}

func TestRootRefuses(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.NewFixedPoint(5, 2, 3, 4))
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Root{Solver: linear.CG{RTol: 1e-6}}),
		"is meant for matrices that are symmetric and positive definite, but the Jacobian ∂yR of a residual is a "+
			"square matrix that need not be symmetric, for which it is wrong: take one of the class linear.General")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Root{}), "set the field Solver")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}),
		"Root is meant for residuals")
	require.ErrorContains(t, prepareError(t, ex, load(t, ex, solvertest.Scalar{}),
		hypergrad.Root{Solver: linear.GMRES{RTol: 1e-6}}), "is an objective to be minimized, not a residual")
	p.Lower.Residual = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Sum() })
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Root{Solver: linear.GMRES{RTol: 1e-6}}),
		"wants one Real number for each of the 3 lower variables")
}

func TestRootStops(t *testing.T) {
	before := tensor.NewExecutor(ref.New())
	defer before.Close()
	m := solvertest.NewFixedPoint(5, 2, 3, 4)
	p, err := solvertest.Load(before, m)
	require.NoError(t, err)
	checkLifetime(t, before, p.Problem, hypergrad.Root{Solver: linear.GMRES{RTol: 1e-6}})
}

// checkLifetime prepares, computes and closes, twice as often as once, in the same memory; a cancelled context ends a
// computation, and the estimator works again; NaN is told.
func checkLifetime(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method) {
	x, y := ex.Variable("x", tensor.Real, p.Upper.Start.Size()), ex.Variable("y", tensor.Real, p.Lower.Start.Size())
	require.NoError(t, x.Write(p.Upper.Start.Flat))
	require.NoError(t, y.Write(p.Lower.Start.Flat))
	b, err := p.Bind(ex)
	require.NoError(t, err)
	live := ex.MemoryInUse()
	for range 2 {
		e, err := m.Prepare(b, x, y)
		require.NoError(t, err)
		require.NotEqual(t, live, ex.MemoryInUse())
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = e.Compute(ctx)
		require.ErrorIs(t, err, context.Canceled)
		h, err := e.Compute(context.Background())
		require.NoError(t, err)
		require.Len(t, h.Gradient, p.Upper.Start.Size())

		nan := slices.Clone(p.Lower.Start.Flat)
		nan[0] = math.NaN()
		require.NoError(t, y.Write(nan))
		h, err = e.Compute(context.Background())
		require.NoError(t, err)
		require.Equal(t, linear.NotFinite, h.Status)
		require.True(t, math.IsInf(h.Error, 1))
		require.NoError(t, y.Write(p.Lower.Start.Flat))
		again, err := e.Compute(context.Background())
		require.NoError(t, err)
		require.False(t, math.IsNaN(again.Norm()), "and the estimator works again")

		require.NoError(t, e.Close())
		require.Equal(t, live, ex.MemoryInUse(), "what was taken is given back")
	}
	require.NoError(t, b.Close())
}
