package hypergrad_test

import (
	"context"
	"testing"

	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// checkDifferences compares ⟨t, g⟩ with central differences of h(x) = F(x, y*(x)) along random directions, the lower
// level solved by Newton's method at each point.
func checkDifferences(t *testing.T, ex *tensor.Executor, p *problem.Problem, tolerance float64) {
	np, nq := p.Upper.Start.Size(), p.Lower.Start.Size()
	e := estimator(t, ex, p, linear.CG{RTol: 1e-13, MaxSteps: 10 * nq})
	b := bind(t, ex, p)
	newton, err := minimize.Newton{Tol: 1e-13, MaxSteps: 100, Forcing: 1e-3}.Prepare(ex,
		func(y *tensor.Node) *tensor.Node {
			return b.Oracle().At(problem.Lower, e.x.Node(), y, b.All(problem.Lower), params.TrainFrozen, nil).Value()
		}, nq)
	require.NoError(t, err)
	defer newton.Close()
	value := ex.Variable("F", tensor.Real)
	upper, err := ex.Compile("F", func() []tensor.Update {
		f := b.Oracle().At(problem.Upper, e.x.Node(), newton.Y().Node(), b.All(problem.Upper), params.TrainFrozen, nil)
		return []tensor.Update{{Var: value, Value: f.Value()}}
	})
	require.NoError(t, err)
	minimize := func(x, from []float64) []float64 {
		require.NoError(t, e.x.Write(x))
		require.NoError(t, newton.Y().Write(from))
		m, err := newton.Run(context.Background())
		require.NoError(t, err)
		require.Less(t, m.GradientNorm, 1e-12, "%+v", m)
		y, err := newton.Y().Read()
		require.NoError(t, err)
		return y
	}
	y := minimize(p.Upper.Start.Flat, p.Lower.Start.Flat)
	g := e.at(p.Upper.Start.Flat, y)
	require.Equal(t, linear.Converged, g.Status)
	const step = 6e-6 // u^(1/3): truncation and rounding balance near 1e-10
	for k := range uint32(5) {
		d := direction(np, k)
		at := func(s float64) float64 {
			x := append([]float64(nil), p.Upper.Start.Flat...)
			floats.AddScaled(x, s, d)
			minimize(x, y)
			require.NoError(t, upper.Run(1))
			f, err := value.Number()
			require.NoError(t, err)
			return f
		}
		slope := (at(step) - at(-step)) / (2 * step)
		require.InDelta(t, slope, floats.Dot(g.Gradient, d), tolerance, "direction %d", k)
		require.Greater(t, floats.Norm(g.Gradient, 2), 100*tolerance, "the tolerance must mean something")
	}
}

func direction(n int, k uint32) []float64 {
	draws := make([]float32, n)
	philox.Normals(draws, 1, k, philox.StreamProbe, 0)
	out := make([]float64, n)
	for i, z := range draws {
		out[i] = float64(z)
	}
	floats.Scale(1/floats.Norm(out, 2), out)
	return out
}

func TestDifferencesOnCleaning(t *testing.T) {
	ex := executor(t)
	m := solvertest.NewCleaning(21, 10, 8, 4, 3, 0.05)
	p := load(t, ex, m)
	checkDifferences(t, ex, p, 1e-8)

	// And against the dense answer, which shares no code.
	y, want := m.Exact(p.Upper.Start.Flat)
	h := estimator(t, ex, p, linear.CG{RTol: 1e-12, MaxSteps: 200}).at(p.Upper.Start.Flat, y)
	require.InDeltaSlice(t, want, h.Gradient, 1e-11)
}

func TestDifferencesOnFiniteSum(t *testing.T) {
	ex := executor(t)
	checkDifferences(t, ex, load(t, ex, solvertest.NewFiniteSum(22, 5, 4, 3, solvertest.Spectrum(6, 20))), 1e-7)
}

// The lower level is a network; strong regularization makes it convex around its minimizer.
func TestDifferencesOnPerceptron(t *testing.T) {
	const rows, held = 10, 6
	ex := executor(t)
	net := models.MLP{Widths: []int{3, 4, 3}, Activation: models.Tanh}
	start, _ := net.Init(3)
	outputs := func(y, rows *tensor.Node) *tensor.Node {
		z, _ := net.Apply(y, nil, rows, params.Train)
		return z
	}
	table := func(n int, step uint32) *tensor.Node {
		v := ex.Variable("rows", tensor.Real, n, 3)
		d := direction(3*n, step)
		floats.Scale(5, d)
		require.NoError(t, v.Write(d))
		return v.Node()
	}
	labels := func(n int) *tensor.Node {
		v := ex.Variable("labels", tensor.Int, n)
		l := make([]int32, n)
		for i := range l {
			l[i] = int32(i % 3)
		}
		require.NoError(t, v.WriteInts(l))
		return v.Node()
	}
	train, val, trainLabels, valLabels := table(rows, 100), table(held, 101), labels(rows), labels(held)
	p := &problem.Problem{
		Name: "perceptron",
		Lower: problem.Level{Start: start, Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
			loss := tensor.CrossEntropy(outputs(y, train), trainLabels)
			return models.WeightedMean(loss, x.Sigmoid()).Add(models.SquaredNorm(y).Scale(0.02))
		})},
		Upper: problem.Level{Start: problem.Vector(direction(rows, 102)...),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.CrossEntropy(outputs(y, val), valLabels).Mean()
			})},
	}
	checkDifferences(t, ex, p, 1e-7)
}
