package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestEpilogues(t *testing.T) {
	ex := newRef(t)
	x, w, b := filled(t, ex, 5, 4).Node(), filled(t, ex, 4, 3).Node(), filled(t, ex, 3).Node()
	y := x.MatMul(w)
	k := integers(t, ex, []int32{0, 1, 2, 0, 1}, 5).Node()
	twice := func(m *Node) *Node { return m.Reshape(1, m.shape[0], m.shape[1]).Expand(2, m.shape[0], m.shape[1]) }
	for name, c := range map[string]struct {
		n    *Node
		want string
	}{
		"relu(x·w + b)":           {y.Add(b).Relu(), "Gemm"},
		"swish":                   {y.Mul(y.Sigmoid()), "Gemm"},
		"two products":            {y.Add(x.Exp().MatMul(w)), "Map Gemm Gemm"},
		"a counter beside it":     {Iota(1, 5, 3).ToReal().Mul(y), "Gemm"},
		"a number beside it":      {y.Mul(b.Sum().Exp()), "Reduce Gemm"},
		"its sum":                 {y.Exp().Sum(), "Gemm Reduce"},
		"its rows, centred":       {y.Sub(y.SumKeep(1)), "Gemm Reduce Map"},
		"transposed":              {y.Slice(0, 0, 3).Add(y.Slice(0, 0, 3).T()), "Gemm Map"},
		"Int memory beside it":    {OneHot(k, 3).Mul(y), "Gemm Map"},
		"an Int result":           {y.Scale(3).ToInt().ToReal(), "Gemm"},
		"batches":                 {twice(x).MatMul(twice(w)).Add(b).Tanh(), "Gemm"},
		"softmax between":         {y.Add(b).Softmax().Square(), "Gemm RowSoftmax Map"},
		"the bias through a view": {y.Flatten().Add(b.Slice(0, 0, 1)).Exp(), "Gemm Map"},
	} {
		require.Equal(t, c.want, program(t, ex, c.n), name)
	}
	require.Equal(t, "Gemm Map", program(t, ex, y, y.Exp()), "a product that is stored is computed once")
	require.Equal(t, "Gemm Map", program(t, ex, y.Add(b), y.Sub(b)), "two results are no epilogue")
	require.Equal(t, "Gemm Map", program(t, ex, y.Scale(3).ToInt()), "Gemm writes no Int")
}

// What follows a convolution is computed by it.
func TestEpiloguesOfConvolutions(t *testing.T) {
	ex := newRef(t)
	x, w, b := filled(t, ex, 2, 5, 4, 3).Node(), filled(t, ex, 3, 3, 3, 3).Node(), filled(t, ex, 3).Node()
	rest, square := filled(t, ex, 2, 5, 4, 3).Node(), filled(t, ex, 3, 3, 3, 3).Node()
	y := Conv2D(x, w, Padding(1, 1, 1, 1))
	gradients := Grad(y.Square().Sum(), x, w)
	positive := b.Square().AddConst(1)
	for name, c := range map[string]struct {
		n    *Node
		want string
	}{
		"a bias":                         {y.Add(b), "Conv"},
		"bias and relu":                  {y.Add(b).Relu(), "Conv"},
		"scale, shift, residual, relu":   {y.Mul(b).Add(b).Add(rest).Relu(), "Conv"},
		"statistics that are given":      {Normalize(y, b, positive, b, b, 1e-5).Relu(), "Map Conv"},
		"a counter beside it":            {Iota(1, 2, 5, 4, 3).ToReal().Mul(y), "Conv"},
		"of the last of two":             {y.Add(Conv2D(x.Exp(), w, Padding(1, 1, 1, 1))), "Map Conv Conv"},
		"its statistics":                 {y.Sub(y.Mean(0, 1, 2)), "Conv Reduce Map Map"},
		"a gradient's":                   {gradients[0].Mul(rest), "Conv Conv"},
		"a weight gradient's":            {gradients[1].Add(square.Scale(0.1)), "Conv Conv"},
		"read through a view":            {y.Reshape(10, 4, 3).Add(b), "Conv Map"},
		"operands that do not lie so":    {Conv2D(x.Permute(0, 2, 1, 3), w).Add(b), "Copy Conv"},
		"a broadcast operand":            {Conv2D(x, b.Expand(3, 3, 3, 3)), "Copy Conv"},
		"pools take none":                {MaxPool2D(y.Add(b), 2, 2).Relu(), "Conv Pool Map"},
		"a mask of the weights is a Map": {Conv2D(x, w.Mul(square)), "Map Conv"},
	} {
		require.Equal(t, c.want, program(t, ex, c.n), name)
	}
}

// m ⊙ w belongs to the product that reads it, unless something else does.
func TestMasks(t *testing.T) {
	ex := newRef(t)
	x, w, m, b := filled(t, ex, 5, 4), filled(t, ex, 4, 3), filled(t, ex, 4, 3), filled(t, ex, 3)
	mw := m.Node().Mul(w.Node())
	y := x.Node().MatMul(mw)
	for name, c := range map[string]struct {
		n    *Node
		want string
	}{
		"a product":           {y, "Gemm"},
		"with an epilogue":    {y.Add(b.Node()).Relu(), "Gemm"},
		"the left operand":    {mw.MatMul(x.Node().Slice(0, 0, 3)), "Gemm"},
		"both operands":       {mw.T().MatMul(mw), "Gemm"},
		"transposed":          {x.Node().Slice(1, 0, 3).MatMul(mw.T()), "Gemm"},
		"a factor transposed": {x.Node().Slice(1, 0, 3).MatMul(m.Node().T().Mul(w.Node().T())), "Gemm"},
		"a part":              {x.Node().MatMul(mw.Slice(1, 1, 3)), "Gemm"},
		"both ways":           {y.MatMul(mw.T()), "Gemm Gemm"},
		"a factor computed":   {x.Node().MatMul(m.Node().Mul(w.Node().Exp())), "Map Gemm"},
		"a mask of one row":   {x.Node().MatMul(b.Node().Expand(4, 3).Mul(w.Node())), "Gemm"},
		"its gradient":        {Grad(y.Square().Sum(), m.Node())[0], "Gemm Gemm"},
		"read twice":          {y.Add(x.Node().Exp().MatMul(mw)), "Map Gemm Gemm"},
		"read by another, too": {y.Sum().Add(mw.Exp().Sum(0).Reshape(3, 1).MatMul(mw.Slice(0, 0, 1)).Sum()),
			"Reduce Gemm Reduce Gemm Reduce Map"},
	} {
		require.Equal(t, c.want, program(t, ex, c.n), name)
		require.InDeltaSlice(t, interpreted(t, c.n, x, w, m, b), values(t, ex, c.n)[0], 1e-12, name)
	}
	require.Equal(t, "Map Gemm", program(t, ex, y, mw), "stored")

	// A factor that the product replaces is read to the end first.
	s, v := filled(t, ex, 4, 4), filled(t, ex, 4, 4)
	n := s.Node().MatMul(s.Node().Mul(v.Node())).Scale(2)
	want := interpreted(t, n, s, v)
	require.NoError(t, compiled(t, ex, Update{s, n}).Run(1))
	require.InDeltaSlice(t, want, contents(t, s), 1e-12)
}

// interpreted is a node's value by the interpreter.
func interpreted(t testing.TB, n *Node, vars ...*Variable) []float64 {
	state := map[*Variable]array{}
	for _, v := range vars {
		state[v] = array{typ: Real, shape: v.Shape(), real: contents(t, v)}
	}
	return newInterpreter(state).eval(n).real
}

// relu' is compared again by whoever reads it, so that relu follows its product.
func TestComparisonsAreRepeated(t *testing.T) {
	ex := newRef(t)
	x, w, v, b := filled(t, ex, 5, 4), filled(t, ex, 4, 3), filled(t, ex, 3, 2), filled(t, ex, 3)
	h := x.Node().MatMul(w.Node()).Add(b.Node()).Relu()
	loss := h.MatMul(v.Node()).Square().Sum()
	g := Grad(loss, w.Node(), v.Node())
	require.Equal(t, "Gemm Gemm Gemm Gemm Gemm", program(t, ex, g...))
	for i, got := range values(t, ex, g...) {
		require.InDeltaSlice(t, interpreted(t, g[i], x, w, v, b), got, 1e-12)
	}
	positive := Const(0).Lt(h)
	require.Equal(t, "Gemm Map", program(t, ex, h, positive), "a comparison that is stored is computed once")
	require.Equal(t, "Map", program(t, ex, x.Node().Exp().Mul(Const(1).Lt(x.Node().Exp()))),
		"in one group with what it compares")
	transposed := x.Node().Exp().Sub(Const(1)).Slice(1, 0, 3)
	product := Const(0).Lt(transposed).T().MatMul(w.Node().Slice(0, 0, 1).T().Expand(3, 5).T())
	require.InDeltaSlice(t, interpreted(t, product, x, w), values(t, ex, product)[0], 1e-12, "read through a view")
}

// One conjugate-gradient step: z += αp, r -= αAp and the new <r, r> are one pass over memory; then p = r + βp.
func TestConjugateGradientStep(t *testing.T) {
	ex := newRef(t)
	n := 50
	z, r, p, rr := filled(t, ex, n), filled(t, ex, n), filled(t, ex, n), filled(t, ex)
	A := filled(t, ex, n, n)
	ap := A.Node().MatMul(p.Node().Reshape(n, 1)).Reshape(n)
	alpha := rr.Node().Div(Dot(p.Node(), ap))
	next := r.Node().Sub(alpha.Mul(ap))
	square := Dot(next, next)
	f := compiled(t, ex,
		Update{z, z.Node().Add(alpha.Mul(p.Node()))}, Update{r, next}, Update{rr, square},
		Update{p, next.Add(square.Div(rr.Node()).Mul(p.Node()))})
	require.Equal(t, 1, times("Gemm", ops(f)), ops(f))
	require.Equal(t, 2, times("Reduce", ops(f)), "<p, Ap>, and one pass for z, r and <r, r>: %s", ops(f))
	require.LessOrEqual(t, times("Map", ops(f)), 1, "p: %s", ops(f))
	large := 0
	for _, in := range f.Program().Code {
		if in.Op == device.Copy && in.Out[0].Size() > 1 {
			large++
		}
	}
	require.Zero(t, large, "no vector is copied: %s", ops(f))
}

func TestFusion(t *testing.T) {
	ex := newRef(t)
	x, y := filled(t, ex, 6, 4).Node(), filled(t, ex, 6, 4).Node()
	for name, c := range map[string]struct {
		nodes []*Node
		want  string
	}{
		"a chain":                      {[]*Node{x.Exp().Mul(y).Sin().AddConst(1)}, "Map"},
		"several results":              {[]*Node{x.Exp(), x.Exp().Mul(y)}, "Map"},
		"siblings":                     {[]*Node{x.Exp(), x.Sin()}, "Map"},
		"strangers":                    {[]*Node{x.Exp(), y.Exp()}, "Map Map"},
		"a sum with what it adds":      {[]*Node{x.Mul(y).Sum(), x.Mul(y)}, "Reduce"},
		"sum and maximum":              {[]*Node{x.Sum(1), x.Exp().MaxOver(1)}, "Reduce"},
		"sums over different axes":     {[]*Node{x.Exp().Sum(0), x.Exp().Sum(1)}, "Reduce Reduce"},
		"a cycle":                      {[]*Node{x.Exp().Div(x.Exp().Sum())}, "Reduce Map"},
		"a cycle through a transpose":  {[]*Node{x.Slice(0, 0, 4).Exp().Add(x.Slice(0, 0, 4).Exp().T())}, "Map Map"},
		"numbers are computed in situ": {[]*Node{y.Mul(x.Sum().Sqrt().Neg())}, "Reduce Map"},
		"a broadcast row":              {[]*Node{x.Mul(y.Slice(0, 0, 1).Slice(1, 0, 4))}, "Map"},
	} {
		require.Equal(t, c.want, program(t, ex, c.nodes...), name)
	}
}

// A device holds the values of one point in registers: fusion stops before there are too many.
func TestFusionIsBounded(t *testing.T) {
	ex := newRef(t)
	x := filled(t, ex, 8).Node()
	var nodes []*Node
	for i := range 20 {
		nodes = append(nodes, x.Scale(float64(i+2)).Exp())
	}
	for _, in := range compiled(t, ex, func() (us []Update) {
		for _, n := range nodes {
			us = append(us, Update{ex.Variable("out", Real, 8), n})
		}
		return us
	}()...).Program().Code {
		require.LessOrEqual(t, len(in.Out), 8)
	}
}
