package solvertest_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// everyProblem has a problem of every type.
func everyProblem() map[string]solvertest.Closed {
	return map[string]solvertest.Closed{
		"scalar":               solvertest.Scalar{},
		"quadratic":            solvertest.NewQuadratic(1, 3, solvertest.Spectrum(5, 100)),
		"quadratic, one lower": solvertest.NewQuadratic(2, 4, solvertest.Spectrum(1, 1)),
		"identity":             solvertest.NewQuadratic(3, 2, solvertest.Repeat(4, 0.3)),
		"ridge":                solvertest.NewRidge(4, 12, 7, 5),
		"finite sum":           solvertest.NewFiniteSum(5, 4, 3, 2, solvertest.Spectrum(3, 10)),
		"cleaning":             solvertest.NewCleaning(6, 10, 8, 4, 3, 0.1),
		"golden P1":            solvertest.GoldenProblems()["P1"],
		"golden P2":            solvertest.GoldenProblems()["P2"],
		"golden P3":            solvertest.GoldenProblems()["P3"],
		"min-min":              solvertest.MinMin{},
		"flat lower level":     solvertest.FlatLower{},
		"waves":                solvertest.Waves{},
		"toy":                  solvertest.Toy{},
		"stackelberg":          solvertest.Stackelberg{},
		"multi-task":           solvertest.NewMultiTask(7, 3, 9, 5, 2),
		"multi-task with tanh": tanh(solvertest.NewMultiTask(8, 3, 9, 5, 2)),
	}
}

func tanh(m *solvertest.MultiTask) *solvertest.MultiTask {
	m.Nonlinear = true
	return m
}

// evaluator computes F(x, y) and ∇yG(x, y) from the problem's own objectives, through package tensor.
type evaluator struct {
	x, y, f, gy *tensor.Variable
	fn          *tensor.Function
}

func newEvaluator(t *testing.T, ex *tensor.Executor, p *problem.Problem) *evaluator {
	e := &evaluator{
		x:  ex.Variable("x", tensor.Real, p.Upper.Start.Size()),
		y:  ex.Variable("y", tensor.Real, p.Lower.Start.Size()),
		f:  ex.Variable("F", tensor.Real),
		gy: ex.Variable("gy", tensor.Real, p.Lower.Start.Size()),
	}
	b, err := p.Bind(ex)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	e.fn, err = ex.Compile("evaluate", func() []tensor.Update {
		x, y := e.x.Node(), e.y.Node()
		at := func(side problem.Side) *problem.Point {
			return b.Oracle().At(side, x, y, b.All(side), params.TrainFrozen, nil)
		}
		return []tensor.Update{
			{Var: e.f, Value: at(problem.Upper).Value()},
			{Var: e.gy, Value: at(problem.Lower).GradY()},
		}
	})
	require.NoError(t, err)
	return e
}

func (e *evaluator) at(t *testing.T, x, y []float64) (f float64, gy []float64) {
	require.NoError(t, e.x.Write(x))
	require.NoError(t, e.y.Write(y))
	require.NoError(t, e.fn.Run(1))
	f, err := e.f.Number()
	require.NoError(t, err)
	gy, err = e.gy.Read()
	require.NoError(t, err)
	return f, gy
}

// At the y of Exact the problem's own ∇yG must vanish, and the gradient of Exact must be the derivative of
// x ↦ F(x, y*(x)).
func TestExactAgainstFiniteDifferences(t *testing.T) {
	dev := ref.New()
	defer dev.Close()
	for name, c := range everyProblem() {
		t.Run(name, func(t *testing.T) {
			ex := tensor.NewExecutor(dev)
			p, err := solvertest.Load(ex, c)
			require.NoError(t, err)
			require.NoError(t, p.Check())
			e := newEvaluator(t, ex, p.Problem)
			x := slices.Clone(p.Upper.Start.Flat)
			for i := range x {
				x[i] += 0.1 * float64(i+1)
			}
			y, gradient := c.Exact(x)
			_, gy := e.at(t, x, y)
			require.Less(t, floats.Norm(gy, 2), 1e-14*(1+floats.Norm(y, 2)), "y* is not stationary")

			// A central difference is off by step²/6·|h‴| + u·|h|/step, which is below 1e-10 for values near 1.
			const step = 6e-6
			for i := range x {
				at := func(s float64) float64 {
					moved := slices.Clone(x)
					moved[i] += s
					y, _ := c.Exact(moved)
					f, _ := e.at(t, moved, y)
					return f
				}
				difference := (at(step) - at(-step)) / (2 * step)
				require.InDelta(t, difference, gradient[i], 1e-8*(1+floats.Norm(gradient, 2)), "x_%d", i)
			}
			require.NoError(t, ex.Close())
		})
	}
}

func TestOptimum(t *testing.T) {
	for name, c := range everyProblem() {
		o, ok := c.(interface{ Optimum() []float64 })
		if !ok {
			continue
		}
		x := o.Optimum()
		_, g := c.Exact(x)
		_, far := c.Exact(make([]float64, len(x)))
		require.Less(t, floats.Norm(g, 2), 1e-14*(1+floats.Norm(far, 2)), name)
		for i := range x { // the point is a minimum: the derivative grows along every axis
			moved := slices.Clone(x)
			moved[i] += 0.5
			_, g := c.Exact(moved)
			require.Positive(t, g[i], name)
		}
	}
}

// The formulas in Quadratic's comment hold in gonum's dense arithmetic.
func TestQuadraticAgainstDense(t *testing.T) {
	const p, q, condition = 4, 7, 1e4
	m := solvertest.NewQuadratic(11, p, solvertest.Spectrum(q, condition))
	var eig mat.EigenSym
	require.True(t, eig.Factorize(mat.NewSymDense(q, m.A.RawMatrix().Data), false))
	values := eig.Values(nil)
	require.InDelta(t, 1/condition, values[0], 1e-15)
	require.InDelta(t, 1, values[q-1], 1e-14)
	mu, constants := m.Structure()
	require.InDelta(t, 1/condition, mu, 1e-12)
	require.LessOrEqual(t, mu, values[0])
	require.Zero(t, constants.Cross+constants.Hessian)
	for _, n := range []struct {
		of    *mat.Dense
		bound float64
	}{{m.C, constants.CrossNorm}, {m.B, constants.GradYF}, {m.K, constants.GradXF}} {
		require.InEpsilon(t, mat.Norm(n.of, 2), n.bound, 1e-8)
	}

	x := []float64{0.3, -1, 2, 0.5}
	y, g := m.Exact(x)
	v := m.Adjoint(x, y)
	var av, by, kx mat.VecDense
	av.MulVec(m.A, mat.NewVecDense(q, v))
	by.MulVec(m.B, mat.NewVecDense(q, y))
	kx.MulVec(m.K.T(), mat.NewVecDense(p, x))
	scale := floats.Norm(v, 2)
	for i := range q { // A v = B y + Kᵀx + f
		require.InDelta(t, by.AtVec(i)+kx.AtVec(i)+m.F[i], av.AtVec(i), 1e-14*scale)
	}
	require.InDeltaSlice(t, g, m.Direction(x, y, v), 1e-14*scale)

	// ∇h is affine, so that its differences along the axes are the columns of the Hessian.
	h := m.Hessian()
	for i := range p {
		moved := slices.Clone(x)
		moved[i]++
		_, g2 := m.Exact(moved)
		for j := range p {
			require.InDelta(t, h.At(i, j), g2[j]-g[j], 1e-9*mat.Norm(h, 2))
		}
	}
	require.True(t, eig.Factorize(mat.NewSymDense(p, h.RawMatrix().Data), false))
	require.GreaterOrEqual(t, eig.Values(nil)[0], 1-1e-9)
}

// The objectives over all rows, computed on the device, are those of the mean quadratic.
func TestFiniteSumIsItsMean(t *testing.T) {
	m := solvertest.NewFiniteSum(5, 4, 3, 2, solvertest.Spectrum(3, 10))
	for _, rows := range [][]*solvertest.Quadratic{m.Lower, m.Upper} {
		require.NotEqual(t, rows[0].A.At(0, 0), rows[1].A.At(0, 0), "rows differ")
		require.Equal(t, rows[0].A.At(0, 1), rows[0].A.At(1, 0), "rows are symmetric")
	}
	values := func(p *solvertest.Loaded, ex *tensor.Executor) (out []float64) {
		e := newEvaluator(t, ex, p.Problem)
		f, gy := e.at(t, []float64{0.5, -2}, []float64{1, 2, -0.5})
		return append(gy, f)
	}
	ex := tensor.NewExecutor(ref.New())
	sum, err := solvertest.Load(ex, m)
	require.NoError(t, err)
	mean, err := solvertest.Load(ex, m.Mean())
	require.NoError(t, err)
	require.InDeltaSlice(t, values(mean, ex), values(sum, ex), 1e-14)
	require.NoError(t, ex.Close())
}

// After Replace, programs that were compiled for one problem compute another.
func TestReplace(t *testing.T) {
	ex := tensor.NewExecutor(ref.New())
	one, two := solvertest.NewRidge(1, 6, 5, 3), solvertest.NewRidge(2, 6, 5, 3)
	p, err := solvertest.Load(ex, one)
	require.NoError(t, err)
	e := newEvaluator(t, ex, p.Problem)
	for _, m := range []*solvertest.Ridge{two, one} {
		require.NoError(t, p.Replace(m))
		y, _ := m.Exact([]float64{0.2})
		_, gy := e.at(t, []float64{0.2}, y)
		require.Less(t, floats.Norm(gy, 2), 1e-14)
	}
	require.ErrorContains(t, p.Replace(solvertest.NewRidge(1, 7, 5, 3)), "solvertest: Z")
	require.NoError(t, ex.Close())
}

// The data of a seed must never change, because recorded runs depend on them.
func TestGoldenData(t *testing.T) {
	q := solvertest.NewQuadratic(1, 2, solvertest.Spectrum(2, 10))
	got := fmt.Sprintf("%.6g %.6g", q.C.RawMatrix().Data, q.UpperE)
	require.Equal(t, "[1.0035 0.0511005 -1.07922 0.328887] [-0.0181095 0.115043]", got)
	require.Equal(t, q, solvertest.NewQuadratic(1, 2, solvertest.Spectrum(2, 10)))
	require.NotEqual(t, q.C, solvertest.NewQuadratic(2, 2, solvertest.Spectrum(2, 10)).C)
	require.Equal(t, []float64{1, 0.1, 0.01}, roundAll(solvertest.Spectrum(3, 100)))
}

func roundAll(x []float64) []float64 {
	for i := range x {
		x[i] = math.Round(x[i]*1e12) / 1e12
	}
	return x
}
