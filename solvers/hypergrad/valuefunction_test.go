package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// On Q1, y_λ = (λx + 1)/(λ + 1) and g = x + λ(x - y_λ)… so that g vanishes at x = λ/(1+2λ).
func TestValueFunctionOnTheScalarProblem(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	for _, lambda := range []float64{0.5, 3, 100} {
		m := hypergrad.ValueFunction{Lambda: lambda}
		const x = 0.8
		h := on(t, ex, p, m, []float64{x}, []float64{0})
		y := (lambda*x + 1) / (lambda + 1)
		// ∇xG = x - y; at z = x it is 0.
		require.InDelta(t, x+lambda*(x-y), h.Gradient[0], 1e-13*lambda)
		stationary := on(t, ex, p, m, []float64{lambda / (1 + 2*lambda)}, []float64{0})
		require.Less(t, math.Abs(stationary.Gradient[0]), 1e-13*lambda)
		require.Equal(t, hypergrad.MeasureValueFunction, h.OptimalityMeasure)
		gap := 0.5 * (y - x) * (y - x)
		require.InDelta(t, math.Hypot(h.Gradient[0], gap), h.Optimality, 1e-12*lambda)
		require.Less(t, h.Stationarity, 1e-14)
		require.Empty(t, h.Notes)
	}
}

// On Q2 the error times λ tends to a constant.
func TestValueFunctionErrorFallsLikeOneOverLambda(t *testing.T) {
	m := solvertest.NewQuadratic(7, 3, solvertest.Spectrum(6, 10))
	ex := executor(t)
	p := load(t, ex, m)
	x := ones(3)
	_, want := m.Exact(x)
	var scaled []float64
	for _, lambda := range []float64{1e2, 1e3, 1e4} {
		h := on(t, ex, p, hypergrad.ValueFunction{Lambda: lambda}, x, make([]float64, 6))
		scaled = append(scaled, lambda*floats.Distance(want, h.Gradient, 2))
		require.Positive(t, h.Counts.LowerGradients)
		require.Zero(t, h.Counts.JVP)
	}
	require.InEpsilon(t, scaled[2], scaled[1], 0.05)
	require.InEpsilon(t, scaled[1], scaled[0], 0.5)
}

// In a box, y_λ = P(…) and z = P(x): with G = ½|y-x|² and F = ½|y-1|² + ½|x|² in [lo, hi] the gradient has a closed
// form by coordinate.
func TestValueFunctionInABox(t *testing.T) {
	ex := executor(t)
	const lambda, lo, hi = 20, -0.5, 0.6
	p := &problem.Problem{Name: "box",
		Lower: problem.Level{Start: problem.Vector(0, 0, 0), Set: problem.Box{Lo: lo, Hi: hi},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(x).Square().Sum().Scale(0.5)
			})},
		Upper: problem.Level{Start: problem.Vector(0, 0, 0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.AddConst(-1).Square().Sum().Scale(0.5).Add(x.Square().Sum().Scale(0.5))
			})},
	}
	x := []float64{0.2, 0.9, -0.8}
	var want []float64
	for _, at := range x {
		z, y := min(max(at, lo), hi), min(max((lambda*at+1)/(lambda+1), lo), hi)
		want = append(want, at+lambda*((at-y)-(at-z)))
	}
	h := on(t, ex, p, hypergrad.ValueFunction{Lambda: lambda}, x, []float64{0, 0, 0})
	closeTo(t, want, h.Gradient, 1e-9, "box")
	require.Equal(t, hypergrad.MeasureProjected, h.Measure)
	require.Less(t, h.Stationarity, 1e-10)
}

func TestValueFunctionSaysWhatWentWrong(t *testing.T) {
	ex := executor(t)
	p := newBent().problem(t, ex)
	h := on(t, ex, p, hypergrad.ValueFunction{Solver: minimize.GradientDescent{Tol: 1e-14, MaxSteps: 2}}, bentX, bentY)
	require.Len(t, h.Notes, 2)
	require.Contains(t, h.Notes[0], `The minimization of F + λG ended with "max steps": allow more steps`)
	require.Equal(t, int64(6), h.Counts.LowerGradients-2, "three points of each minimization")
	require.Equal(t, linear.Converged, h.Status)
	_, err := hypergrad.OnExecutor(context.Background(), ex, p, hypergrad.ValueFunction{Lambda: -1}, p.Upper.Start,
		p.Lower.Start)
	require.ErrorContains(t, err, "ValueFunction.Lambda is -1")
	_, err = hypergrad.OnExecutor(context.Background(), ex, p,
		hypergrad.ValueFunction{Solver: minimize.Newton{Tol: -1, MaxSteps: 3}}, p.Upper.Start, p.Lower.Start)
	require.ErrorContains(t, err, "Newton: tolerance -1")
}
