package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
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

// point is an estimator with the variables that it reads.
type point struct {
	hypergrad.Estimator
	t    *testing.T
	x, y *tensor.Variable
}

func executor(t *testing.T) *tensor.Executor { return tensortest.Executor(t, ref.New()) }

func load(t *testing.T, ex *tensor.Executor, c solvertest.Closed) *problem.Problem {
	p, err := solvertest.Load(ex, c)
	require.NoError(t, err)
	return p.Problem
}

func bind(t *testing.T, ex *tensor.Executor, p *problem.Problem) *problem.Bound {
	b, err := p.Bind(ex)
	require.NoError(t, err)
	return b
}

func estimator(t *testing.T, ex *tensor.Executor, p *problem.Problem, s linear.Solver) *point {
	e := &point{t: t, x: ex.Variable("x", tensor.Real, p.Upper.Start.Size()),
		y: ex.Variable("y", tensor.Real, p.Lower.Start.Size())}
	var err error
	e.Estimator, err = hypergrad.Implicit{Solver: s}.Prepare(bind(t, ex, p), e.x, e.y)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func (e *point) at(x, y []float64) *hypergrad.Hypergradient {
	require.NoError(e.t, e.x.Write(x))
	require.NoError(e.t, e.y.Write(y))
	h, err := e.Compute(context.Background())
	require.NoError(e.t, err)
	return h
}

func ones(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1 - 0.1*float64(i)
	}
	return out
}

// At y = y*, rounded to float64, the error is what the tolerance leaves and what rounding y to float64 costs, each
// amplified by the inverse of H: at most ‖C‖/μ (rtol |b| + …), see the bound in figure.go.
func TestImplicitOnQuadratics(t *testing.T) {
	const u = 0x1p-53
	for _, c := range []struct {
		p, q      int
		condition float64
		rtol      float64
	}{{20, 40, 1, 1e-12}, {5, 30, 1e3, 1e-10}, {20, 60, 1e3, 1e-6}, {10, 30, 1e6, 1e-10}, {20, 40, 1e6, 1e-6}} {
		m := solvertest.NewQuadratic(uint64(c.q), c.p, solvertest.Spectrum(c.q, c.condition))
		ex := executor(t)
		e := estimator(t, ex, load(t, ex, m), linear.CG{RTol: c.rtol, MaxSteps: 2000})
		x := ones(c.p)
		y, want := m.Exact(x)
		h := e.at(x, y)
		require.Equal(t, linear.Converged, h.Status, "%+v: %+v", c, h.Residual)
		require.Equal(t, hypergrad.Estimate, h.Kind)

		_, k := m.Structure()
		v := m.Adjoint(x, y)
		var b mat.VecDense
		b.MulVec(m.A, mat.NewVecDense(c.q, v))
		rhs, nv, ny := mat.Norm(&b, 2), floats.Norm(v, 2), floats.Norm(y, 2)
		n := float64(c.q)
		amplify := k.CrossNorm * c.condition
		tolerance := amplify*(1.001*c.rtol*rhs+3*n*u*(nv+rhs)) + (k.GradXF+amplify*k.GradYF)*u*ny +
			3*n*u*(k.CrossNorm*nv+floats.Norm(want, 2))
		err := floats.Distance(h.Gradient, want, 2)
		require.LessOrEqual(t, err, tolerance, "%+v", c)
		require.LessOrEqual(t, err, 10*h.Error, "%+v", c)
		require.LessOrEqual(t, h.Residual, 1.001*c.rtol*rhs)
		require.Less(t, h.Stationarity,
			3*n*u*(ny+k.CrossNorm*floats.Norm(x, 2)+mat.Norm(mat.NewVecDense(c.q, m.LowerA), 2)))
		require.GreaterOrEqual(t, h.SmallestEigenvalue, (1-1e-9)/c.condition)
		require.Positive(t, h.Counts.HVP)
	}
}

func TestImplicitOnIdentityAndRidge(t *testing.T) {
	ex := executor(t)
	m := solvertest.NewQuadratic(3, 4, solvertest.Repeat(30, 0.25))
	e := estimator(t, ex, load(t, ex, m), linear.CG{RTol: 1e-12})
	y, want := m.Exact(ones(4))
	h := e.at(ones(4), y)
	require.InDeltaSlice(t, want, h.Gradient, 1e-12*floats.Norm(want, 2))
	require.InDelta(t, 0.25, h.SmallestEigenvalue, 1e-12)
	require.LessOrEqual(t, h.Counts.HVP, int64(10), "one step solves each system")

	r := solvertest.NewRidge(4, 30, 20, 15)
	e = estimator(t, ex, load(t, ex, r), linear.CG{RTol: 1e-12})
	for _, x := range []float64{-6, -1, 0, 2} {
		y, want := r.Exact([]float64{x})
		h := e.at([]float64{x}, y)
		require.Equal(t, linear.Converged, h.Status)
		require.InDelta(t, want[0], h.Gradient[0], 1e-9*math.Abs(want[0]), "x = %g", x) // condition below 1e3
	}
}

// With a Neumann series the hypergradient is that of the truncated sum, which converges to the exact one.
func TestImplicitByNeumann(t *testing.T) {
	const p, q, eta = 3, 30, 0.9
	m := solvertest.NewQuadratic(7, p, solvertest.Spectrum(q, 10))
	x := ones(p)
	y, want := m.Exact(x)
	b := mat.NewVecDense(q, nil)
	b.MulVec(m.A, mat.NewVecDense(q, m.Adjoint(x, y)))
	last := math.Inf(1)
	for _, terms := range []int{0, 1, 5, 30, 300} {
		ex := executor(t)
		h := estimator(t, ex, load(t, ex, m), linear.Neumann{Step: eta, Terms: terms, RTol: 1e-8}).at(x, y)
		v, power := mat.NewVecDense(q, nil), mat.VecDenseCopyOf(b)
		for range terms + 1 { // Σ (I - ηA)^k b, powers by dense products
			v.AddVec(v, power)
			var ap mat.VecDense
			ap.MulVec(m.A, power)
			power.AddScaledVec(power, -eta, &ap)
		}
		v.ScaleVec(eta, v)
		require.InDeltaSlice(t, m.Direction(x, y, v.RawVector().Data), h.Gradient, 1e-12*(1+mat.Norm(v, 2)),
			"%d terms", terms)
		require.InEpsilon(t, mat.Norm(power, 2), h.Residual, 1e-2)
		err := floats.Distance(want, h.Gradient, 2)
		require.Less(t, err, last)
		require.LessOrEqual(t, err, 10*h.Error)
		require.LessOrEqual(t, h.Error, 100*err+1e-12)
		require.Equal(t, terms == 300, h.Status == linear.Converged)
		last = err
	}
	ex := executor(t)
	h := estimator(t, ex, load(t, ex, m), linear.Neumann{Step: 2.5, Terms: 30}).at(x, y)
	require.Equal(t, linear.Diverged, h.Status)
}

// With damping λ the system is (H + λI) v = ∇yF; the figure still measures the distance to the undamped truth.
func TestImplicitDamped(t *testing.T) {
	const p, q, damping = 3, 30, 0.1
	m := solvertest.NewQuadratic(8, p, solvertest.Spectrum(q, 100))
	x := ones(p)
	y, want := m.Exact(x)
	damped := mat.NewSymDense(q, nil)
	for i := range q {
		for j := range i + 1 {
			damped.SetSym(i, j, m.A.At(i, j))
		}
		damped.SetSym(i, i, m.A.At(i, i)+damping)
	}
	var chol mat.Cholesky
	require.True(t, chol.Factorize(damped))
	var b, v mat.VecDense
	b.MulVec(m.A, mat.NewVecDense(q, m.Adjoint(x, y)))
	require.NoError(t, chol.SolveVecTo(&v, &b))
	ex := executor(t)
	h := estimator(t, ex, load(t, ex, m), linear.CG{RTol: 1e-12, Damping: damping}).at(x, y)
	require.InDeltaSlice(t, m.Direction(x, y, v.RawVector().Data), h.Gradient, 1e-10*mat.Norm(&v, 2))
	require.InEpsilon(t, damping*mat.Norm(&v, 2), h.Residual, 1e-6, "the residual is that of H v = ∇yF")
	require.InEpsilon(t, 0.01, h.SmallestEigenvalue, 1e-2)
	require.InEpsilon(t, floats.Distance(want, h.Gradient, 2), h.Error, 0.5)
}

// A lower Hessian that is not positive definite is told, and nothing is promised.
func TestImplicitIndefinite(t *testing.T) {
	m := solvertest.NewQuadratic(9, 2, solvertest.Spectrum(6, 10))
	for i := range 6 {
		m.A.Set(i, i, m.A.At(i, i)-0.5)
	}
	ex := executor(t)
	h := estimator(t, ex, load(t, ex, m), linear.CG{RTol: 1e-10}).at(ones(2), ones(6))
	require.Equal(t, linear.NegativeCurvature, h.Status)
	require.True(t, math.IsInf(h.Error, 1))
	require.Len(t, h.Gradient, 2)
	for _, g := range h.Gradient {
		require.False(t, math.IsNaN(g))
	}
}

func TestImplicitNotFinite(t *testing.T) {
	m := solvertest.NewQuadratic(9, 2, solvertest.Spectrum(6, 10))
	ex := executor(t)
	e := estimator(t, ex, load(t, ex, m), linear.CG{RTol: 1e-10})
	h := e.at([]float64{1, math.NaN()}, ones(6))
	require.Equal(t, linear.NotFinite, h.Status)
	require.True(t, math.IsInf(h.Error, 1))
	y, want := m.Exact(ones(2))
	require.InDeltaSlice(t, want, e.at(ones(2), y).Gradient, 1e-8, "and the estimator works again")
}

// An upper level that does not see y has ∇h = ∇xF, with an error of rounding only.
func TestImplicitUpperWithoutY(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	p.Upper.Value = problem.Flat(func(x, _ *tensor.Node, _ problem.Batch) *tensor.Node { return tensor.Dot(x, x) })
	for _, y := range []float64{0.2, 5} {
		h := estimator(t, ex, p, linear.CG{RTol: 1e-6}).at([]float64{0.2}, []float64{y})
		require.Equal(t, []float64{0.4}, h.Gradient)
		require.Equal(t, linear.Converged, h.Status)
		require.Less(t, h.Error, 1e-14)
	}
}

// Without the modulus the constants give no bound: the figure is an estimate then.
func TestImplicitKind(t *testing.T) {
	m := solvertest.NewQuadratic(10, 3, solvertest.Spectrum(5, 10))
	mu, constants := m.Structure()
	y, want := m.Exact(ones(3))
	y[0] += 0.3
	for _, c := range []struct {
		mu        float64
		constants *problem.Constants
		kind      hypergrad.Kind
	}{{0, nil, hypergrad.Estimate}, {mu, nil, hypergrad.Estimate}, {0, constants, hypergrad.Estimate},
		{mu, constants, hypergrad.Bound}} {
		ex := executor(t)
		p := load(t, ex, m)
		p.Mu, p.Constants = c.mu, c.constants
		h := estimator(t, ex, p, linear.CG{RTol: 1e-8}).at(ones(3), y)
		require.Equal(t, c.kind, h.Kind)
		err := floats.Distance(want, h.Gradient, 2)
		if c.kind == hypergrad.Bound {
			require.LessOrEqual(t, err, h.Error)
		} else {
			require.InEpsilon(t, err, h.Error, 0.1)
		}
		require.InDelta(t, 0.1, h.SmallestEigenvalue, 1e-3)
	}
}

func TestImplicitRefuses(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	x, y := ex.Variable("x", tensor.Real, 1), ex.Variable("y", tensor.Real, 1)
	_, err := hypergrad.Implicit{}.Prepare(bind(t, ex, p), x, y)
	require.ErrorContains(t, err, "without a solver")
	_, err = hypergrad.Implicit{Solver: linear.CG{RTol: -1}}.Prepare(bind(t, ex, p), x, y)
	require.ErrorContains(t, err, "tolerances -1")
	long := ex.Variable("y", tensor.Real, 3)
	matrix := load(t, ex, solvertest.NewQuadratic(1, 1, solvertest.Spectrum(2, 2)))
	_, err = hypergrad.Implicit{Solver: linear.CG{RTol: 1e-3}}.Prepare(bind(t, ex, matrix), x, long)
	require.ErrorContains(t, err, "MatMul", "a y of the wrong size")
	p.Lower.Set = problem.Box{Lo: 0, Hi: 1}
	_, err = hypergrad.Implicit{Solver: linear.CG{RTol: 1e-3}}.Prepare(bind(t, ex, p), x, y)
	require.ErrorContains(t, err, "keeps y in a set")
}

// Lower ½|y-x|², upper ½s|y|²: the hypergradient at y = x is s·x, whatever the size of s, and its error figure is of
// that size too.
func TestSmallUpperGradients(t *testing.T) {
	for _, dev := range []tensor.Device{ref.New(), cpudevice.New(1)} {
		for _, s := range []float64{1, 1e-12, 1e-24, 1e-30, 1e24} {
			ex := tensor.NewExecutor(dev)
			p := &problem.Problem{Name: "small"}
			p.Lower = problem.Level{Start: problem.Vector(1, 2),
				Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return y.Sub(x).Square().Sum().Scale(0.5)
				})}
			p.Upper = problem.Level{Start: problem.Vector(1, 2),
				Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return tensor.Dot(y, y.Scale(s)).Scale(0.5)
				})}
			m := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-3}}
			h, err := hypergrad.OnExecutor(context.Background(), ex, p, m, p.Upper.Start, p.Lower.Start)
			require.NoError(t, err)
			require.Equal(t, linear.Converged, h.Status, "s = %g", s)
			require.InEpsilonSlice(t, []float64{s, 2 * s}, h.Gradient, 1e-5)
			require.InEpsilon(t, 1, h.Share(), 1e-3)
			require.Less(t, h.Error, 0.01*h.Norm())
			require.NoError(t, ex.Close())
		}
		require.NoError(t, dev.Close())
	}
}
