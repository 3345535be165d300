package tensor_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/device/ref"
	. "bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

func positive(r *rand.Rand) float64 { return 0.5 + 2*r.Float64() }

// labels is a constant Int vector 0, 1, 2, … mod classes, built from a counter.
func labels(n, classes int) *Node {
	i := Iota(0, n).ToReal()
	q := i.Scale(1 / float64(classes)).AddConst(1e-6).Floor()
	return i.Sub(q.Scale(float64(classes))).ToInt()
}

func unary(name string, f func(*Node) *Node, sample func(*rand.Rand) float64) tensortest.Case {
	return tensortest.Case{Name: name, Shapes: [][]int{{3, 4}}, Sample: sample,
		Build: func(x []*Node) *Node { return f(x[0]) }}
}

func binary(name string, f func(a, b *Node) *Node, sample func(*rand.Rand) float64) tensortest.Case {
	return tensortest.Case{Name: name, Shapes: [][]int{{3, 4}, {3, 1}}, Sample: sample,
		Build: func(x []*Node) *Node { return f(x[0], x[1]) }}
}

// cases has a row for every operation and elementwise function that has a derivative.
var cases = []tensortest.Case{
	unary("neg", (*Node).Neg, nil),
	unary("abs", (*Node).Abs, positive),
	unary("sqrt", (*Node).Sqrt, positive),
	unary("exp", (*Node).Exp, nil),
	unary("log", (*Node).Log, positive),
	unary("sin", (*Node).Sin, nil),
	unary("cos", (*Node).Cos, nil),
	unary("tanh", (*Node).Tanh, nil),
	unary("sigmoid", (*Node).Sigmoid, nil),
	unary("softplus", (*Node).Softplus, nil),
	unary("relu", func(x *Node) *Node { return x.Relu().Square() }, nil),
	unary("square", (*Node).Square, nil),
	unary("sign is flat", func(x *Node) *Node { return x.Sign().Mul(x).Add(x.Floor()) }, positive),
	binary("add", (*Node).Add, nil),
	binary("sub", (*Node).Sub, nil),
	binary("mul", (*Node).Mul, nil),
	binary("div", (*Node).Div, positive),
	binary("max", func(a, b *Node) *Node { return a.Max(b).Square() }, nil),
	binary("min", func(a, b *Node) *Node { return a.Min(b).Exp() }, nil),
	binary("where", func(a, b *Node) *Node { return Where(a.Lt(Const(0)), a.Mul(b), b.Exp()) }, nil),
	binary("where hides NaN", func(a, b *Node) *Node {
		return Where(Const(0).Lt(a), a.Log(), b.Square())
	}, func(r *rand.Rand) float64 { return positive(r) * float64(1-2*r.IntN(2)) }),
	binary("clamp", func(a, b *Node) *Node { return a.Mul(b).Clamp(Const(-0.5), b.Square()) }, positive),
	binary("compare is flat", func(a, b *Node) *Node { return a.Le(b).Mul(a).Add(a.Eq(b)) }, nil),

	unary("reshape", func(x *Node) *Node { return x.Reshape(2, 6).Square() }, nil),
	unary("permute", func(x *Node) *Node { return x.Reshape(2, 3, 2).Permute(2, 0, 1).Exp() }, nil),
	unary("reshape of transposed", func(x *Node) *Node { return x.T().Reshape(6, 2).Mul(x.Reshape(6, 2)) }, nil),
	unary("expand", func(x *Node) *Node { return x.Reshape(3, 1, 4).Expand(2, 3, 5, 4).Square().Sum(0, 2) }, nil),
	unary("slice", func(x *Node) *Node { return x.Slice(1, 1, 3).Exp().Sum(0) }, nil),
	unary("slices side by side", func(x *Node) *Node {
		f := x.Flatten()
		return f.Slice(0, 0, 4).Mul(f.Slice(0, 4, 8)).Add(f.Slice(0, 8, 12).Exp())
	}, nil),
	unary("overlapping slices", func(x *Node) *Node { return x.Slice(1, 0, 3).Mul(x.Slice(1, 1, 4)) }, nil),
	unary("pad", func(x *Node) *Node { return x.Pad(0, 1, 2).Square() }, nil),
	binary("concat", func(a, b *Node) *Node { return Concat(1, a.Exp(), b, a.Mul(b)).Square() }, nil),
	unary("stop", func(x *Node) *Node { return x.Exp().Add(x.Sign().StopGradient()) }, nil),

	unary("sum", func(x *Node) *Node { return x.Exp().Sum(0).Square() }, nil),
	unary("mean", func(x *Node) *Node { return x.Square().Mean() }, nil),
	unary("max over", func(x *Node) *Node { return x.MaxOver(1).Square() }, nil),
	unary("max over leading", func(x *Node) *Node { return x.Reshape(2, 3, 2).MaxOver(0, 2).Exp() }, nil),
	unary("max over all", func(x *Node) *Node { return x.MaxOver().Square() }, nil),
	unary("norm", func(x *Node) *Node { return x.Norm() }, nil),
	binary("dot", func(a, b *Node) *Node { return Dot(a, b.Expand(3, 4)) }, nil),
	{Name: "matmul", Shapes: [][]int{{3, 4}, {4, 2}}, Build: func(x []*Node) *Node { return x[0].MatMul(x[1]).Tanh() }},
	{Name: "matmul transposed", Shapes: [][]int{{4, 3}, {2, 4}},
		Build: func(x []*Node) *Node { return x[0].T().MatMul(x[1].T()).Square() }},
	{Name: "matmul batched", Shapes: [][]int{{2, 3, 4}, {1, 4, 2}}, Build: func(x []*Node) *Node {
		return x[0].MatMul(x[1].Expand(2, 4, 2)).Square()
	}},
	{Name: "conv", Shapes: [][]int{{2, 4, 5, 2}, {3, 2, 2, 3}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0], x[1], Padding(1, 0, 0, 2)).Tanh()
	}},
	{Name: "conv strided and dilated", Shapes: [][]int{{1, 7, 6, 2}, {2, 3, 2, 2}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0], x[1].Sin(), Stride(2, 3), Dilation(3, 1), Padding(1, 1, 1, 0)).Square()
	}},
	{Name: "conv in groups", Shapes: [][]int{{1, 3, 3, 4}, {3, 3, 2, 6}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0].Tanh(), x[1], Padding(1, 1, 1, 1), Groups(2)).Exp()
	}},
	{Name: "conv by channel", Shapes: [][]int{{2, 3, 4, 3}, {2, 2, 1, 3}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0], x[1], Groups(3), Stride(1, 2)).Square()
	}},
	{Name: "conv of itself", Shapes: [][]int{{2, 2, 2, 2}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0], x[0], Padding(1, 1, 1, 1)).Square() // images that are the kernels, too
	}},
	{Name: "conv with epilogue", Shapes: [][]int{{1, 4, 4, 2}, {3, 3, 2, 3}, {3}}, Build: func(x []*Node) *Node {
		return Conv2D(x[0], x[1], Padding(1, 1, 1, 1)).Add(x[2]).Softplus().Add(x[0].Sum(3, 0).Reshape(1, 4, 4, 1))
	}},
	{Name: "max pool", Shapes: [][]int{{2, 5, 4, 2}}, Build: func(x []*Node) *Node {
		return MaxPool2D(x[0], 3, 2, Stride(2, 1), Padding(1, 1, 0, 1)).Square()
	}},
	{Name: "average pool", Shapes: [][]int{{2, 5, 4, 2}}, Build: func(x []*Node) *Node {
		return AvgPool2D(x[0].Exp(), 2, 3, Stride(2, 2), Padding(1, 0, 2, 1)).Square()
	}},
	{Name: "average pool of pixels", Shapes: [][]int{{1, 5, 4, 3}}, Build: func(x []*Node) *Node {
		return AvgPool2D(x[0], 3, 3, Stride(1, 2), Padding(1, 1, 1, 1), PixelsOnly()).Tanh()
	}},
	{Name: "global average pool", Shapes: [][]int{{2, 3, 2, 3}}, Build: func(x []*Node) *Node {
		return GlobalAvgPool(PadImages(x[0], 1, 0, 0, 2).Sin()).Square()
	}},
	{Name: "small convolutional net", Shapes: [][]int{{2, 6, 6, 1}, {3*3*1*3 + 3 + 2*2*3*2 + 2*2*2*3}},
		Build: func(x []*Node) *Node {
			p := x[1]
			w1, b1, w2 := p.Slice(0, 0, 27).Reshape(3, 3, 1, 3), p.Slice(0, 27, 30), p.Slice(0, 30, 54)
			h := MaxPool2D(Conv2D(x[0], w1, Padding(1, 1, 1, 1)).Add(b1).Softplus(), 2, 2)
			h = Conv2D(h, w2.Reshape(2, 2, 3, 2)).Tanh().Reshape(2, 8)
			return CrossEntropy(h.MatMul(p.Slice(0, 54, 78).Reshape(8, 3)), labels(2, 3)).Mean()
		}},
	{Name: "batch normalization", Shapes: [][]int{{2, 2, 3, 2}, {2}, {2}}, Build: func(x []*Node) *Node {
		y, mean, variance := BatchNorm(x[0], x[1], x[2], 0.1)
		return Concat(0, y.Softplus().Flatten(), mean, variance.Square())
	}},
	{Name: "given statistics", Shapes: [][]int{{2, 3, 2}, {2}, {2}, {2}, {2}}, Sample: positive,
		Build: func(x []*Node) *Node { return Normalize(x[0], x[1], x[2], x[3], x[4], 0.1).Tanh() }},
	{Name: "layer normalization", Shapes: [][]int{{2, 2, 3}, {2, 3}, {2, 3}}, Build: func(x []*Node) *Node {
		return LayerNorm(x[0], x[1], x[2], 0.1).Tanh()
	}},
	{Name: "group normalization", Shapes: [][]int{{2, 2, 2, 4}, {4}, {4}}, Build: func(x []*Node) *Node {
		return GroupNorm(x[0], 2, x[1], x[2], 0.1).Sigmoid()
	}},
	unary("dropout", func(x *Node) *Node {
		return Dropout(x.Square(), 0.4, Iota(0, 2), IntConst(5), 3).Exp()
	}, nil),
	{Name: "random crops", Shapes: [][]int{{3, 4, 3, 2}}, Build: func(x []*Node) *Node {
		return RandomCrops(x[0], Iota(0, 3), 2, true, Iota(0, 2), IntConst(5), 3).Square()
	}},
	unary("softmax", (*Node).Softmax, nil),
	unary("log softmax", (*Node).LogSoftmax, nil),
	unary("cross entropy", func(x *Node) *Node { return CrossEntropy(x, labels(3, 4)) }, nil),
	{Name: "weighted cross entropy", Shapes: [][]int{{5, 3}, {5}}, Build: func(x []*Node) *Node {
		return CrossEntropy(x[0], labels(5, 3)).Mul(x[1].Sigmoid()).Mean()
	}},
	unary("gather", func(x *Node) *Node { return Gather(x, labels(5, 3)).Square() }, nil),
	unary("k-th largest", func(x *Node) *Node { return kth(4, x.T()).Square() }, nil),
	{Name: "k-th largest of several", Shapes: [][]int{{3, 2}, {1}, {7}}, Build: func(x []*Node) *Node {
		return Concat(0, kth(1, x...).Flatten(), kth(6, x...).Flatten(),
			kth(11, x[2], x[0].Exp(), x[1]).Mul(x[1])).Square()
	}},
	{Name: "scatter", Shapes: [][]int{{3, 2}, {5, 2}}, Build: func(x []*Node) *Node {
		return ScatterAdd(x[0], labels(5, 3), x[1].Exp()).Square()
	}},
	{Name: "two layers", Shapes: [][]int{{5, 4}, {4*6 + 6 + 6*3 + 3}}, Build: func(x []*Node) *Node {
		p := x[1]
		w1, b1 := p.Slice(0, 0, 24).Reshape(4, 6), p.Slice(0, 24, 30)
		w2, b2 := p.Slice(0, 30, 48).Reshape(6, 3), p.Slice(0, 48, 51)
		h := x[0].MatMul(w1).Add(b1).Tanh()
		return CrossEntropy(h.MatMul(w2).Add(b2), labels(5, 3)).Mean().Add(Dot(p, p).Scale(0.1))
	}},
}

// kth is the k-th largest element.
func kth(k int32, parts ...*Node) *Node {
	value, _ := KthLargest(IntConst(k), parts...)
	return value
}

func TestDerivatives(t *testing.T) {
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for seed := range uint64(3) {
				dev := ref.New()
				ex := NewExecutor(dev)
				require.NoError(t, tensortest.Check(ex, c, 3, seed))
				require.NoError(t, ex.Close())
				require.NoError(t, dev.Close())
			}
		})
	}
}

// run evaluates nodes on the reference device.
func run(t *testing.T, ex *Executor, nodes ...*Node) [][]float64 {
	t.Helper()
	var vars []*Variable
	f, err := ex.Compile("run", func() []Update {
		var us []Update
		for _, n := range nodes {
			v := ex.Variable("out", Real, n.Shape()...)
			vars = append(vars, v)
			us = append(us, Update{Var: v, Value: n})
		}
		return us
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	out := make([][]float64, len(vars))
	for i, v := range vars {
		out[i], err = v.Read()
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return out
}

func newRef(t *testing.T) *Executor {
	dev := ref.New()
	ex := NewExecutor(dev)
	t.Cleanup(func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex
}

func variable(t *testing.T, ex *Executor, values []float64, shape ...int) *Variable {
	if len(shape) == 0 {
		shape = []int{len(values)}
	}
	v := ex.Variable("x", Real, shape...)
	require.NoError(t, v.Write(values))
	return v
}

// The table of piecewise rules, at the kinks themselves.
func TestPiecewiseRules(t *testing.T) {
	ex := newRef(t)
	for _, c := range []struct {
		name  string
		build func(x *Node) *Node
		at    []float64
		want  []float64
	}{
		{"relu'(0) = 0", (*Node).Relu, []float64{-1, 0, 2}, []float64{0, 0, 1}},
		{"abs'(0) = 0", (*Node).Abs, []float64{-1, 0, 2}, []float64{-1, 0, 1}},
		{"sqrt'(0) = 0", (*Node).Sqrt, []float64{0, 4}, []float64{0, 0.25}},
		{"norm'(0) = 0", (*Node).Norm, []float64{0, 0, 0}, []float64{0, 0, 0}},
		{"clamp' = 1 strictly inside", func(x *Node) *Node { return x.Clamp(Const(-1), Const(1)) },
			[]float64{-2, -1, 0, 1, 2}, []float64{0, 0, 1, 0, 0}},
		{"ties of max go to the first", func(x *Node) *Node { return x.Max(Const(0)) }, []float64{-1, 0, 1},
			[]float64{0, 1, 1}},
		{"ties of max over go to the first", func(x *Node) *Node { return x.MaxOver() }, []float64{1, 3, 3, 2},
			[]float64{0, 1, 0, 0}},
		{"sign is flat", func(x *Node) *Node { return x.Sign() }, []float64{-1, 0, 1}, []float64{0, 0, 0}},
	} {
		x := variable(t, ex, c.at)
		require.Equal(t, c.want, run(t, ex, Grad(c.build(x.Node()).Sum(), x.Node())[0])[0], c.name)
	}
	zero := variable(t, ex, []float64{0, 0})
	h := HVP(zero.Node().Norm(), []*Node{zero.Node()}, []*Node{Full(1, 2)})
	require.Equal(t, []float64{0, 0}, run(t, ex, h[0])[0], "norm''(0) is 0, not NaN")
}

// Both ways to a Hessian-vector product agree, and the Hessian is symmetric.
func TestHessianBothWays(t *testing.T) {
	ex := newRef(t)
	r := rand.New(rand.NewPCG(3, 4))
	normal := func(n int) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = r.NormFloat64()
		}
		return out
	}
	x := variable(t, ex, normal(20), 5, 4)
	p, v, u := variable(t, ex, normal(27)), variable(t, ex, normal(27)), variable(t, ex, normal(27))
	loss := func(p *Node) *Node {
		h := x.Node().MatMul(p.Slice(0, 0, 12).Reshape(4, 3)).Softplus()
		z := h.MatMul(p.Slice(0, 12, 27).Reshape(3, 5))
		return CrossEntropy(z, labels(5, 5)).Mean()
	}
	f := loss(p.Node())
	one := HVP(f, []*Node{p.Node()}, []*Node{v.Node()})[0]                               // JVP of Grad
	two := Grad(Dot(Grad(f, p.Node())[0], v.Node()), p.Node())[0]                        // Grad of <Grad, v>
	three := Grad(JVP([]*Node{f}, []*Node{p.Node()}, []*Node{v.Node()})[0], p.Node())[0] // Grad of JVP
	other := HVP(f, []*Node{p.Node()}, []*Node{u.Node()})[0]
	out := run(t, ex, one, two, three, Dot(one, u.Node()), Dot(other, v.Node()))
	for i := range out[0] {
		require.InDelta(t, out[0][i], out[1][i], 1e-14)
		require.InDelta(t, out[0][i], out[2][i], 1e-14)
	}
	require.InDelta(t, out[3][0], out[4][0], 1e-14)
	require.Greater(t, math.Abs(out[3][0]), 1e-3)
}
