package problem_test

import (
	"testing"

	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

const (
	compositeRows, compositeInputs, compositeHidden = 6, 2, 3
	compositeSize                                   = compositeHidden*compositeInputs + compositeHidden
	compositeDecay                                  = 0.01
)

func draws(seed uint64, n int) []float64 {
	z := make([]float32, n)
	philox.Normals(z, seed, 0, philox.StreamTest, 0)
	out := make([]float64, n)
	for i := range z {
		out[i] = float64(z[i])
	}
	return out
}

// network is a least-squares problem of a net with one hidden layer of ReLU, and a weight decay.
func network(hidden func(*tensor.Node) *tensor.Node) *problem.Problem {
	p := square(problem.Vector(1.5), problem.Vector(0))
	p.Lower = problem.Level{
		Start: problem.Vector(draws(1, compositeSize)...),
		Rows: problem.Rows{"in": problem.Reals(draws(2, compositeRows*compositeInputs), compositeInputs),
			"target": problem.Reals(draws(3, compositeRows))},
		Composite: &problem.Composite{
			Outputs: func(_, y problem.Vars, b problem.Batch) *tensor.Node {
				const first = compositeHidden * compositeInputs
				w := y.Flat().Slice(0, 0, first).Reshape(compositeInputs, compositeHidden)
				v := y.Flat().Slice(0, first, compositeSize).Reshape(compositeHidden, 1)
				return hidden(b.Get("in").MatMul(w)).MatMul(v)
			},
			Outer: func(z *tensor.Node, _ problem.Vars, b problem.Batch) *tensor.Node {
				return z.Reshape(b.Rows).Sub(b.Get("target")).Square().Mean().Scale(0.5)
			},
			Rest: func(_, y problem.Vars, _ problem.Batch) *tensor.Node { return half(y.Flat()).Scale(compositeDecay) },
		},
	}
	return p
}

// symmetricOf is the matrix whose products a point gives.
func symmetricOf(t *testing.T, ex *tensor.Executor, n int, product func(v *tensor.Node) *tensor.Node) *mat.SymDense {
	in := ex.Variable("in", tensor.Real, n)
	run := compiled(t, ex, func() []*tensor.Node { return []*tensor.Node{product(in.Node())} })
	full := mat.NewDense(n, n, nil)
	for i := range n {
		e := make([]float64, n)
		e[i] = 1
		require.NoError(t, in.Write(e))
		full.SetCol(i, run()[0])
	}
	out := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			require.InDelta(t, full.At(i, j), full.At(j, i), 1e-14, "symmetric")
			out.SetSym(i, j, full.At(i, j))
		}
	}
	return out
}

func smallestEigenvalue(t *testing.T, a *mat.SymDense) float64 {
	var eig mat.EigenSym
	require.True(t, eig.Factorize(a, false))
	return eig.Values(nil)[0]
}

// The Gauss-Newton matrix is JᵀJ/N + decay I with J from differences of the outputs, and positive definite also where
// the Hessian of a net with ReLU is indefinite.
func TestGaussNewton(t *testing.T) {
	ex := executor(t)
	p := network((*tensor.Node).Relu)
	b := bind(t, ex, p)
	o := b.Oracle()
	x, yv := vector(t, ex, p.Upper.Start.Flat), ex.Variable("y", tensor.Real, compositeSize)
	require.NoError(t, yv.Write(p.Lower.Start.Flat))
	at := func() *problem.Point {
		return o.At(problem.Lower, x, yv.Node(), b.All(problem.Lower), params.Train, nil)
	}
	hessian := symmetricOf(t, ex, compositeSize, func(v *tensor.Node) *tensor.Node { return at().HVP(v) })
	newton := symmetricOf(t, ex, compositeSize, func(v *tensor.Node) *tensor.Node { return at().GaussNewton(v) })
	require.Less(t, smallestEigenvalue(t, hessian), -0.01, "the Hessian is indefinite")
	require.GreaterOrEqual(t, smallestEigenvalue(t, newton), compositeDecay-1e-14)

	outputs := compiled(t, ex, func() []*tensor.Node {
		layout := p.Lower.Start.Layout.Vars(yv.Node())
		return []*tensor.Node{p.Lower.Composite.Outputs(nil, layout, b.All(problem.Lower))}
	})
	const step = 1e-5 // the outputs are piecewise quadratic in y: differences are exact but for rounding, near 1e-11
	jacobian := mat.NewDense(compositeRows, compositeSize, nil)
	for i := range compositeSize {
		shifted := func(by float64) []float64 {
			y := append([]float64(nil), p.Lower.Start.Flat...)
			y[i] += by
			require.NoError(t, yv.Write(y))
			return outputs()[0]
		}
		up, down := shifted(step), shifted(-step)
		for r := range up {
			jacobian.Set(r, i, (up[r]-down[r])/(2*step))
		}
	}
	var want mat.Dense
	want.Mul(jacobian.T(), jacobian)
	want.Scale(1.0/compositeRows, &want)
	for i := range compositeSize {
		want.Set(i, i, want.At(i, i)+compositeDecay)
		for j := range compositeSize {
			require.InDelta(t, want.At(i, j), newton.At(i, j), 1e-9)
		}
	}
}

// For outputs that are linear in y the Gauss-Newton matrix is the Hessian, for any outer function.
func TestGaussNewtonOfLinearModels(t *testing.T) {
	ex := executor(t)
	p := square(problem.Vector(1.5), problem.Vector(0))
	const classes = 3
	p.Lower = problem.Level{
		Start: problem.Vector(draws(4, compositeInputs*classes)...),
		Rows: problem.Rows{"in": problem.Reals(draws(5, compositeRows*compositeInputs), compositeInputs),
			"label": problem.Ints([]int32{0, 1, 2, 0, 2, 1})},
		Composite: &problem.Composite{
			Outputs: func(_, y problem.Vars, b problem.Batch) *tensor.Node {
				return b.Get("in").MatMul(y.Flat().Reshape(compositeInputs, classes))
			},
			Outer: func(z *tensor.Node, x problem.Vars, b problem.Batch) *tensor.Node {
				return tensor.CrossEntropy(z, b.Get("label")).Mean().Mul(x.Flat().Square().Sum())
			},
		},
	}
	b := bind(t, ex, p)
	o := b.Oracle()
	x, y, v := vector(t, ex, []float64{1.5}), vector(t, ex, p.Lower.Start.Flat), vector(t, ex, draws(6, 6))
	got := compute(t, ex, func() []*tensor.Node {
		at := o.At(problem.Lower, x, y, b.All(problem.Lower), params.Train, nil)
		gn := at.GaussNewton(v)
		require.Same(t, gn, at.GaussNewton(v))
		require.Equal(t, problem.Counts{HVP: 1}, o.Counts)
		return []*tensor.Node{gn, at.HVP(v), at.DataGradY(), at.GradY()}
	})
	require.InDeltaSlice(t, got[1], got[0], 1e-14)
	require.InDeltaSlice(t, got[3], got[2], 1e-15, "without a rest the data are all that the gradient depends on")
}

// A Composite's value and gradient are those of the sum, and its data's gradient leaves the rest out.
func TestCompositeIsItsSum(t *testing.T) {
	ex := executor(t)
	p := network((*tensor.Node).Tanh)
	c := p.Lower.Composite
	whole := network((*tensor.Node).Tanh)
	whole.Lower.Composite = nil
	whole.Lower.Value = func(x, y problem.Vars, b problem.Batch) *tensor.Node {
		return c.Outer(c.Outputs(x, y, b), x, b).Add(c.Rest(x, y, b))
	}
	ask := func(p *problem.Problem) [][]float64 {
		b := bind(t, ex, p)
		x, y := vector(t, ex, p.Upper.Start.Flat), vector(t, ex, p.Lower.Start.Flat)
		v := vector(t, ex, draws(7, compositeSize))
		return compute(t, ex, func() []*tensor.Node {
			at := b.Oracle().At(problem.Lower, x, y, b.All(problem.Lower), params.Train, nil)
			return []*tensor.Node{at.Value(), at.GradX(), at.GradY(), at.HVP(v), at.DataGradY()}
		})
	}
	parts, sum := ask(p), ask(whole)
	for i := range 4 {
		require.InDeltaSlice(t, sum[i], parts[i], 1e-14)
	}
	for i, g := range parts[4] {
		require.InDelta(t, sum[2][i]-compositeDecay*p.Lower.Start.Flat[i], g, 1e-14)
	}

	_, err := ex.Compile("refused", func() []tensor.Update {
		b := bind(t, ex, whole)
		x, y := vector(t, ex, p.Upper.Start.Flat), vector(t, ex, p.Lower.Start.Flat)
		at := b.Oracle().At(problem.Lower, x, y, b.All(problem.Lower), params.Train, nil)
		return []tensor.Update{{Var: ex.Variable("out", tensor.Real, compositeSize), Value: at.GaussNewton(y)}}
	})
	require.ErrorContains(t, err, "is no Composite, which Gauss-Newton products need")
	p.Lower.Composite = &problem.Composite{}
	require.ErrorContains(t, p.Check(), "Composite lacks its Outputs or its Outer")
}
