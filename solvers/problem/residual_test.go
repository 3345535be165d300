package problem_test

import (
	"testing"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// equations is R = (x₁y₁ + y₂, x₂y₂² - y₁) as a residual.
func equations() *problem.Problem {
	p := square(problem.Vector(1, 2), problem.Vector(3, 5))
	p.Lower.Value = nil
	p.Lower.Residual = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		at := func(v *tensor.Node, i int) *tensor.Node { return v.Slice(0, i, i+1) }
		return tensor.Concat(0, at(x, 0).Mul(at(y, 0)).Add(at(y, 1)), at(x, 1).Mul(at(y, 1).Square()).Sub(at(y, 0)))
	})
	return p
}

// What is asked of a root: by hand, each kind of call counted once for a vector. With x = (3, 5) and y = (1, 2),
// ∂yR = [3 1; -1 20] and ∂xR = [1 0; 0 4].
func TestRoot(t *testing.T) {
	ex := executor(t)
	b := bind(t, ex, equations())
	o := b.Oracle()
	x, y, w := vector(t, ex, []float64{3, 5}), vector(t, ex, []float64{1, 2}), vector(t, ex, []float64{10, 100})
	got := compute(t, ex, func() []*tensor.Node {
		r := o.Root(x, y, b.All(problem.Lower))
		require.Zero(t, o.Counts, "a residual that is asked for nothing costs nothing")
		for range 2 {
			r.Value()
			r.TransposedY(w)
			r.TransposedX(w)
			r.Along(w)
		}
		return []*tensor.Node{r.Value(), r.TransposedY(w), r.TransposedX(w), r.Along(w)}
	})
	require.Equal(t, [][]float64{{5, 19}, {30 - 100, 10 + 2000}, {10, 400}, {30 + 100, -10 + 2000}}, got)
	require.Equal(t, problem.Counts{LowerGradients: 1, HVP: 2, JVP: 1}, o.Counts)
}

// The proximal-gradient mapping of ½|y|² + |y|₁ by hand: with s = ½ and y = (3, -1), z = y/2 and prox(z) = (1, 0), so
// that R = 2(y - prox(z)); its Jacobian is 2(1 - ½) = 1 on the support and 2 off it.
func TestProximal(t *testing.T) {
	ex := executor(t)
	p := square(problem.Vector(3, -1), problem.Vector(0))
	p.Lower.Prox = func(_ problem.Vars, z, step *tensor.Node) *tensor.Node {
		return z.Sign().Mul(z.Abs().Sub(step).Relu())
	}
	b := bind(t, ex, p)
	o := b.Oracle()
	w := vector(t, ex, []float64{10, 100})
	got := compute(t, ex, func() []*tensor.Node {
		r := o.Proximal(vector(t, ex, []float64{0}), vector(t, ex, []float64{3, -1}), tensor.Const(0.5),
			b.All(problem.Lower))
		return []*tensor.Node{r.Value(), r.TransposedY(w), r.Along(w)}
	})
	require.Equal(t, [][]float64{{4, -2}, {10, 200}, {10, 200}}, got)
	require.Equal(t, problem.Counts{LowerGradients: 1, HVP: 2}, o.Counts)
}

func TestFixedPoint(t *testing.T) {
	ex := executor(t)
	p := equations()
	p.Lower.Residual = problem.FixedPoint(problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return x.Mul(y).Reshape(2, 1)
	}))
	b := bind(t, ex, p)
	got := compute(t, ex, func() []*tensor.Node {
		r := b.Oracle().Root(vector(t, ex, []float64{3, 5}), vector(t, ex, []float64{1, 2}), b.All(problem.Lower))
		return []*tensor.Node{r.Value()}
	})
	require.Equal(t, [][]float64{{1 - 3, 2 - 10}}, got)
}

// What a residual or a proximal map must not be, named where it is asked for.
func TestRootRefuses(t *testing.T) {
	ex := executor(t)
	one, two := tensor.Zeros(1), tensor.Zeros(2)
	for want, c := range map[string]struct {
		change func(*problem.Problem)
		ask    func(o *problem.Oracle)
	}{
		"the lower level of square is no residual": {
			func(p *problem.Problem) { p.Lower.Residual, p.Lower.Value = nil, p.Upper.Value },
			func(o *problem.Oracle) { o.Root(two, two, problem.Batch{}) }},
		"the residual of square gives no node": {
			func(p *problem.Problem) {
				p.Lower.Residual = problem.Flat(func(_, _ *tensor.Node, _ problem.Batch) *tensor.Node { return nil })
			},
			func(o *problem.Oracle) { o.Root(two, two, problem.Batch{}) }},
		"the residual of square gives Real []; wants one Real number for each of the 2 lower variables": {
			func(p *problem.Problem) {
				p.Lower.Residual = problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
					return y.Sum()
				})
			},
			func(o *problem.Oracle) { o.Root(two, two, problem.Batch{}) }},
		"the lower level of square has no proximal map": {func(*problem.Problem) {},
			func(o *problem.Oracle) { o.Proximal(two, two, one, problem.Batch{}) }},
		"the map of a fixed point gives no node": {
			func(p *problem.Problem) {
				p.Lower.Residual = problem.FixedPoint(func(_, _ problem.Vars, _ problem.Batch) *tensor.Node {
					return nil
				})
			},
			func(o *problem.Oracle) { o.Root(two, two, problem.Batch{}) }},
		"the proximal map of square does not give one Real number for each of the 2 lower variables": {
			func(p *problem.Problem) {
				p.Lower.Residual, p.Lower.Value = nil, p.Upper.Value
				p.Lower.Prox = func(_ problem.Vars, z, _ *tensor.Node) *tensor.Node { return z.Sum() }
			},
			func(o *problem.Oracle) { o.Proximal(two, two, tensor.Const(1), problem.Batch{}) }},
	} {
		p := equations()
		c.change(p)
		b := bind(t, ex, p)
		err := tensor.Catch(func() { c.ask(b.Oracle()) })
		require.ErrorContains(t, err, want)
	}
}
