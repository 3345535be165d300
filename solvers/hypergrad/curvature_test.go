package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// compute is a method's hypergradient at a point.
func compute(t *testing.T, ex *tensor.Executor, p *problem.Problem, m hypergrad.Method,
	x, y []float64) *hypergrad.Hypergradient {
	h, err := hypergrad.OnExecutor(context.Background(), ex, p, m, problem.Vector(x...), problem.Vector(y...))
	require.NoError(t, err)
	return h
}

// exactSolvers solve the system to a tolerance; inexactSolvers leave an error that the figure has to show.
func exactSolvers() map[string]linear.Solver {
	return map[string]linear.Solver{
		"CG":            linear.CG{RTol: 1e-10, MaxSteps: 400},
		"Jacobi CG":     linear.CG{RTol: 1e-10, MaxSteps: 400, Preconditioner: linear.ExactDiagonal{}},
		"Hutchinson CG": linear.CG{RTol: 1e-10, MaxSteps: 400, Preconditioner: linear.Hutchinson{Probes: 20}},
		"MINRES":        linear.MINRES{RTol: 1e-10, MaxSteps: 400},
		"GMRES":         linear.GMRES{RTol: 1e-10, MaxSteps: 400},
		"BiCGSTAB":      linear.BiCGSTAB{RTol: 1e-10, MaxSteps: 400},
		"dense":         linear.Dense{},
		"to bias":       linear.NeumannToBias{Bias: 1e-9, Mu: cleaningDecay},
	}
}

func inexactSolvers() map[string]linear.Solver {
	return map[string]linear.Solver{
		"identity":       linear.ScaledIdentity{Gamma: 0.3},
		"random Neumann": linear.RandomNeumann{Step: 1, Terms: 8},
		"Nystrom":        linear.Nystrom{Rank: 4, Rho: 0.1},
		"WoodFisher":     linear.WoodFisher{Damping: cleaningDecay},
		"one-shot":       linear.WoodFisher{Damping: cleaningDecay, Form: linear.OneShot},
		"SGD":            linear.SGD{Step: 0.5, Steps: 50, Batch: 4},
		"normal SGD":     linear.SGD{Step: 0.5, Steps: 50, Batch: 4, Normal: true},
	}
}

const cleaningDecay = 0.1

// weighted is Cleaning's problem as a Composite whose outer function is the weighted loss of its rows, so that the
// gradients of single rows exist. Rows of data come from the level, in place of tables.
func weighted(seed uint64) *problem.Problem {
	const rows, inputs, classes = 14, 3, 3
	in, held := direction(rows*inputs, uint32(seed)), direction(8*inputs, uint32(seed)+1)
	floats.Scale(6, in)
	floats.Scale(5, held)
	labels := func(n int) problem.Array {
		l := make([]int32, n)
		for i := range l {
			l[i] = int32((i*i + i/3) % classes)
		}
		return problem.Ints(l)
	}
	outputs := func(_, y problem.Vars, b problem.Batch) *tensor.Node {
		return b.Get("in").MatMul(y.Flat().Reshape(inputs, classes))
	}
	return &problem.Problem{
		Name: "weighted",
		Lower: problem.Level{
			Start: problem.Vector(make([]float64, inputs*classes)...),
			Rows:  problem.Rows{"in": problem.Reals(in, inputs), "label": labels(rows), "row": counted(rows)},
			Composite: &problem.Composite{
				Outputs: outputs,
				Outer: func(z *tensor.Node, x problem.Vars, b problem.Batch) *tensor.Node {
					w := tensor.Gather(x.Flat(), b.Get("row")).Sigmoid()
					return tensor.CrossEntropy(z, b.Get("label")).Mul(w).Mean()
				},
				Rest: func(_, y problem.Vars, _ problem.Batch) *tensor.Node {
					return models.SquaredNorm(y.Flat()).Scale(cleaningDecay / 2)
				},
			},
		},
		Upper: problem.Level{
			Start: problem.Vector(direction(rows, uint32(seed)+2)...),
			Rows:  problem.Rows{"in": problem.Reals(held, inputs), "label": labels(8)},
			Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
				return tensor.CrossEntropy(outputs(x, y, b), b.Get("label")).Mean()
			},
		},
	}
}

func counted(n int) problem.Array {
	c := make([]int32, n)
	for i := range c {
		c[i] = int32(i)
	}
	return problem.Ints(c)
}

// minimizer is the lower minimizer at the start value of x.
func minimizer(t *testing.T, ex *tensor.Executor, p *problem.Problem) []float64 {
	b := bind(t, ex, p)
	x := ex.Variable("x", tensor.Real, p.Upper.Start.Size())
	require.NoError(t, x.Write(p.Upper.Start.Flat))
	m, err := minimize.Newton{Tol: 1e-14, MaxSteps: 100, Forcing: 1e-6}.Prepare(ex, func(y *tensor.Node) *tensor.Node {
		return b.Oracle().At(problem.Lower, x.Node(), y, b.All(problem.Lower), params.TrainFrozen, nil).Value()
	}, p.Lower.Start.Size())
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Y().Write(p.Lower.Start.Flat))
	_, err = m.Run(context.Background())
	require.NoError(t, err)
	y, err := m.Y().Read()
	require.NoError(t, err)
	return y
}

// The solvers to a tolerance agree on the hypergradient, whole and in pieces; of the others the error figure is at
// least the error and not much more.
func TestEverySolverEndToEnd(t *testing.T) {
	ex := executor(t)
	p := weighted(40)
	x, y := p.Upper.Start.Flat, minimizer(t, ex, p)
	want := compute(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-13, MaxSteps: 500}}, x, y)
	require.Equal(t, linear.Converged, want.Status)
	for name, s := range exactSolvers() {
		for _, rows := range []int{0, 4} {
			h := compute(t, ex, p, hypergrad.Implicit{Solver: s, Rows: rows}, x, y)
			require.Equal(t, linear.Converged, h.Status, name)
			err := floats.Distance(want.Gradient, h.Gradient, 2)
			require.LessOrEqual(t, err, 1e-8*want.Norm(), name)
			require.LessOrEqual(t, err, h.Error, name)
			require.Positive(t, h.Counts.HVP, name)
			require.GreaterOrEqual(t, h.SmallestEigenvalue, cleaningDecay*(1-1e-9), name)
		}
	}
	for name, s := range inexactSolvers() {
		h := compute(t, ex, p, hypergrad.Implicit{Solver: s}, x, y)
		err := floats.Distance(want.Gradient, h.Gradient, 2)
		require.NotEqual(t, linear.Converged, h.Status, name)
		require.Greater(t, err, 1e-6*want.Norm(), "%s: there must be an error to be shown", name)
		require.LessOrEqual(t, err, h.Error, "%s: the figure is honest", name)
		require.LessOrEqual(t, h.Error, 10*err, "%s: and of its size", name)
		require.Contains(t, h.Advice(), "The linear system", name)
		require.GreaterOrEqual(t, h.SmallestEigenvalue, cleaningDecay*(1-1e-9), "%s: by the figure's solves", name)
	}
	fisher := compute(t, ex, p, hypergrad.Implicit{Solver: linear.WoodFisher{Damping: 1}}, x, y).Counts
	plain := want.Counts
	require.EqualValues(t, plain.LowerGradients+14, fisher.LowerGradients, "a gradient a row")
	require.EqualValues(t, 14, fisher.Samples)
	sgd := compute(t, ex, p, hypergrad.Implicit{Solver: linear.SGD{Step: 0.5, Steps: 7, Batch: 4}}, x, y).Counts
	require.EqualValues(t, 7*4, sgd.Samples)
}

// The gradients of single rows make the empirical Fisher matrix of the data's part, by an independent formula: for
// softmax and cross-entropy, the gradient of row i is (w_i input_i) ⊗ (probabilities - one-hot).
func TestWoodFisherOfRows(t *testing.T) {
	ex := executor(t)
	p := weighted(41)
	const rows, inputs, classes, damping = 14, 3, 3, 0.1
	x, y := p.Upper.Start.Flat, minimizer(t, ex, p)
	in, label := direction(rows*inputs, 41), func(i int) int { return (i*i + i/3) % classes }
	floats.Scale(6, in)
	f := mat.NewSymDense(inputs*classes, nil)
	for i := range rows {
		z, top := make([]float64, classes), 0.0
		for c := range classes {
			for k := range inputs {
				z[c] += in[i*inputs+k] * y[k*classes+c]
			}
		}
		for c := range z {
			z[c] = math.Exp(z[c])
			top += z[c]
		}
		g := mat.NewVecDense(inputs*classes, nil)
		for c := range classes {
			r := z[c] / top
			if c == label(i) {
				r--
			}
			for k := range inputs {
				g.SetVec(k*classes+c, in[i*inputs+k]*r/(1+math.Exp(-x[i])))
			}
		}
		f.SymRankOne(f, 1.0/rows, g)
	}
	for i := range inputs * classes {
		f.SetSym(i, i, f.At(i, i)+damping)
	}
	var chol mat.Cholesky
	require.True(t, chol.Factorize(f))
	at := func(s linear.Solver) *hypergrad.Hypergradient {
		return compute(t, ex, p, hypergrad.Implicit{Solver: s}, x, y)
	}
	b, cross := responses(t, ex, p, x, y)
	var v, g mat.VecDense
	require.NoError(t, chol.SolveVecTo(&v, mat.NewVecDense(len(b), b)))
	g.MulVec(cross, &v) // ∇xF = 0 here
	g.ScaleVec(-1, &g)
	for _, form := range []linear.FisherForm{linear.Vectors, linear.Full} {
		h := at(linear.WoodFisher{Damping: damping, Form: form})
		require.InDeltaSlice(t, g.RawVector().Data, h.Gradient, 1e-11)
	}
}

// responses are ∇yF and C [p, q] at a point, by unit vectors.
func responses(t *testing.T, ex *tensor.Executor, p *problem.Problem, x, y []float64) ([]float64, *mat.Dense) {
	b := bind(t, ex, p)
	xv, yv := ex.Variable("x", tensor.Real, len(x)), ex.Variable("y", tensor.Real, len(y))
	v, c, f := ex.Variable("v", tensor.Real, len(y)), ex.Variable("c", tensor.Real, len(x)),
		ex.Variable("f", tensor.Real, len(y))
	require.NoError(t, xv.Write(x))
	require.NoError(t, yv.Write(y))
	program, err := ex.Compile("responses", func() []tensor.Update {
		at := func(s problem.Side) *problem.Point {
			return b.Oracle().At(s, xv.Node(), yv.Node(), b.All(s), params.TrainFrozen, nil)
		}
		return []tensor.Update{{Var: c, Value: at(problem.Lower).Cross(v.Node())},
			{Var: f, Value: at(problem.Upper).GradY()}}
	})
	require.NoError(t, err)
	out := mat.NewDense(len(x), len(y), nil)
	for j := range y {
		e := make([]float64, len(y))
		e[j] = 1
		require.NoError(t, v.Write(e))
		require.NoError(t, program.Run(1))
		column, err := c.Read()
		require.NoError(t, err)
		out.SetCol(j, column)
	}
	slope, err := f.Read()
	require.NoError(t, err)
	return slope, out
}

// A diagonal by the caller and pairs by the lower solve reach the solvers.
func TestImplicitWithDiagonalAndPairs(t *testing.T) {
	ex := executor(t)
	p := weighted(42)
	x, y := p.Upper.Start.Flat, minimizer(t, ex, p)
	want := compute(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-13, MaxSteps: 500}}, x, y)
	h := compute(t, ex, p, hypergrad.Implicit{
		Solver:   linear.CG{RTol: 1e-12, MaxSteps: 500, Preconditioner: linear.Given{}},
		Diagonal: func(x, y *tensor.Node) *tensor.Node { return y.Square().AddConst(1) },
	}, x, y)
	require.InDeltaSlice(t, want.Gradient, h.Gradient, 1e-10)

	b := bind(t, ex, p)
	xv := ex.Variable("x", tensor.Real, len(x))
	require.NoError(t, xv.Write(x))
	m, err := minimize.LBFGS{Tol: 1e-10, MaxSteps: 200, Memory: 30}.Prepare(ex, func(y *tensor.Node) *tensor.Node {
		return b.Oracle().At(problem.Lower, xv.Node(), y, b.All(problem.Lower), params.TrainFrozen, nil).Value()
	}, len(y))
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.Y().Write(p.Lower.Start.Flat))
	got, err := m.Run(context.Background())
	require.NoError(t, err)
	require.True(t, got.Status.Good())
	for _, s := range []linear.Solver{linear.LBFGSInverse{}, linear.LBFGSInverse{Refine: 30, RTol: 1e-12,
		Fallback: 50}} {
		h := compute(t, ex, p, hypergrad.Implicit{Solver: s, Pairs: m.Pairs()}, x, y)
		require.LessOrEqual(t, floats.Distance(want.Gradient, h.Gradient, 2), h.Error, "%s", s)
		require.Less(t, h.Error, 0.5*want.Norm(), "%s", s)
	}
}

// A network with ReLU has an indefinite Hessian here: CG meets negative curvature, with Gauss-Newton products it
// converges. The figure promises nothing, because it looks at the Hessian.
func TestGaussNewtonWhereTheHessianIsIndefinite(t *testing.T) {
	const rows, inputs, hidden = 6, 2, 3
	ex := executor(t)
	size := hidden*inputs + hidden
	in, target := direction(rows*inputs, 50), direction(rows, 51)
	floats.Scale(3, in)
	floats.Scale(6, target)
	p := &problem.Problem{
		Name: "relu",
		Lower: problem.Level{
			Start: problem.Vector(direction(size, 52)...),
			Rows:  problem.Rows{"in": problem.Reals(in, inputs), "target": problem.Reals(target)},
			Composite: &problem.Composite{
				Outputs: func(_, y problem.Vars, b problem.Batch) *tensor.Node {
					w := y.Flat().Slice(0, 0, hidden*inputs).Reshape(inputs, hidden)
					v := y.Flat().Slice(0, hidden*inputs, size).Reshape(hidden, 1)
					return b.Get("in").MatMul(w).Relu().MatMul(v)
				},
				Outer: func(z *tensor.Node, x problem.Vars, b problem.Batch) *tensor.Node {
					return z.Reshape(b.Rows).Sub(b.Get("target")).Square().Mean().Scale(0.5)
				},
				Rest: func(x, y problem.Vars, _ problem.Batch) *tensor.Node {
					return models.SquaredNorm(y.Flat()).Mul(x.Flat().Exp().Sum()).Scale(0.5)
				},
			},
		},
		Upper: problem.Level{Start: problem.Vector(-3), Value: problem.Flat(
			func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Square().Sum().Add(y.Sum()) })},
	}
	at := func(m hypergrad.Implicit) *hypergrad.Hypergradient {
		return compute(t, ex, p, m, p.Upper.Start.Flat, p.Lower.Start.Flat)
	}
	h := at(hypergrad.Implicit{Solver: linear.CG{RTol: 1e-10}})
	require.Equal(t, linear.NegativeCurvature, h.Status)
	for _, s := range []linear.Solver{linear.CG{RTol: 1e-10}, linear.Dense{}} {
		for _, rows := range []int{0, 4} {
			h = at(hypergrad.Implicit{Solver: s, GaussNewton: true, Rows: rows})
			require.Equal(t, linear.Converged, h.Status, "%s", s)
			require.True(t, math.IsInf(h.Error, 1), "the figure's solves have seen the Hessian")
			require.Greater(t, h.SmallestEigenvalue, 1.1*math.Exp(-3),
				"that of the Gauss-Newton matrix, of rank 6, is not H's")
		}
	}
	damped := at(hypergrad.Implicit{Solver: linear.CG{RTol: 1e-10, MaxRaises: 10}})
	require.Equal(t, linear.Converged, damped.Status, "or with a damping that is raised")

	// Where the model is linear both matrices are the same.
	q := weighted(43)
	x, y := q.Upper.Start.Flat, minimizer(t, ex, q)
	hessian := compute(t, ex, q, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-12}}, x, y)
	newton := compute(t, ex, q, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-12}, GaussNewton: true}, x, y)
	require.InDeltaSlice(t, hessian.Gradient, newton.Gradient, 1e-10)
	require.Equal(t, hessian.Counts, newton.Counts)
}

// Differences are exact on quadratics but for rounding, u/ε relative to the gradients that are subtracted; elsewhere
// their error is inside the figure. Each product is two gradients.
func TestDifferencesOfGradients(t *testing.T) {
	for _, dev := range []tensor.Device{nil, cpudevice.New(2)} {
		ex := executor(t)
		if dev != nil {
			ex = tensortest.Executor(t, dev)
		}
		u := ex.Info().UnitRoundoff()
		m := solvertest.NewQuadratic(44, 5, solvertest.Spectrum(8, 5))
		p := load(t, ex, m)
		x := ones(5)
		y, want := m.Exact(x)
		s := linear.CG{RTol: math.Cbrt(u), MaxSteps: 8, FromZero: true}
		h := compute(t, ex, p, hypergrad.Implicit{Solver: s, Differences: true}, x, y)
		plain := compute(t, ex, p, hypergrad.Implicit{Solver: s}, x, y)
		// ∇G is near 0 at y*, and near |H|ε|v| = |H|max(1,|y|) u^(1/3) at the ends: each is off by u times the sizes of
		// the terms of its sums, |H||y| + |C||x| + |a|; the quotient divides by ε|v|.
		sizes := mat.Norm(m.A, 2)*floats.Norm(y, 2) + mat.Norm(m.C, 2)*floats.Norm(x, 2) + floats.Norm(m.LowerA, 2)
		relative := 20 * u * sizes / (math.Cbrt(u) * max(1, floats.Norm(y, 2)))
		nv := floats.Norm(m.Adjoint(x, y), 2)
		_, k := m.Structure()
		amplify := 1 + k.CrossNorm*5 // what an error of H v, relative to |v|, does to v, and that to C v
		require.InDeltaSlice(t, plain.Gradient, h.Gradient, amplify*relative*nv*5+2*math.Cbrt(u)*amplify*nv)
		require.LessOrEqual(t, floats.Distance(want, h.Gradient, 2), h.Error)
		exact := compute(t, ex, p, hypergrad.Implicit{Solver: linear.ScaledIdentity{}}, x, y)
		alone := compute(t, ex, p, hypergrad.Implicit{Solver: linear.ScaledIdentity{}, Differences: true}, x, y)
		nb := floats.Norm(m.Adjoint(x, y), 2) // |v| = |∇yF| = |H v*| <= |v*| here
		require.InDeltaSlice(t, exact.Gradient, alone.Gradient, relative*nb, "C v without a solve")
		require.Greater(t, h.Counts.LowerGradients, plain.Counts.LowerGradients+2)
		require.Less(t, h.Counts.Plus(h.ForError, -1).HVP, int64(1), "no product with H but for the figure")
	}
	ex := executor(t)
	p := weighted(45)
	x, y := p.Upper.Start.Flat, minimizer(t, ex, p)
	want := compute(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-13, MaxSteps: 300}}, x, y)
	for _, rows := range []int{0, 5} {
		h := compute(t, ex, p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-8}, Differences: true, Rows: rows}, x, y)
		require.Equal(t, linear.Converged, h.Status)
		err := floats.Distance(want.Gradient, h.Gradient, 2)
		require.LessOrEqual(t, err, h.Error)
		require.Less(t, err, 1e-7*want.Norm())
	}
}

// Where the solver is exact without a step and the point is the minimizer, no solve learns an eigenvalue; the figure is
// finite all the same.
func TestFigureWithoutEigenvalues(t *testing.T) {
	ex := executor(t)
	h := compute(t, ex, load(t, ex, solvertest.Scalar{}), hypergrad.Implicit{Solver: linear.ScaledIdentity{}},
		[]float64{0.25}, []float64{0.25})
	require.Equal(t, linear.Converged, h.Status)
	require.Equal(t, []float64{-0.5}, h.Gradient)
	require.True(t, math.IsNaN(h.SmallestEigenvalue))
	require.Less(t, h.Error, 1e-14)
}

func TestImplicitRefusesCurvature(t *testing.T) {
	ex := executor(t)
	quadratic, rows := load(t, ex, solvertest.NewQuadratic(46, 2, solvertest.Spectrum(3, 2))), weighted(47)
	for _, c := range []struct {
		p    *problem.Problem
		m    hypergrad.Implicit
		text string
	}{
		{quadratic, hypergrad.Implicit{Solver: linear.CG{}, GaussNewton: true}, "is no Composite"},
		{rows, hypergrad.Implicit{Solver: linear.CG{}, GaussNewton: true, Differences: true}, "at most one of them"},
		{quadratic, hypergrad.Implicit{Solver: linear.WoodFisher{Damping: 1}}, "wants Matrix.Gradients"},
		{rows, hypergrad.Implicit{Solver: linear.LBFGSInverse{}}, "wants Matrix.Pairs"},
		{rows, hypergrad.Implicit{Solver: linear.NeumannToBias{Bias: 1}}, "set Mu"},
		{rows, hypergrad.Implicit{Solver: linear.CG{Preconditioner: linear.Given{}}}, "wants Matrix.Diagonal"},
		{quadratic, hypergrad.Implicit{Solver: linear.SGD{Step: 1, Steps: 1, Batch: 2}}, "Matrix.Sampled"},
	} {
		_, err := hypergrad.OnExecutor(context.Background(), ex, c.p, c.m, c.p.Upper.Start, c.p.Lower.Start)
		require.ErrorContains(t, err, c.text)
	}
}
