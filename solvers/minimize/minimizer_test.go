package minimize_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// preparer is a deterministic method.
type preparer interface {
	Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*minimize.Minimizer, error)
}

func prepare(t *testing.T, ex *tensor.Executor, m preparer, f func(*tensor.Node) *tensor.Node,
	n int) *minimize.Minimizer {
	s, err := m.Prepare(ex, f, n)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Known minimizers, from two starts; L-BFGS with long and short memory, and gradient descent where it is not too slow.
func TestDescentAgainstExact(t *testing.T) {
	for name, c := range map[string]struct {
		solvertest.Closed
		steps int // that gradient descent needs at most: about the condition number times the digits
	}{
		"scalar":    {solvertest.Scalar{}, 100},
		"quadratic": {solvertest.NewQuadratic(1, 2, solvertest.Spectrum(20, 30)), 2000},
		"ridge":     {solvertest.NewRidge(2, 20, 10, 8), 20000},
		"cleaning":  {solvertest.NewCleaning(3, 15, 8, 4, 3, 0.05), 5000},
	} {
		ex := executor(t)
		p := load(t, ex, c)
		f, n := lower(t, p, ex, p.Upper.Start.Flat), p.Lower.Start.Size()
		want, _ := c.Exact(p.Upper.Start.Flat)
		for what, m := range map[string]preparer{
			"l-bfgs":           minimize.LBFGS{Tol: 1e-12, MaxSteps: 300},
			"l-bfgs, one pair": minimize.LBFGS{Tol: 1e-10, MaxSteps: 2000, Memory: 1},
			"gradient descent": minimize.GradientDescent{Tol: 1e-9, MaxSteps: c.steps},
		} {
			s := prepare(t, ex, m, f, n)
			for _, from := range [][]float64{p.Lower.Start.Flat, far(n)} {
				y, got := run(t, s, from)
				require.True(t, got.Status.Good(), "%s of %s: %+v", what, name, got)
				require.InDeltaSlice(t, want, y, 1e-6*(1+floats.Norm(want, 2)), "%s of %s: %+v", what, name, got)
				require.Zero(t, got.Products)
				require.Greater(t, got.Values, got.Steps)
			}
		}
	}
}

// On a quadratic in exact arithmetic L-BFGS that remembers everything needs about as many steps as there are different
// eigenvalues, far fewer than gradient descent.
func TestLBFGSRemembers(t *testing.T) {
	ex := executor(t)
	c := solvertest.NewQuadratic(5, 2, solvertest.Spectrum(30, 1e4))
	p := load(t, ex, c)
	f, n := lower(t, p, ex, p.Upper.Start.Flat), p.Lower.Start.Size()
	_, long := run(t, prepare(t, ex, minimize.LBFGS{Tol: 1e-8, MaxSteps: 2000, Memory: 30}, f, n), far(n))
	_, short := run(t, prepare(t, ex, minimize.LBFGS{Tol: 1e-8, MaxSteps: 2000, Memory: 2}, f, n), far(n))
	require.True(t, long.Status.Good(), "%+v", long)
	require.Less(t, 2*long.Steps, short.Steps, "a longer memory helps: %+v, %+v", long, short)
}

// Rosenbrock's function is not convex on the way to its minimum at (1, 1).
func TestLBFGSRosenbrock(t *testing.T) {
	ex := executor(t)
	f := func(y *tensor.Node) *tensor.Node {
		a, b := y.Slice(0, 0, 1), y.Slice(0, 1, 2)
		return b.Sub(a.Square()).Square().Scale(100).Add(a.AddConst(-1).Square()).Sum()
	}
	s := prepare(t, ex, minimize.LBFGS{Tol: 1e-10, MaxSteps: 500}, f, 2)
	for _, from := range [][]float64{{-1.2, 1}, {0, 0}, {-3, -4}} {
		y, got := run(t, s, from)
		require.Equal(t, minimize.Converged, got.Status, "%+v", got)
		// |y - y*| <= |g|/λ near the minimum, whose Hessian has the smallest eigenvalue λ = 0.399.
		require.Less(t, floats.Distance([]float64{1, 1}, y, 2), got.GradientNorm/0.39+1e-14)
	}
}

// Where the function is concave on the way, pairs of negative curvature are left out and the directions still descend:
// f = ln(1 + y²) is concave for |y| > 1.
func TestLBFGSLeavesOutNegativeCurvature(t *testing.T) {
	ex := executor(t)
	s := prepare(t, ex, minimize.LBFGS{Tol: 1e-10, MaxSteps: 500}, func(y *tensor.Node) *tensor.Node {
		return y.Square().AddConst(1).Log().Sum()
	}, 1)
	y, got := run(t, s, []float64{40})
	require.True(t, got.Status.Good(), "%+v", got)
	require.InDelta(t, 0, y[0], 1e-8)
}

// Projected gradient descent: the minimizer over a box and over a simplex, known in closed form.
func TestProjectedDescent(t *testing.T) {
	center := []float64{2, -1, 0.3, 0.1}
	for name, c := range map[string]struct {
		set  problem.Set
		from []float64
		want []float64
	}{
		"box":     {problem.Box{Lo: 0, Hi: 1}, []float64{1, 1, 1, 1}, []float64{1, 0, 0.3, 0.1}},
		"simplex": {problem.Simplex{Total: 1}, []float64{0, 1, 0, 0}, []float64{1, 0, 0, 0}},
		"ball":    {problem.Ball{Radius: 1}, []float64{0, 0, 0, 1}, scaled(center, 1/floats.Norm(center, 2))},
	} {
		ex := executor(t)
		target := ex.Variable("center", tensor.Real, len(center))
		require.NoError(t, target.Write(center))
		f := func(y *tensor.Node) *tensor.Node {
			d := y.Sub(target.Node())
			return tensor.Dot(d, d).Scale(3)
		}
		y, got := run(t, prepare(t, ex, minimize.GradientDescent{Tol: 1e-10, MaxSteps: 500, Set: c.set}, f,
			len(center)), c.from)
		require.True(t, got.Status.Good(), "%s: %+v", name, got)
		require.InDeltaSlice(t, c.want, y, 1e-8, "%s: %+v", name, got)
		require.Less(t, got.GradientNorm, 1e-8, "%s: a minimizer is a fixed point of the projected step", name)
	}
}

func scaled(v []float64, by float64) []float64 {
	out := make([]float64, len(v))
	floats.ScaleTo(out, by, v)
	return out
}

func TestDescentEnds(t *testing.T) {
	square := func(y *tensor.Node) *tensor.Node { return tensor.Dot(y, y) }
	for _, dev := range []device.Device{ref.New(), cpudevice.New(2)} {
		ex := tensor.NewExecutor(dev)
		for name, m := range map[string]preparer{
			"l-bfgs":           minimize.LBFGS{Tol: 1e-5, MaxSteps: 2},
			"gradient descent": minimize.GradientDescent{Tol: 1e-5, MaxSteps: 2, Step: 1e-3},
		} {
			s := prepare(t, ex, m, square, 3)
			_, got := run(t, s, []float64{1, math.NaN(), 0})
			require.Equal(t, minimize.NotFinite, got.Status, name)
			require.Zero(t, got.Steps)
			_, got = run(t, s, []float64{0, 0, 0})
			require.Equal(t, minimize.Converged, got.Status, name)
			require.Zero(t, got.Steps)
			quartic := prepare(t, ex, m, func(y *tensor.Node) *tensor.Node { return y.Square().Square().Sum() }, 1)
			_, got = run(t, quartic, []float64{3})
			require.Equal(t, minimize.MaxSteps, got.Status, name)
			require.Equal(t, 2, got.Steps)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.NoError(t, s.Y().Write([]float64{1, 2, 3}))
			_, err := s.Run(ctx)
			require.ErrorIs(t, err, context.Canceled)
			require.NoError(t, quartic.Close())
			require.NoError(t, s.Close())
		}
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	}
	ex := executor(t)
	for _, m := range []preparer{
		minimize.LBFGS{}, minimize.LBFGS{MaxSteps: 1, Tol: -1}, minimize.LBFGS{MaxSteps: 1, Memory: -1},
		minimize.GradientDescent{}, minimize.GradientDescent{MaxSteps: 1, Tol: math.NaN()},
		minimize.GradientDescent{MaxSteps: 1, Step: math.Inf(1)},
	} {
		_, err := m.Prepare(ex, square, 3)
		require.ErrorContains(t, err, "wants a tolerance", "%+v", m)
	}
	none := func(*tensor.Node) *tensor.Node { return nil }
	for _, m := range []preparer{
		minimize.LBFGS{MaxSteps: 1}, minimize.GradientDescent{MaxSteps: 1}, minimize.Newton{MaxSteps: 1},
	} {
		_, err := m.Prepare(nil, square, 3)
		require.ErrorContains(t, err, "there is no executor", "%+v", m)
		_, err = m.Prepare(ex, nil, 3)
		require.ErrorContains(t, err, "there is no function to be minimized", "%+v", m)
		_, err = m.Prepare(ex, square, -1)
		require.ErrorContains(t, err, "a function of -1 variables", "%+v", m)
		_, err = m.Prepare(ex, none, 3)
		require.ErrorContains(t, err, "gives no node", "%+v", m)
	}
	_, err := minimize.LBFGS{MaxSteps: 1}.Prepare(ex, func(y *tensor.Node) *tensor.Node { return y }, 3)
	require.Error(t, err)
	_, err = minimize.GradientDescent{MaxSteps: 1}.Prepare(ex, func(y *tensor.Node) *tensor.Node { return y }, 3)
	require.Error(t, err)
}

// A function whose gradient has a square that float32 does not hold, large or small, is minimized as any other.
func TestDescentOfAnySize(t *testing.T) {
	dev := cpudevice.New(2)
	ex := tensor.NewExecutor(dev)
	for _, size := range []float64{1e-25, 1, 1e25} {
		for name, m := range map[string]preparer{
			"newton":           minimize.Newton{Tol: 1e-6, MaxSteps: 20},
			"l-bfgs":           minimize.LBFGS{Tol: 1e-6, MaxSteps: 100},
			"gradient descent": minimize.GradientDescent{Tol: 1e-6, MaxSteps: 100},
		} {
			s := prepare(t, ex, m, func(y *tensor.Node) *tensor.Node {
				off := y.AddConst(-3)
				return off.Square().Mul(tensor.Iota(0, 2).ToReal().AddConst(1)).Sum().Scale(size)
			}, 2)
			require.NoError(t, s.Y().Write([]float64{0.5, 0.25}))
			got, err := s.RunTo(context.Background(), 1e-5*size)
			require.NoError(t, err)
			y, err := s.Y().Read()
			require.NoError(t, err)
			require.True(t, got.Status.Good(), "%s at %g: %+v", name, size, got)
			require.InDeltaSlice(t, []float64{3, 3}, y, 1e-4, "%s at %g: %+v", name, size, got)
			require.NoError(t, s.Close())
		}
	}
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}
