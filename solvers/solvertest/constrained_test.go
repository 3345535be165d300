package solvertest_test

import (
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// everyConstrained has a problem of every type whose lower level is no free minimization.
func everyConstrained() map[string]solvertest.Closed {
	return map[string]solvertest.Closed{
		"clipped":     solvertest.NewClipped(1, 6),
		"shares":      solvertest.NewShares(2, 7),
		"one share":   solvertest.NewShares(3, 1),
		"equality":    solvertest.NewEquality(4, 3, 2, solvertest.Spectrum(6, 50)),
		"tolls":       solvertest.Tolls{},
		"optimistic":  solvertest.Indifferent{},
		"pessimistic": solvertest.Indifferent{Pessimistic: true},
		"k-means":     solvertest.NewKMeans(7, 3, 3),
		"fixed point": solvertest.NewFixedPoint(5, 3, 5, 7),
		"lasso":       solvertest.NewLasso(6, 20, 12, 9),
		"lasso of zeros": &solvertest.Lasso{Train: solvertest.NewLasso(6, 20, 12, 9).Train,
			Val: solvertest.NewLasso(6, 20, 12, 9).Val, B: make([]float64, 20), HeldOut: make([]float64, 12), At: 0},
	}
}

// leftOver is what the optimality conditions of the lower level leave over at (x, y), built from the problem itself.
func leftOver(b *problem.Bound, x, y *tensor.Node) *tensor.Node {
	o, all := b.Oracle(), b.All(problem.Lower)
	switch {
	case b.Lower.Residual != nil:
		return o.Root(x, y, all).Value()
	case b.Lower.Prox != nil:
		return o.Proximal(x, y, tensor.Const(0.1), all).Value()
	}
	g := o.At(problem.Lower, x, y, all, params.TrainFrozen, nil).GradY()
	if b.Lower.Equality != nil {
		return o.Constraints(problem.Lower, x, y, all).Equality
	}
	return b.Set(problem.Lower).Project(y.Sub(g), all).Sub(y)
}

// At the y of Exact the lower level's own optimality conditions hold, and the gradient of Exact is the derivative of
// x ↦ F(x, y*(x)). For equations, which leave over the violation alone here, no y near that satisfies them is better.
func TestConstrainedExact(t *testing.T) {
	dev := ref.New()
	defer dev.Close()
	for name, c := range everyConstrained() {
		t.Run(name, func(t *testing.T) {
			ex := tensor.NewExecutor(dev)
			p, err := solvertest.Load(ex, c)
			require.NoError(t, err)
			require.NoError(t, p.Check())
			b, err := p.Bind(ex)
			require.NoError(t, err)
			x := ex.Variable("x", tensor.Real, p.Upper.Start.Size())
			y := ex.Variable("y", tensor.Real, p.Lower.Start.Size())
			f, left := ex.Variable("F", tensor.Real), ex.Variable("left", tensor.Real)
			fn, err := ex.Compile("evaluate", func() []tensor.Update {
				upper := b.Oracle().At(problem.Upper, x.Node(), y.Node(), b.All(problem.Upper), params.TrainFrozen, nil)
				remains := leftOver(b, x.Node(), y.Node()).Norm()
				return []tensor.Update{{Var: f, Value: upper.Value()}, {Var: left, Value: remains}}
			})
			require.NoError(t, err)
			value := func(at []float64) (float64, float64) {
				point, _ := c.Exact(at)
				require.NoError(t, x.Write(at))
				require.NoError(t, y.Write(point))
				require.NoError(t, fn.Run(1))
				v, err1 := f.Number()
				l, err2 := left.Number()
				require.NoError(t, err1)
				require.NoError(t, err2)
				return v, l
			}
			at := slices.Clone(p.Upper.Start.Flat)
			_, gradient := c.Exact(at)
			_, remains := value(at)
			require.Less(t, remains, 1e-12)
			const step = 6e-6 // see TestExactAgainstFiniteDifferences
			for i := range at {
				move := func(s float64) float64 {
					moved := slices.Clone(at)
					moved[i] += s
					v, _ := value(moved)
					return v
				}
				require.InDelta(t, (move(step)-move(-step))/(2*step), gradient[i], 1e-8*(1+floats.Norm(gradient, 2)),
					"x_%d", i)
			}
			require.NoError(t, b.Close())
			require.NoError(t, ex.Close())
		})
	}
}

// The y of Exact minimizes the quadratic on its equations: feasible moves do not lower G.
func TestEqualityIsMinimal(t *testing.T) {
	m := solvertest.NewEquality(4, 3, 2, solvertest.Spectrum(6, 50))
	x := []float64{1, -0.5, 0.3}
	y, _ := m.Exact(x)
	slope := make([]float64, 6) // Ay + Cᵀx + a
	for i := range slope {
		slope[i] = m.Free.LowerA[i] + floats.Dot(m.Free.A.RawRowView(i), y)
		for k, v := range x {
			slope[i] += v * m.Free.C.At(k, i)
		}
	}
	// The slope is a combination of the two rows: its distance from their span, by Gram and Schmidt.
	e1 := slices.Clone(m.Rows.RawRowView(0))
	floats.Scale(1/floats.Norm(e1, 2), e1)
	e2 := slices.Clone(m.Rows.RawRowView(1))
	floats.AddScaled(e2, -floats.Dot(e1, e2), e1)
	floats.Scale(1/floats.Norm(e2, 2), e2)
	size := floats.Norm(slope, 2)
	floats.AddScaled(slope, -floats.Dot(e1, slope), e1)
	floats.AddScaled(slope, -floats.Dot(e2, slope), e2)
	require.Less(t, floats.Norm(slope, 2), 1e-13*size)
	require.Greater(t, size, 1e-2, "and the equations do hold it")
}
