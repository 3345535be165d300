package hypergrad_test

import (
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

var exactCG = hypergrad.KKT{Solver: linear.CG{RTol: 1e-13, MaxSteps: 400}}

// Problem Q5 away from its kinks, where the answer is x/4 + M(y - t) with the mask M of what lies inside: every number
// is a sum of two, so that a few units of round-off remain. H is the identity, so that one Neumann term of step 1 does
// what conjugate gradients do, as in fast adversarial training.
func TestKKTInBox(t *testing.T) {
	m := solvertest.NewClipped(1, 6)
	x := []float64{1.5, -0.5, -1.5, 0.5, 0.999, -1.001}
	y, want := m.Exact(x)
	for _, s := range []linear.Solver{linear.CG{RTol: 1e-14}, linear.Neumann{Step: 1, Terms: 0, RTol: 1e-14},
		linear.ScaledIdentity{Gamma: 1, RTol: 1e-14}} {
		ex := executor(t)
		h := pointOf(t, ex, load(t, ex, m), hypergrad.KKT{Solver: s}).at(x, y)
		require.InDeltaSlice(t, want, h.Gradient, 1e-15*(1+floats.Norm(want, 2)))
		require.Equal(t, linear.Converged, h.Status)
		require.Empty(t, h.Notes)
		require.Equal(t, hypergrad.MeasureProjected, h.Measure)
		require.Zero(t, h.Stationarity)
		require.Less(t, h.Error, 1e-14)
		require.Less(t, h.Residual, 1e-15, "of the whole system, held coordinates too")
		main := h.Counts.Plus(h.ForError, -1)
		main.HVP = 0
		require.Equal(t, problem.Counts{LowerGradients: 2, UpperGradients: 1, JVP: 1}, main,
			"the table of methods says so")
		if _, one := s.(linear.Neumann); one { // one product for its residual, and five of the method
			require.EqualValues(t, 1+5, h.Counts.HVP-h.ForError.HVP)
		}
		require.InDelta(t, math.Sqrt(square(y[1]-m.T[1])+square(y[3]-m.T[3])+square(y[4]-m.T[4])), h.Implicit, 1e-14)
	}
}

func square(v float64) float64 { return v * v }

// At a kink of Q5, x_i = Hi, h has one-sided derivatives that differ. The answer is that from inside, and a note says
// which constraint is weakly active.
func TestKKTAtKink(t *testing.T) {
	m := solvertest.NewClipped(1, 3)
	x := []float64{1, 0.3, -1}
	y, inside := m.Exact(x)
	ex := executor(t)
	h := pointOf(t, ex, load(t, ex, m), exactCG).at(x, y)
	require.InDeltaSlice(t, inside, h.Gradient, 1e-15)
	require.Len(t, h.Notes, 1)
	require.Contains(t, h.Notes[0], "Weakly active: the upper bound of y[0], the lower bound of y[2].")
	require.Contains(t, h.Notes[0], "one-sided derivatives only")
	_, outside := m.Exact([]float64{1 + 1e-9, 0.3, -1 - 1e-9})
	require.Greater(t, math.Abs(outside[0]-inside[0]), 0.1, "the other side is another derivative")
}

// Problem Q6: dy*/du = (diag(s) - ssᵀ/|s|)/γ with s the mask of the positive shares.
func TestKKTInSimplex(t *testing.T) {
	for n := 1; n <= 9; n += 2 {
		m := solvertest.NewShares(uint64(n), n)
		ex := executor(t)
		p := load(t, ex, m)
		x := p.Upper.Start.Flat
		y, want := m.Exact(x)
		e := pointOf(t, ex, p, exactCG)
		h := e.at(x, y)
		require.Equal(t, linear.Converged, h.Status)
		require.InDeltaSlice(t, want, h.Gradient, 1e-14*(1+floats.Norm(want, 2)), "%d shares", n)
		require.Empty(t, h.Notes)
		require.Less(t, h.Stationarity, 1e-12, "the projection by bisection")
		require.Less(t, h.Residual, 1e-14)
		require.Less(t, h.Error, 1e-13)
		if n >= 5 {
			zeros := 0
			for _, v := range y {
				if v == 0 {
					zeros++
				}
			}
			require.Positive(t, zeros, "some shares must be held for this to mean something")
			require.Greater(t, n-zeros, 1)
			require.InDelta(t, m.Gamma, h.SmallestEigenvalue, 1e-12)
		}
	}
}

// Problem Q7 against its exact answer in 160 bits, a dense solve of the optimality conditions, and the Schur form
// v = H⁻¹b - H⁻¹Eᵀ(E H⁻¹Eᵀ)⁻¹E H⁻¹b. The residual of 1e-13 is amplified by 1/μ = 50.
func TestKKTWithEquations(t *testing.T) {
	const p, q, n = 3, 6, 2
	m := solvertest.NewEquality(4, p, n, solvertest.Spectrum(q, 50))
	x := []float64{1, -0.5, 0.3}
	y, want := m.Exact(x)
	ex := executor(t)
	e := pointOf(t, ex, load(t, ex, m), exactCG)
	h := e.at(x, y)
	tolerance := 50 * 1e-12 * (1 + floats.Norm(want, 2))
	require.InDeltaSlice(t, want, h.Gradient, tolerance)
	require.Equal(t, hypergrad.MeasureMultipliers, h.Measure)
	require.Less(t, h.Stationarity, 1e-13)
	require.Less(t, h.Error, tolerance)

	// ∇yF = By + Kᵀx + f.
	var b, kx mat.VecDense
	b.MulVec(m.Free.B, mat.NewVecDense(q, y))
	kx.MulVec(m.Free.K.T(), mat.NewVecDense(p, x))
	b.AddVec(&b, &kx)
	b.AddVec(&b, mat.NewVecDense(q, m.Free.F))
	kkt := mat.NewDense(q+n, q+n, nil)
	kkt.Slice(0, q, 0, q).(*mat.Dense).Copy(m.Free.A)
	kkt.Slice(q, q+n, 0, q).(*mat.Dense).Copy(m.Rows)
	kkt.Slice(0, q, q, q+n).(*mat.Dense).Copy(m.Rows.T())
	var z mat.VecDense
	require.NoError(t, z.SolveVec(kkt, mat.NewVecDense(q+n, append(slices.Clone(b.RawVector().Data), 0, 0))))
	v, w := z.RawVector().Data[:q], mat.NewVecDense(n, z.RawVector().Data[q:])
	direct := mat.NewVecDense(p, m.Free.Direction(x, y, v)) // ∇xF - C v
	var moved mat.VecDense
	moved.MulVec(m.Moves.T(), w)
	direct.AddVec(direct, &moved)
	require.InDeltaSlice(t, direct.RawVector().Data, h.Gradient, tolerance)

	var inverse, half, schur, right mat.Dense
	require.NoError(t, inverse.Inverse(m.Free.A))
	half.Mul(&inverse, m.Rows.T())
	schur.Mul(m.Rows, &half)
	var free, eb, s, back mat.VecDense
	free.MulVec(&inverse, &b)
	eb.MulVec(m.Rows, &free)
	require.NoError(t, s.SolveVec(&schur, &eb))
	back.MulVec(&half, &s)
	free.SubVec(&free, &back)
	right.Mul(m.Rows, &free)
	require.InDeltaSlice(t, v, free.RawVector().Data, 1e-12*(1+floats.Norm(v, 2)), "the forms agree with each other")
	require.Less(t, mat.Norm(&right, 2), 1e-13)

	// Away from y*, off the equations too: all is linear, so that the first order is all of the error.
	off := slices.Clone(y)
	off[2] += 0.2
	h = e.at(x, off)
	checkFigure(t, floats.Distance(h.Gradient, want, 2), h)
	require.Greater(t, h.Error, 1e-2)
	require.Greater(t, h.Stationarity, 1e-2)
}

// Equations as a set, which does not see x: with D = 0 the function form must say the same, and so must the parts of
// a product in which the set holds one named variable.
func TestKKTInAffineSet(t *testing.T) {
	const p, q, n = 3, 6, 2
	m := solvertest.NewEquality(4, p, n, solvertest.Spectrum(q, 50))
	m.Moves.Zero()
	x := []float64{1, -0.5, 0.3}
	y, want := m.Exact(x)
	ex := executor(t)
	whole := load(t, ex, m)
	set, err := problem.NewAffine(m.Rows, m.Target)
	require.NoError(t, err)
	whole.Lower.Equality, whole.Lower.Set = nil, set
	whole.Lower.Start = problem.Vector(y...)
	h := pointOf(t, ex, whole, exactCG).at(x, y)
	require.InDeltaSlice(t, want, h.Gradient, 50*1e-12*(1+floats.Norm(want, 2)))
	require.Equal(t, hypergrad.MeasureProjected, h.Measure)
	require.Less(t, h.Stationarity, 1e-13)
}

// A ball, met and not met: with d = x - c, y* = c + r d/|d| and dy*/dx = r/|d| (I - ddᵀ/|d|²) outside, x and I inside.
func TestKKTInBall(t *testing.T) {
	const n, radius = 4, 0.75
	center, target := []float64{0.5, -1, 2, 0.1}, []float64{1, 0, -1, 0.4}
	for _, c := range []struct {
		center []float64
		size   float64 // |x - c|
	}{{center, 2}, {center, 0.4}, {nil, 1.3}} {
		ex := executor(t)
		d := []float64{1, 2, -0.5, 0.7}
		floats.Scale(c.size/floats.Norm(d, 2), d)
		origin := c.center
		if origin == nil {
			origin = make([]float64, n)
		}
		x, y := slices.Clone(origin), slices.Clone(origin)
		floats.Add(x, d)
		floats.AddScaled(y, min(1, radius/c.size), d)
		p := &problem.Problem{
			Name: "ball",
			Lower: problem.Level{Start: problem.Vector(y...), Set: problem.Ball{Radius: radius, Center: c.center},
				Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return y.Sub(x).Square().Sum().Scale(0.5)
				})},
			Upper: problem.Level{Start: problem.Vector(x...),
				Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return y.Sub(vectorNode(t, ex, target)).Square().Sum().Scale(0.5)
				})},
		}
		want := slices.Clone(y)
		floats.Sub(want, target)
		if c.size > radius {
			floats.AddScaled(want, -floats.Dot(want, d)/square(c.size), d)
			floats.Scale(radius/c.size, want)
		}
		h := pointOf(t, ex, p, exactCG).at(x, y)
		require.InDeltaSlice(t, want, h.Gradient, 1e-13*(1+floats.Norm(want, 2)), "%+v", c)
		require.Equal(t, linear.Converged, h.Status)
		require.Empty(t, h.Notes)
		require.Less(t, h.Stationarity, 1e-14)
		require.InDelta(t, max(1, c.size/radius), h.SmallestEigenvalue, 1e-12, "the sphere adds its multiplier over r")
	}
}

// The measure of a set is |y - P(y - ∇yG)|, whatever the active set: from equal shares of two with the gradient
// (-4.5, 5.5) the projected step ends at (1, 0).
func TestKKTMeasuresProjectedSteps(t *testing.T) {
	m := solvertest.NewShares(1, 2)
	m.Gamma = 1
	ex := executor(t)
	h := pointOf(t, ex, load(t, ex, m), exactCG).at([]float64{5, -5}, []float64{0.5, 0.5})
	require.InDelta(t, math.Sqrt(0.5), h.Stationarity, 1e-12)
}

func vectorNode(t *testing.T, ex *tensor.Executor, values []float64) *tensor.Node {
	v := ex.Variable("vector", tensor.Real, len(values))
	require.NoError(t, v.Write(values))
	return v.Node()
}

// In float32 at y* rounded to float32: Q6, whose numbers are sums of n terms of size 1, and Q7, whose condition of 10
// amplifies what the rounding of y, and of the rows and right-hand sides, leaves.
func TestKKTNarrow(t *testing.T) {
	const u = 0x1p-24
	ex := tensortest.Executor(t, cpudevice.New(1))
	shares := solvertest.NewShares(5, 7)
	p := load(t, ex, shares)
	x := p.Upper.Start.Flat
	y, want := shares.Exact(x)
	narrow := hypergrad.KKT{Solver: linear.CG{RTol: 1e-6}}
	h := pointOf(t, ex, p, narrow).at(x, y)
	require.Empty(t, h.Notes)
	require.InDeltaSlice(t, want, h.Gradient, (1e-6+4*7*u)*(1+floats.Norm(want, 2))/shares.Gamma)
	require.LessOrEqual(t, floats.Distance(want, h.Gradient, 2), 10*h.Error)

	const condition = 10
	m := solvertest.NewEquality(6, 3, 2, solvertest.Spectrum(6, condition))
	x = []float64{1, -0.5, 0.25}
	y, want = m.Exact(x)
	h = pointOf(t, ex, load(t, ex, m), narrow).at(x, y)
	require.Equal(t, linear.Converged, h.Status)
	require.Empty(t, h.Notes)
	_, constants := m.Free.Structure()
	amplify := condition * (1 + constants.CrossNorm) * (1 + constants.GradYF)
	require.InDeltaSlice(t, want, h.Gradient, amplify*(1e-6+4*6*u)*(1+floats.Norm(want, 2)))
	require.LessOrEqual(t, floats.Distance(want, h.Gradient, 2), 10*h.Error)
}

// Several named variables, each in a set of its own: a box, a simplex, a ball and one that is free, joined by a dense
// H. The lower level is solved by projected gradient steps in plain Go; the derivative is held against central
// differences of it.
func TestKKTInProduct(t *testing.T) {
	const p, q = 2, 11
	ex := executor(t)
	r := philox.New(11, 0, philox.StreamTest)
	a := mat.NewDense(q, q, nil)
	bm := mat.NewDense(q, p, nil)
	for i := range q {
		for j := range q {
			a.Set(i, j, 0.25*float64(r.Normal()))
		}
		for j := range p {
			bm.Set(i, j, float64(r.Normal()))
		}
	}
	var hessian mat.Dense
	hessian.Mul(a, a.T())
	for i := range q {
		hessian.Set(i, i, 1+hessian.At(i, i))
	}
	ht, bt := table(t, ex, &hessian), table(t, ex, bm)
	target := make([]float64, q)
	for i := range target {
		target[i] = float64(r.Normal())
	}
	tt := vectorNode(t, ex, target)
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0]) }
	start := problem.Values{}.And("box", 0, 0, 0).And("share", 0.5, 0.25, 0.25).And("ball", 0, 0, 0).And("free", 0, 0)
	prob := &problem.Problem{
		Name: "product",
		Lower: problem.Level{Start: start,
			Set: problem.Sets{"box": problem.Box{Lo: -0.1, Hi: 0.4}, "share": problem.Simplex{Total: 1},
				"ball": problem.Ball{Radius: 0.3}},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(y, times(ht, y)).Scale(0.5).Sub(tensor.Dot(y, times(bt, x)))
			})},
		Upper: problem.Level{Start: problem.Vector(1.3, -0.8),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(tt).Square().Sum().Scale(0.5)
			})},
	}
	project := func(y []float64) {
		for i := range 3 {
			y[i] = min(max(y[i], -0.1), 0.4)
		}
		sorted := slices.Clone(y[3:6])
		slices.Sort(sorted)
		sum, tau := 0.0, 0.0
		for i, v := range slices.Backward(sorted) {
			sum += v
			if s := (sum - 1) / float64(3-i); v > s {
				tau = s
			}
		}
		for i := 3; i < 6; i++ {
			y[i] = max(0, y[i]-tau)
		}
		if n := floats.Norm(y[6:9], 2); n > 0.3 {
			floats.Scale(0.3/n, y[6:9])
		}
	}
	solve := func(x []float64) []float64 {
		y := slices.Clone(start.Flat)
		step := 1 / mat.Norm(&hessian, 2)
		for range 3000 {
			for i, row := range projectedSlope(&hessian, bm, x, y) {
				y[i] -= step * row
			}
			project(y)
		}
		return y
	}
	value := func(x []float64) float64 { return 0.5 * square(floats.Distance(solve(x), target, 2)) }
	x := prob.Upper.Start.Flat
	y := solve(x)
	require.True(t, slices.ContainsFunc(y[:3], func(v float64) bool { return v == -0.1 || v == 0.4 }))
	require.Contains(t, y[3:6], 0.0)
	require.InDelta(t, 0.3, floats.Norm(y[6:9], 2), 1e-15, "each set holds y: %v", y)
	h := pointOf(t, ex, prob, exactCG).at(x, y)
	require.Empty(t, h.Notes)
	require.Less(t, h.Stationarity, 1e-12)
	for i := range x {
		const step = 1e-5
		at := func(s float64) float64 {
			moved := slices.Clone(x)
			moved[i] += s
			return value(moved)
		}
		require.InDelta(t, (at(step)-at(-step))/(2*step), h.Gradient[i], 1e-8*(1+h.Norm()))
	}
	require.Greater(t, h.Implicit, 0.1)
}

// projectedSlope is Hy - Bx.
func projectedSlope(h, b *mat.Dense, x, y []float64) []float64 {
	out := make([]float64, len(y))
	for i := range out {
		out[i] = floats.Dot(h.RawRowView(i), y) - floats.Dot(b.RawRowView(i), x)
	}
	return out
}

func TestKKTRefuses(t *testing.T) {
	ex := executor(t)
	cg := linear.CG{RTol: 1e-6}
	p := load(t, ex, solvertest.NewClipped(1, 3))
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.Implicit{Solver: cg}),
		"(KKT differentiates the optimality conditions with multipliers)")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{}), "set the field Solver")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg, Tolerance: 2}), "Tolerance is 2")
	require.ErrorContains(t, prepareError(t, ex, load(t, ex, solvertest.Scalar{}), hypergrad.KKT{Solver: cg}),
		"has no set and no constraints: use Implicit")
	p.Lower.Set = silent{}
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg}),
		"the silent set of y does not say its bounds and functions: give it the method Describe")
	p.Lower.Set = nil
	p.Lower.Inequality = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return tensor.Concat(0, slices.Repeat([]*tensor.Node{y}, 400)...)
	})
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg}),
		"1200 constraint functions, whose 1200 × 1200 matrix is decomposed on the host: at most 1024 are meant")
	p.Lower.Inequality = problem.Flat(func(_, _ *tensor.Node, _ problem.Batch) *tensor.Node { return nil })
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg}),
		"the inequality constraints of the lower level of clipped give no Real numbers")
	p.Lower.Inequality, p.Lower.Set = nil, problem.Box{Lo: -1, Hi: 1}
	p.Upper.Value, p.Upper.Saddle = nil, saddle
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg}),
		"maximizes its upper objective over a further variable, which this algorithm cannot use")
	require.ErrorContains(t, prepareError(t, ex, p, hypergrad.KKT{Solver: cg}),
		"give the upper objective at the best of the further variable")
}

// Features that no estimator here can mean, each with what to do.
func TestConstrainedEstimatorsRefuseWhatTheyCannotMean(t *testing.T) {
	ex := executor(t)
	cg, gmres := linear.CG{RTol: 1e-6}, linear.GMRES{RTol: 1e-6}
	loss := func(f problem.Function) problem.Objective {
		return func(x, y problem.Vars, b problem.Batch, _ problem.Pass) problem.Loss {
			return problem.Loss{Value: f(x, y, b)}
		}
	}
	for want, change := range map[string]func(*problem.Problem){
		"has running statistics, which this algorithm cannot use": func(p *problem.Problem) {
			p.State = problem.Vector(1)
			p.Upper.Loss, p.Upper.Value = loss(p.Upper.Value), nil
		},
		"give objectives that take the running statistics as constants, as Value": func(p *problem.Problem) {
			p.State = problem.Vector(1)
			p.Upper.Loss, p.Upper.Value = loss(p.Upper.Value), nil
		},
		"has a lower variable for every batch, which this algorithm cannot use": func(p *problem.Problem) {
			p.Lower.Start, p.PerBatch = problem.Values{}, &problem.PerBatch{Size: func(int) int { return 3 },
				Start: func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return tensor.Zeros(3) }}
		},
		"fix one batch and give its variable as Lower.Start": func(p *problem.Problem) {
			p.Lower.Start, p.PerBatch = problem.Values{}, &problem.PerBatch{Size: func(int) int { return 3 },
				Start: func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return tensor.Zeros(3) }}
		},
	} {
		for _, m := range []hypergrad.Method{hypergrad.KKT{Solver: cg}, hypergrad.Prox{Solver: cg},
			hypergrad.Root{Solver: gmres}} {
			var p *problem.Problem
			switch m.(type) {
			case hypergrad.KKT:
				p = load(t, ex, solvertest.NewClipped(1, 3))
			case hypergrad.Prox:
				p = load(t, ex, solvertest.NewLasso(1, 8, 5, 3))
			default:
				p = load(t, ex, solvertest.NewFixedPoint(1, 2, 3, 4))
			}
			change(p)
			b := bind(t, ex, p)
			x, y := ex.Variable("x", tensor.Real, p.Upper.Start.Size()), ex.Variable("y", tensor.Real, 3)
			_, err := m.Prepare(b, x, y)
			require.ErrorContains(t, err, want, m.Name())
			require.ErrorContains(t, err, "hypergrad: "+m.Name())
			require.NoError(t, b.Close())
		}
	}
}

// silent is a set that says nothing about itself.
type silent struct{ problem.Box }

func (silent) Describe()                    {} // hides that of the box
func (silent) String() string               { return "silent set" }
func (silent) Contains(problem.Values) bool { return true }

func TestKKTStops(t *testing.T) {
	for _, c := range []solvertest.Closed{solvertest.NewClipped(1, 4), solvertest.NewShares(2, 5),
		solvertest.NewEquality(4, 3, 2, solvertest.Spectrum(6, 50))} {
		ex := tensor.NewExecutor(ref.New())
		p, err := solvertest.Load(ex, c)
		require.NoError(t, err)
		checkLifetime(t, ex, p.Problem, hypergrad.KKT{Solver: linear.CG{RTol: 1e-8}})
		require.NoError(t, ex.Close())
	}
}
