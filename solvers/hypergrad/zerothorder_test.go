package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// pathOf is y_T(x) of bent by gradient steps in plain Go.
func pathOf(m bent, x []float64, eta float64, steps int) []float64 {
	y := append([]float64(nil), bentY...)
	for range steps {
		floats.AddScaled(y, -eta, m.gradient(x, y))
	}
	return y
}

// With the directions ±e_i√p the estimate is that of central differences of y_T with a step of μ√p, to rounding.
func TestZerothOrderAlongTheAxes(t *testing.T) {
	const eta, steps, mu = 0.2, 8, 0.01
	m := newBent()
	ex := executor(t)
	p := m.problem(t, ex)
	h := on(t, ex, p, hypergrad.ZerothOrder{Inner: hypergrad.GradientSteps{Step: eta}, Steps: steps, Smoothing: mu,
		Axes: true}, bentX, bentY)
	y := pathOf(m, bentX, eta, steps)
	fy := make([]float64, len(y))
	for i := range y {
		fy[i] = y[i] - m.to[i]
	}
	fy[0] += bentX[1]
	want := append([]float64(nil), bentX...) // ∇xF
	want[1] += y[0]
	step := mu * math.Sqrt(float64(len(bentX)))
	for i := range bentX {
		var sides [2][]float64
		for k, s := range []float64{step, -step} {
			x := append([]float64(nil), bentX...)
			x[i] += s
			sides[k] = pathOf(m, x, eta, steps)
		}
		floats.Sub(sides[0], sides[1])
		want[i] += floats.Dot(sides[0], fy) / (2 * step)
	}
	closeTo(t, want, h.Gradient, 1e-12, "axes") // u/μ√p times a few operations
	require.Equal(t, problem.Counts{LowerGradients: 7*steps + 1, UpperGradients: 1}, h.Counts)

	// And the bias against the derivative of F(x, y_T(x)) is O(μ), here O(μ²) because the differences are central.
	exact := m.differences(gradientStep(eta), steps, 0, fromY)
	var off []float64
	for _, mu := range []float64{0.04, 0.02, 0.01} {
		h := on(t, ex, p, hypergrad.ZerothOrder{Inner: hypergrad.GradientSteps{Step: eta}, Steps: steps, Smoothing: mu,
			Axes: true}, bentX, bentY)
		off = append(off, floats.Distance(exact, h.Gradient, 2))
	}
	require.InEpsilon(t, 4, off[0]/off[1], 0.02)
	require.InEpsilon(t, 4, off[1]/off[2], 0.02)
}

// The mean over random directions is the derivative, and the variance is (p+1)/J times the square of the term beside
// ∇xF. Both are random: with n independent estimates the mean is off by about the root of variance/n, and the sample
// variance by a share of about √(2/(n p)) for a normal estimate, which one of few directions is not; hence twice that.
func TestZerothOrderMeanAndVariance(t *testing.T) {
	const eta, steps, mu, directions, n = 0.2, 5, 1e-5, 20, 400
	m := newBent()
	exact := m.differences(gradientStep(eta), steps, 0, fromY)
	ex := executor(t)
	p := m.problem(t, ex)
	x, y := ex.Variable("x", tensor.Real, len(bentX)), ex.Variable("y", tensor.Real, len(bentY))
	require.NoError(t, x.Write(bentX))
	require.NoError(t, y.Write(bentY))
	e, err := hypergrad.ZerothOrder{Inner: hypergrad.GradientSteps{Step: eta}, Steps: steps, Smoothing: mu,
		Directions: directions, Seed: 5}.Prepare(bind(t, ex, p), x, y)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	mean, square := make([]float64, len(bentX)), 0.0
	for range n {
		h, err := e.Compute(context.Background())
		require.NoError(t, err)
		floats.AddScaled(mean, 1.0/n, h.Gradient)
		d := floats.Distance(exact, h.Gradient, 2)
		square += d * d / n
	}
	direct := append([]float64(nil), bentX...)
	direct[1] += pathOf(m, bentX, eta, steps)[0]
	term := floats.Distance(exact, direct, 2)
	variance := float64(len(bentX)+1) / directions * term * term
	require.InEpsilon(t, variance, square, 4*math.Sqrt(2.0/(n*3)))
	require.Less(t, floats.Distance(exact, mean, 2), 3*math.Sqrt(variance/n))
}

// The directions depend on the seed and the number of the call alone.
func TestZerothOrderDirections(t *testing.T) {
	m := newBent()
	estimate := func(dev tensor.Device, seed uint64, calls int) (out [][]float64) {
		ex := executor(t)
		if dev != nil {
			ex = tensortest.Executor(t, dev)
		}
		x, y := ex.Variable("x", tensor.Real, len(bentX)), ex.Variable("y", tensor.Real, len(bentY))
		require.NoError(t, x.Write(bentX))
		require.NoError(t, y.Write(bentY))
		e, err := hypergrad.ZerothOrder{Inner: hypergrad.GradientSteps{Step: 0.2}, Steps: 3, Seed: seed}.
			Prepare(bind(t, ex, m.problem(t, ex)), x, y)
		require.NoError(t, err)
		for range calls {
			h, err := e.Compute(context.Background())
			require.NoError(t, err)
			out = append(out, h.Gradient)
		}
		require.NoError(t, e.Close())
		return out
	}
	one, two := estimate(nil, 1, 2), estimate(nil, 1, 2)
	require.Equal(t, one, two)
	require.NotEqual(t, one[0], one[1])
	require.NotEqual(t, one[0], estimate(nil, 2, 1)[0])
	// In float32 rounding in y_T, u|y_T|, is divided by μ = 0.01.
	closeTo(t, one[0], estimate(cpudevice.New(1), 1, 1)[0], 1e-3, "float32")
}

func TestZerothOrderRefuses(t *testing.T) {
	ex := executor(t)
	p := newBent().problem(t, ex)
	inner := hypergrad.GradientSteps{Step: 0.1}
	for want, m := range map[string]hypergrad.Method{
		"ZerothOrder.Smoothing is -1":  hypergrad.ZerothOrder{Inner: inner, Steps: 1, Smoothing: -1},
		"ZerothOrder.Directions is -2": hypergrad.ZerothOrder{Inner: inner, Steps: 1, Directions: -2},
		"ZerothOrder.Directions is 3 beside": hypergrad.ZerothOrder{Inner: inner, Steps: 1, Directions: 3,
			Axes: true},
		"ZerothOrder.Steps is 0":                hypergrad.ZerothOrder{Inner: inner},
		"SignDescent.Steps is -1":               hypergrad.SignDescent{Inner: hypergrad.SignSteps{Step: 1}, Steps: -1},
		"hypergrad: SignSteps.Step is 0: wants": hypergrad.SignDescent{Steps: 1},
	} {
		_, err := hypergrad.OnExecutor(context.Background(), ex, p, m, p.Upper.Start, p.Lower.Start)
		require.ErrorContains(t, err, want)
	}
	_, err := hypergrad.OnExecutor(context.Background(), ex, separable(3),
		hypergrad.SignDescent{Inner: hypergrad.SignSteps{Step: 1}, Steps: 2}, problem.Vector(1),
		problem.Vector(0, 0, 0))
	require.ErrorContains(t, err, "the estimate is 0 for every x of the problem separable")
}

// What float32 cannot do is refused there, and allowed in float64.
func TestSettingsBeyondFloat32(t *testing.T) {
	for want, m := range map[string]hypergrad.Method{
		"ZerothOrder.Smoothing is 1e-07: differences of steps": hypergrad.ZerothOrder{
			Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: 1, Smoothing: 1e-7},
		"ValueFunction.Lambda is 1e+07: it multiplies": hypergrad.ValueFunction{Lambda: 1e7},
	} {
		single, double := tensortest.Executor(t, cpudevice.New(1)), executor(t)
		p := newBent().problem(t, single)
		_, err := hypergrad.OnExecutor(context.Background(), single, p, m, p.Upper.Start, p.Lower.Start)
		require.ErrorContains(t, err, want)
		on(t, double, newBent().problem(t, double), m, bentX, bentY)
	}
}

// Sign descent is the unrolled derivative through sign steps, which automatic differentiation gives too, without its
// cost; from y_0 = x it has the part that comes through y_0.
func TestSignDescent(t *testing.T) {
	m := newBent()
	ex := executor(t)
	p := m.problem(t, ex)
	inner := hypergrad.SignSteps{Step: 0.1, Decay: 0.5}
	start := func(x *tensor.Node) *tensor.Node { return tensor.Concat(0, x, x.Slice(0, 0, 1).Square()) }
	for _, from := range []func(x *tensor.Node) *tensor.Node{nil, start} {
		h := on(t, ex, p, hypergrad.SignDescent{Inner: inner, Steps: 9, Start: from}, bentX, bentY)
		u := on(t, ex, p, hypergrad.Unrolled{Inner: inner, Steps: 9, Start: from}, bentX, bentY)
		require.Equal(t, u.Gradient, h.Gradient)
		require.Equal(t, problem.Counts{LowerGradients: 10, UpperGradients: 1}, h.Counts)
		plain := fromY
		if from != nil {
			plain = func(x []float64) []float64 { return []float64{x[0], x[1], x[2], x[0] * x[0]} }
		}
		closeTo(t, m.differences(signStep(0.1, 0.5), 9, 0, plain), h.Gradient, 1e-8, "sign descent")
	}
}
