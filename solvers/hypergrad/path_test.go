package hypergrad_test

import (
	"math"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// bent is a problem of three upper and four lower variables whose derivatives all depend on y:
//
//	G = ½ yᵀAy - yᵀBx + ¼ Σ y_i⁴ + x_0 Σ sin y_i,   F = ½|y - b|² + ½|x|² + x_1 y_0
//
// Its paths are computed by loops in plain Go below, from the formulas in the methods' comments.
type bent struct {
	a, b [][]float64
	to   []float64 // b of F
}

func newBent() bent {
	return bent{
		a:  [][]float64{{2, 0.3, 0, -0.2}, {0.3, 1.5, 0.4, 0}, {0, 0.4, 1, 0.1}, {-0.2, 0, 0.1, 2.5}},
		b:  [][]float64{{1, -0.5, 0.2}, {0.3, 0.8, -1}, {-0.6, 0.1, 0.9}, {0.2, 1.1, 0.4}},
		to: []float64{0.3, -0.2, 0.5, 0.1},
	}
}

var (
	bentX = []float64{0.7, -0.4, 0.9}
	bentY = []float64{0.2, -0.1, 0.3, 0.05}
)

func (m bent) problem(t *testing.T, ex *tensor.Executor) *problem.Problem {
	load := func(rows [][]float64) *tensor.Node {
		v := ex.Variable("matrix", tensor.Real, len(rows), len(rows[0]))
		var flat []float64
		for _, r := range rows {
			flat = append(flat, r...)
		}
		require.NoError(t, v.Write(flat))
		return v.Node()
	}
	a, b, to := load(m.a), load(m.b), load([][]float64{m.to})
	times := func(m, z *tensor.Node) *tensor.Node { return m.MatMul(z.Reshape(z.Size(), 1)).Flatten() }
	at := func(z *tensor.Node, i int) *tensor.Node { return z.Slice(0, i, i+1).Reshape() }
	return &problem.Problem{
		Name: "bent",
		Lower: problem.Level{Start: problem.Vector(bentY...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(y, times(a, y)).Scale(0.5).Sub(tensor.Dot(y, times(b, x))).
					Add(y.Square().Square().Sum().Scale(0.25)).Add(at(x, 0).Mul(y.Sin().Sum()))
			})},
		Upper: problem.Level{Start: problem.Vector(bentX...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(to.Flatten()).Square().Sum().Scale(0.5).Add(x.Square().Sum().Scale(0.5)).
					Add(at(x, 1).Mul(at(y, 0)))
			})},
	}
}

// gradient is ∇yG, value is F.
func (m bent) gradient(x, y []float64) []float64 {
	g := make([]float64, len(y))
	for i := range g {
		g[i] = floats.Dot(m.a[i], y) - floats.Dot(m.b[i], x) + y[i]*y[i]*y[i] + x[0]*math.Cos(y[i])
	}
	return g
}

func (m bent) value(x, y []float64) float64 {
	f := 0.5*floats.Dot(x, x) + x[1]*y[0]
	for i := range y {
		f += 0.5 * (y[i] - m.to[i]) * (y[i] - m.to[i])
	}
	return f
}

// step is one step of an inner method in plain Go, number t, on y and the vectors beside it.
type step func(t int, x, y []float64, v [][]float64, g []float64)

func gradientStep(eta float64) step {
	return func(_ int, _, y []float64, _ [][]float64, g []float64) { floats.AddScaled(y, -eta, g) }
}

func momentumStep(eta, beta float64) step {
	return func(_ int, _, y []float64, v [][]float64, g []float64) {
		for i := range y {
			v[0][i] = beta*v[0][i] + g[i]
			y[i] -= eta * v[0][i]
		}
	}
}

func adamStep(eta, beta1, beta2, eps float64) step {
	return func(t int, _, y []float64, v [][]float64, g []float64) {
		for i := range y {
			v[0][i] = beta1*v[0][i] + (1-beta1)*g[i]
			v[1][i] = beta2*v[1][i] + (1-beta2)*g[i]*g[i]
			m := v[0][i] / (1 - math.Pow(beta1, float64(t+1)))
			u := v[1][i] / (1 - math.Pow(beta2, float64(t+1)))
			y[i] -= eta * m / (math.Sqrt(u) + eps)
		}
	}
}

func signStep(eta, decay float64) step {
	return func(t int, _, y []float64, _ [][]float64, g []float64) {
		for i := range y {
			y[i] -= eta / math.Pow(float64(t+1), decay) * math.Copysign(1, g[i])
		}
	}
}

// then is a step with a map of y after it.
func (s step) then(after func(x, y []float64)) step {
	return func(t int, x, y []float64, v [][]float64, g []float64) {
		s(t, x, y, v, g)
		after(x, y)
	}
}

func clipTo(lo, hi float64) func(x, y []float64) {
	return func(_, y []float64) {
		for i := range y {
			y[i] = min(max(y[i], lo), hi)
		}
	}
}

// soften is the proximal map of s|x_2||y|₁ for s = scale.
func soften(scale float64) func(x, y []float64) {
	return func(x, y []float64) {
		by := scale * math.Abs(x[2])
		for i := range y {
			y[i] -= min(max(y[i], -by), by)
		}
	}
}

// walk is F(x, y_T(x)), the steps before number from with x = at.
func (m bent) walk(x, start []float64, do step, steps, from int, at []float64) float64 {
	y := append([]float64(nil), start...)
	v := [][]float64{make([]float64, len(y)), make([]float64, len(y))}
	for t := range steps {
		seen := x
		if t < from {
			seen = at
		}
		do(t, seen, y, v, m.gradient(seen, y))
	}
	return m.value(x, y)
}

// softened is soften for s = step as nodes.
func softened(x problem.Vars, z, step *tensor.Node) *tensor.Node {
	by := step.Mul(x.Flat().Slice(0, 2, 3).Abs())
	return z.Sub(z.Clamp(by.Neg(), by))
}

// innerCase is an inner method, with its steps in plain Go and the lower level that it is for.
type innerCase struct {
	name  string
	inner hypergrad.Inner
	plain step
	set   problem.Set
	prox  func(x problem.Vars, z, step *tensor.Node) *tensor.Node
}

func innerCases() []innerCase {
	box := problem.Box{Lo: -0.15, Hi: 0.4}
	return []innerCase{
		{name: "gradient", inner: hypergrad.GradientSteps{Step: 0.2}, plain: gradientStep(0.2)},
		{name: "momentum", inner: hypergrad.MomentumSteps{Step: 0.1, Beta: 0.7}, plain: momentumStep(0.1, 0.7)},
		{name: "adam", inner: hypergrad.AdamSteps{Step: 0.05, Beta1: 0.8, Beta2: 0.9, Epsilon: 1e-3},
			plain: adamStep(0.05, 0.8, 0.9, 1e-3)},
		{name: "adam by default", inner: hypergrad.AdamSteps{Step: 0.05}, plain: adamStep(0.05, 0.9, 0.999, 1e-8)},
		{name: "sign", inner: hypergrad.SignSteps{Step: 0.1, Decay: 0.5}, plain: signStep(0.1, 0.5)},
		{name: "projected", inner: hypergrad.GradientSteps{Step: 0.2}, set: box,
			plain: gradientStep(0.2).then(clipTo(-0.15, 0.4))},
		{name: "projected momentum", inner: hypergrad.MomentumSteps{Step: 0.1, Beta: 0.7}, set: box,
			plain: momentumStep(0.1, 0.7).then(clipTo(-0.15, 0.4))},
		{name: "projected adam", inner: hypergrad.AdamSteps{Step: 0.05}, set: box,
			plain: adamStep(0.05, 0.9, 0.999, 1e-8).then(clipTo(-0.15, 0.4))},
		{name: "ball", inner: hypergrad.GradientSteps{Step: 0.2}, set: problem.Ball{Radius: 0.6},
			plain: gradientStep(0.2).then(func(_, y []float64) {
				if r := floats.Norm(y, 2); r > 0.6 {
					floats.Scale(0.6/r, y)
				}
			})},
		{name: "proximal", inner: hypergrad.GradientSteps{Step: 0.2}, plain: gradientStep(0.2).then(soften(0.2)),
			prox: softened},
	}
}

// differences are central differences of walk: exact to step²/6 · |h‴| and rounding, near 1e-10.
func (m bent) differences(do step, steps, from int, start func(x []float64) []float64) []float64 {
	const h = 6e-6
	g := make([]float64, len(bentX))
	for i := range g {
		side := func(by float64) float64 {
			x := append([]float64(nil), bentX...)
			x[i] += by
			return m.walk(x, start(x), do, steps, from, bentX)
		}
		g[i] = (side(h) - side(-h)) / (2 * h)
	}
	return g
}

func fromY([]float64) []float64 { return bentY }

// Through every inner method, unrolled and truncated hypergradients are the derivative of F(x, y_T(x)), and what goes
// forward is what goes backward.
func TestPathsAgainstDifferences(t *testing.T) {
	m := newBent()
	const steps = 11
	for _, c := range innerCases() {
		t.Run(c.name, func(t *testing.T) {
			ex := executor(t)
			p := m.problem(t, ex)
			p.Lower.Set, p.Lower.Prox = c.set, c.prox
			want := m.differences(c.plain, steps, 0, fromY)
			u := on(t, ex, p, hypergrad.Unrolled{Inner: c.inner, Steps: steps}, bentX, bentY)
			closeTo(t, want, u.Gradient, 1e-8, "unrolled")
			f := on(t, ex, p, hypergrad.Forward{Inner: c.inner, Steps: steps}, bentX, bentY)
			closeTo(t, u.Gradient, f.Gradient, 1e-13, "forward")
			all := on(t, ex, p, hypergrad.Truncated{Inner: c.inner, Steps: steps, Last: steps}, bentX, bentY)
			require.Equal(t, u.Gradient, all.Gradient, "truncated after all steps")
			for _, last := range []int{1, 2, 5, 10} {
				h := on(t, ex, p, hypergrad.Truncated{Inner: c.inner, Steps: steps, Last: last}, bentX, bentY)
				closeTo(t, m.differences(c.plain, steps, steps-last, fromY), h.Gradient, 1e-8, "truncated")
				require.Equal(t, u.Stationarity, h.Stationarity)
			}
			require.Equal(t, hypergrad.Stated, u.Kind)
			require.True(t, math.IsInf(u.Error, 1))
			require.Equal(t, linear.Converged, u.Status)
		})
	}
}

// The y_0 of a path may depend on x, as that of MAML does.
func TestPathsFromAStartThatDependsOnX(t *testing.T) {
	m := newBent()
	start := func(x *tensor.Node) *tensor.Node { // y_0 = (x_0², x_1, x_2, 0)
		first := x.Slice(0, 0, 1)
		return tensor.Concat(0, first.Square(), x.Slice(0, 1, 3), tensor.Zeros(1))
	}
	plain := func(x []float64) []float64 { return []float64{x[0] * x[0], x[1], x[2], 0} }
	for _, c := range innerCases()[:5] {
		ex := executor(t)
		p := m.problem(t, ex)
		for _, steps := range []int{1, 6} {
			want := m.differences(c.plain, steps, 0, plain)
			u := on(t, ex, p, hypergrad.Unrolled{Inner: c.inner, Steps: steps, Start: start}, bentX, bentY)
			closeTo(t, want, u.Gradient, 1e-8, c.name)
			f := on(t, ex, p, hypergrad.Forward{Inner: c.inner, Steps: steps, Start: start}, bentX, bentY)
			closeTo(t, u.Gradient, f.Gradient, 1e-13, c.name)
		}
	}
}

// What is said beside the gradient: the term beside ∇xF = x + y_T,0 e_1, its angle with the whole, the declared
// modulus, and the factor by which gradient steps shrink the bias.
func TestPathsSayWhatTheyAre(t *testing.T) {
	const eta, steps = 0.2, 7
	m := newBent()
	ex := executor(t)
	p := m.problem(t, ex)
	u := hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: eta}, Steps: steps}
	h := on(t, ex, p, u, bentX, bentY)
	require.True(t, math.IsNaN(h.SmallestEigenvalue))
	require.NotContains(t, h.Bias, "(1-ημ)")
	term := append([]float64(nil), h.Gradient...)
	floats.Sub(term, bentX)
	term[1] -= pathOf(m, bentX, eta, steps)[0]
	require.InDelta(t, floats.Norm(term, 2), h.Implicit, 1e-14)
	require.InDelta(t, floats.Dot(term, h.Gradient)/(floats.Norm(term, 2)*h.Norm()), h.Cosine, 1e-14)

	p.Mu = 0.5
	h = on(t, ex, p, u, bentX, bentY)
	require.Equal(t, 0.5, h.SmallestEigenvalue)
	require.Contains(t, h.Bias, "like (1-ημ)^7 = 0.48 where the step η = 0.2 is at most 1/L")
	require.Contains(t, h.String(), h.Bias)
	require.Empty(t, h.Advice())
}

// Running statistics stand still while a path is taken.
func TestPathsReadRunningStatistics(t *testing.T) {
	m := newBent()
	ex := executor(t)
	plain := m.problem(t, ex)
	p := m.problem(t, ex)
	p.State = problem.Values{}.And("scale", 2)
	value := p.Lower.Value
	p.Lower.Value = nil
	p.Lower.Loss = func(x, y problem.Vars, b problem.Batch, pass problem.Pass) problem.Loss {
		s := pass.State.Get("scale").Reshape()
		return problem.Loss{Value: value(x, y, b).Mul(s), State: pass.State.Flat().Scale(3)}
	}
	for _, inner := range []hypergrad.Inner{hypergrad.GradientSteps{Step: 0.1},
		hypergrad.AdamSteps{Step: 0.1, Epsilon: 1e-12}} {
		twice := inner // steps of twice the length do what twice the objective does; Adam's do not depend on its scale
		if g, ok := inner.(hypergrad.GradientSteps); ok {
			twice = hypergrad.GradientSteps{Step: 2 * g.Step}
		}
		want := on(t, ex, plain, hypergrad.Unrolled{Inner: twice, Steps: 5}, bentX, bentY)
		got := on(t, ex, p, hypergrad.Unrolled{Inner: inner, Steps: 5}, bentX, bentY)
		// ε = 1e-12 is not scaled; it stands beside gradients near 0.1.
		closeTo(t, want.Gradient, got.Gradient, 1e-9, inner.Name())
	}
}

// The stationarity is that of the last y, in the measure that fits the lower level.
func TestPathsMeasureTheLowerLevel(t *testing.T) {
	m := newBent()
	for _, c := range innerCases() {
		y := append([]float64(nil), bentY...)
		v := [][]float64{make([]float64, 4), make([]float64, 4)}
		for k := range 9 {
			c.plain(k, bentX, y, v, m.gradient(bentX, y))
		}
		g := m.gradient(bentX, y)
		want, measure := floats.Norm(g, 2), hypergrad.MeasureGradient
		switch {
		case c.set != nil:
			measure = hypergrad.MeasureProjected
		case c.prox != nil:
			measure = hypergrad.MeasureProximal
		}
		if measure != hypergrad.MeasureGradient {
			next := append([]float64(nil), y...)
			floats.Sub(next, g)
			switch {
			case c.prox != nil:
				soften(1)(bentX, next)
			case c.name == "ball":
				if r := floats.Norm(next, 2); r > 0.6 {
					floats.Scale(0.6/r, next)
				}
			default:
				clipTo(-0.15, 0.4)(nil, next)
			}
			want = floats.Distance(next, y, 2)
		}
		ex := executor(t)
		p := m.problem(t, ex)
		p.Lower.Set, p.Lower.Prox = c.set, c.prox
		h := on(t, ex, p, hypergrad.Unrolled{Inner: c.inner, Steps: 9}, bentX, bentY)
		require.Equal(t, measure, h.Measure, c.name)
		require.InDelta(t, want, h.Stationarity, 1e-13*(1+want), c.name)
	}
}

// Closed forms on Q1, from y_0 = 0: y_T = c x with c = 1 - (1-η)^T, so that the unrolled derivative is
// c(cx - 1) + x, which vanishes at c/(1+c²), and the truncated one is x + (1-(1-η)^K)(cx - 1).
func TestPathsOnTheScalarProblem(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	const eta, x = 0.3, 0.8
	for _, steps := range []int{1, 2, 7} {
		inner := hypergrad.GradientSteps{Step: eta}
		c := 1 - math.Pow(1-eta, float64(steps))
		for _, at := range []float64{x, c / (1 + c*c)} {
			h := on(t, ex, p, hypergrad.Unrolled{Inner: inner, Steps: steps}, []float64{at}, []float64{0})
			require.InDelta(t, c*(c*at-1)+at, h.Gradient[0], 1e-14)
		}
		h := on(t, ex, p, hypergrad.Unrolled{Inner: inner, Steps: steps}, []float64{c / (1 + c*c)}, []float64{0})
		require.InDelta(t, 0, h.Gradient[0], 1e-14)
		for last := 1; last <= steps; last++ {
			h := on(t, ex, p, hypergrad.Truncated{Inner: inner, Steps: steps, Last: last}, []float64{x}, []float64{0})
			require.InDelta(t, x+(1-math.Pow(1-eta, float64(last)))*(c*x-1), h.Gradient[0], 1e-14)
		}
	}
}

// At y*, one step of length η is the implicit hypergradient with H replaced by I/η.
func TestOneStepAtTheMinimizer(t *testing.T) {
	m := solvertest.NewQuadratic(5, 3, solvertest.Spectrum(6, 10))
	x := ones(3)
	y, _ := m.Exact(x)
	ex := executor(t)
	h := on(t, ex, load(t, ex, m), hypergrad.OneStep{Inner: hypergrad.GradientSteps{Step: 0.4}}, x, y)
	v := m.Adjoint(x, y)
	b := make([]float64, len(y)) // ∇yF = A v
	for i := range b {
		b[i] = 0.4 * floats.Dot(m.A.RawRowView(i), v)
	}
	closeTo(t, m.Direction(x, y, b), h.Gradient, 1e-13, "one step")
	require.Equal(t, problem.Counts{LowerGradients: 2, UpperGradients: 1, JVP: 1}, h.Counts)
}

// The measure of x's stationarity is the projected gradient where x is in a set.
func TestPathsMeasureX(t *testing.T) {
	ex := executor(t)
	p := newBent().problem(t, ex)
	m := hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: 0.2}, Steps: 3}
	free := on(t, ex, p, m, bentX, bentY)
	require.Equal(t, free.Norm(), free.Optimality)
	p.Upper.Set = problem.Box{Lo: -0.4, Hi: 0.9}
	held := on(t, ex, p, m, bentX, bentY)
	require.Equal(t, free.Gradient, held.Gradient)
	want := append([]float64(nil), bentX...)
	floats.Sub(want, held.Gradient)
	clipTo(-0.4, 0.9)(nil, want)
	require.InDelta(t, floats.Distance(want, bentX, 2), held.Optimality, 1e-14)
	require.Equal(t, "|x - P(x - ∇h)|", held.OptimalityMeasure)
}

// In pieces of rows the paths are the same to rounding.
func TestPathsInPieces(t *testing.T) {
	m := solvertest.NewFiniteSum(5, 7, 5, 3, solvertest.Spectrum(4, 8))
	x, y := ones(3), ones(4)
	for _, inner := range []hypergrad.Inner{hypergrad.GradientSteps{Step: 0.3},
		hypergrad.MomentumSteps{Step: 0.2, Beta: 0.5}, hypergrad.AdamSteps{Step: 0.1}} {
		for name, of := range map[string]func(rows int) hypergrad.Method{
			"unrolled": func(r int) hypergrad.Method { return hypergrad.Unrolled{Inner: inner, Steps: 5, Rows: r} },
			"forward":  func(r int) hypergrad.Method { return hypergrad.Forward{Inner: inner, Steps: 5, Rows: r} },
			"one step": func(r int) hypergrad.Method { return hypergrad.OneStep{Inner: inner, Rows: r} },
			"reversible": func(r int) hypergrad.Method {
				return hypergrad.Reversible{Inner: hypergrad.MomentumSteps{Step: 0.2, Beta: 0.5}, Steps: 5, Rows: r}
			},
		} {
			ex := executor(t)
			p := load(t, ex, m)
			whole, pieces := on(t, ex, p, of(0), x, y), on(t, ex, p, of(3), x, y)
			closeTo(t, whole.Gradient, pieces.Gradient, 1e-13, name)
			require.Equal(t, whole.Counts, pieces.Counts, "%s: a call for all rows counts once", name)
		}
	}
}
