package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// valley is a lower level that is flat in y[1], where the upper one is steep:
//
//	G = ½ (y[0] - x[0])² + ½ flat (y[1] - x[1])²,  F = ½ y[0]² + ½ steep y[1]²;  y* = x, ∇h = (x[0], steep x[1])
func valley(flat, steep float64) *problem.Problem {
	weighted := func(n *tensor.Node, second float64) *tensor.Node {
		return n.Slice(0, 0, 1).Add(n.Slice(0, 1, 2).Scale(second)).Sum().Scale(0.5)
	}
	return &problem.Problem{Name: "valley",
		Lower: problem.Level{Start: problem.Vector(0, 0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return weighted(y.Sub(x).Square(), flat)
			})},
		Upper: problem.Level{Start: problem.Vector(0, 0),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return weighted(y.Square(), steep)
			})}}
}

// A displacement of y along a direction in which G is flat hardly shows in ∇yG, and is all of the error where F is
// steep there. A loose solve for y - y* does not see it.
func TestFigureSeesFlatDirections(t *testing.T) {
	for name, dev := range map[string]func(t *testing.T) device.Device{
		"float64": func(*testing.T) device.Device { return ref.New() },
		"float32": func(*testing.T) device.Device { return cpudevice.New(1) },
	} {
		for _, c := range []struct{ flat, steep, first, second float64 }{
			{1e-2, 1e2, 1e-2, 1e-3}, {1e-3, 1e3, 1e-2, 1e-2}, {1e-4, 1e2, 1e-3, 1e-3}, {1e-4, 1e4, 1e-3, 1e-3},
		} {
			y := []float64{1 + c.first, 1 + c.second}
			h := on(t, tensortest.Executor(t, dev(t)), valley(c.flat, c.steep),
				hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}, []float64{1, 1}, y)
			off := math.Hypot(h.Gradient[0]-1, h.Gradient[1]-c.steep)
			require.GreaterOrEqual(t, h.Error, 0.98*off, "%s %+v", name, c)
			require.LessOrEqual(t, h.Error, 1.2*off, "%s %+v", name, c)
		}
	}
}

// An objective without minibatches need not be a mean over rows, and At does not take it apart.
func TestAtKeepsRowsTogether(t *testing.T) {
	const n = 5000
	a := make([]float64, n)
	for i := range a {
		a[i] = 10 * float64(i) / n
	}
	p := &problem.Problem{Name: "root of a mean",
		Lower: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(x).Square().Sum().Scale(0.5)
			})},
		Upper: problem.Level{Start: problem.Vector(1), Rows: problem.Rows{"a": problem.Reals(a)},
			Value: problem.Flat(func(_, y *tensor.Node, b problem.Batch) *tensor.Node {
				return b.Get("a").Sub(y).Square().Mean().Sqrt()
			})}}
	h, err := hypergrad.At(context.Background(), p, problem.Vector(1), problem.Vector(1))
	require.NoError(t, err)
	sum, squares := 0.0, 0.0
	for _, v := range a {
		sum += 1 - v
		squares += (1 - v) * (1 - v)
	}
	require.InEpsilon(t, sum/n/math.Sqrt(squares/n), h.Gradient[0], 1e-5)
}

// A bound at a point that is not finite is no bound, and no NaN that a comparison lets through.
func TestBoundOfNaN(t *testing.T) {
	p := valley(1, 1)
	p.Mu, p.Constants = 1, &problem.Constants{GradYF: 1, CrossNorm: 1}
	h := on(t, executor(t), p, hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}, []float64{1, 1},
		[]float64{math.NaN(), 1})
	require.Equal(t, hypergrad.Bound, h.Kind)
	require.True(t, math.IsInf(h.Error, 1))
}

// What is not there is said in a sentence.
func TestNothingIsRefused(t *testing.T) {
	ex := executor(t)
	p := valley(1, 1)
	b := bind(t, ex, p)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	x, y := ex.Variable("x", tensor.Real, 2), ex.Variable("y", tensor.Real, 2)
	m := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}
	for _, pair := range [][2]*tensor.Variable{{nil, y}, {x, nil}, {x, x}} {
		_, err := m.Prepare(b, pair[0], pair[1])
		require.ErrorContains(t, err, "wants a variable for x and another one for y")
	}
	for _, c := range []struct {
		ex *tensor.Executor
		p  *problem.Problem
		m  hypergrad.Method
	}{{nil, p, m}, {ex, nil, m}, {ex, p, nil}} {
		_, err := hypergrad.OnExecutor(context.Background(), c.ex, c.p, c.m, p.Upper.Start, p.Lower.Start)
		require.ErrorContains(t, err, "one of them is nil")
	}
	_, err := hypergrad.At(context.Background(), nil, p.Upper.Start, p.Lower.Start)
	require.ErrorContains(t, err, "one of them is nil")
}
