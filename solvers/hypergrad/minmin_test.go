package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
)

// quartic is Q4: F = G = ½(y-x)² + ¼y⁴, with ∇h = -(y* - x) and y* + y*³ = x.
func quartic() *problem.Problem {
	g := problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return y.Sub(x).Square().Sum().Scale(0.5).Add(y.Square().Square().Sum().Scale(0.25))
	})
	return &problem.Problem{Name: "quartic", MinMin: true,
		Lower: problem.Level{Start: problem.Vector(0.1), Value: g},
		Upper: problem.Level{Start: problem.Vector(1.3), Value: g}}
}

// rootOf is the y* of Q4 by bisection.
func rootOf(x float64) float64 {
	lo, hi := 0.0, x
	for range 200 {
		if y := (lo + hi) / 2; y+y*y*y < x {
			lo = y
		} else {
			hi = y
		}
	}
	return lo
}

// The errors of the three estimators fall with the distance e of y_t from y* like e, faster than e, and like e²: slopes
// of log error over log e, fitted by least squares along the iterates of gradient descent.
func TestMinMinSlopes(t *testing.T) {
	const x, y0, eta = 1.3, 0.1, 0.1
	star := rootOf(x)
	ex := executor(t)
	p := quartic()
	inner := hypergrad.GradientSteps{Step: eta}
	logs := map[string][2][]float64{}
	y, last := y0, 0.0
	for k := 1; k <= 36; k++ {
		y -= eta * (y - x + y*y*y)
		e := math.Abs(y - star)
		if k < 8 {
			continue
		}
		require.Greater(t, e, 1e-7, "e² is far above rounding")
		for name, h := range map[string]*hypergrad.Hypergradient{
			"g1": on(t, ex, p, hypergrad.MinMinAnalytic{}, []float64{x}, []float64{y}),
			"g2": on(t, ex, p, hypergrad.MinMinAutomatic{Inner: inner, Steps: k}, []float64{x}, []float64{y0}),
			"g3": on(t, ex, p, hypergrad.MinMinImplicit{Solver: linear.CG{RTol: 1e-14}}, []float64{x}, []float64{y}),
		} {
			off := math.Abs(h.Gradient[0] + star - x)
			l := logs[name]
			l[0], l[1] = append(l[0], math.Log(e)), append(l[1], math.Log(off))
			logs[name] = l
			if name == "g3" {
				last = off / (e * e)
				require.Equal(t, hypergrad.Estimate, h.Kind)
				require.Less(t, off, h.Error)
				require.Less(t, h.Error, 10*off)
			}
		}
	}
	slope := func(name string) float64 {
		_, s := stat.LinearRegression(logs[name][0], logs[name][1], nil, false)
		t.Logf("%s: slope %.3f", name, s)
		return s
	}
	require.InDelta(t, 1, slope("g1"), 0.02)
	g2 := slope("g2")
	require.Greater(t, g2, 1.5)
	require.Less(t, g2, 2.0, "the factor t keeps it below 2")
	require.InDelta(t, 2, slope("g3"), 0.02)
	// err/e² tends to ½ y*·6/(1+3y*²)/… = |½ C H⁻¹ G‴| with C = -1, H = 1 + 3y*², G‴ = 6y*.
	require.InEpsilon(t, 0.5*6*star/(1+3*star*star), last, 1e-3)
}

// At y* all three agree, and the implicit term vanishes.
func TestMinMinAtTheMinimizer(t *testing.T) {
	const x = 1.3
	star := rootOf(x)
	ex := executor(t)
	p := quartic()
	for _, m := range []hypergrad.Method{hypergrad.MinMinAnalytic{},
		hypergrad.MinMinAutomatic{Inner: hypergrad.GradientSteps{Step: 0.2}, Steps: 5},
		hypergrad.MinMinImplicit{Solver: linear.CG{RTol: 1e-12}}} {
		h := on(t, ex, p, m, []float64{x}, []float64{star})
		require.InDelta(t, x-star, h.Gradient[0], 1e-14, m.Name())
		require.Less(t, h.Implicit, 1e-14, m.Name())
		require.Less(t, h.Stationarity, 1e-14, m.Name())
	}
	require.Equal(t, problem.Counts{LowerGradients: 1},
		on(t, ex, p, hypergrad.MinMinAnalytic{}, []float64{x}, []float64{star}).Counts)
}

func TestMinMinRefuses(t *testing.T) {
	try := func(p *problem.Problem, m hypergrad.Method) error {
		ex := executor(t)
		_, err := hypergrad.OnExecutor(context.Background(), ex, p, m, p.Upper.Start, p.Lower.Start)
		require.Zero(t, ex.MemoryInUse())
		return err
	}
	methods := []hypergrad.Method{hypergrad.MinMinAnalytic{},
		hypergrad.MinMinAutomatic{Inner: hypergrad.GradientSteps{Step: 0.2}, Steps: 5},
		hypergrad.MinMinImplicit{Solver: linear.CG{RTol: 1e-12}}}
	for _, m := range methods {
		p := quartic()
		p.MinMin = false
		require.ErrorContains(t, try(p, m), "set Problem.MinMin where they are, or take Implicit or Unrolled")
		p = quartic()
		p.Upper.Value = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return x.Sub(y).Sum() })
		require.ErrorContains(t, try(p, m), "at its start values the gradients of F and G differ")
		p = quartic()
		p.Lower.Equality = func(x, y problem.Vars, _ problem.Batch) *tensor.Node { return y.Flat() }
		require.ErrorContains(t, try(p, m), "has constraint functions on the lower level")
	}
	require.ErrorContains(t, try(quartic(), hypergrad.MinMinAnalytic{Rows: -1}), "MinMinAnalytic.Rows is -1")
	require.ErrorContains(t, try(quartic(), hypergrad.MinMinAutomatic{Steps: 1}), "MinMinAutomatic.Inner is missing")
	require.ErrorContains(t, try(quartic(), hypergrad.MinMinImplicit{}), "without a solver")
}
