package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// Contributions to disjoint ranges are joined, those that overlap added, whatever their order.
func TestAccumulateRanges(t *testing.T) {
	ex := newRef(t)
	x := filled(t, ex, 6)
	for name, c := range map[string]struct {
		ranges [][2]int
		want   []float64
	}{
		"side by side":   {[][2]int{{0, 2}, {2, 6}}, []float64{1, 1, 2, 2, 2, 2}},
		"in any order":   {[][2]int{{3, 6}, {0, 3}}, []float64{2, 2, 2, 1, 1, 1}},
		"gaps":           {[][2]int{{1, 2}, {4, 5}}, []float64{0, 1, 0, 0, 2, 0}},
		"one in common":  {[][2]int{{0, 3}, {2, 6}}, []float64{1, 1, 3, 2, 2, 2}},
		"one in another": {[][2]int{{1, 5}, {2, 3}, {5, 6}}, []float64{0, 1, 3, 1, 1, 3}},
		"twice":          {[][2]int{{1, 3}, {1, 3}}, []float64{0, 3, 3, 0, 0, 0}},
		"nothing":        {[][2]int{{2, 2}, {4, 6}}, []float64{0, 0, 0, 0, 2, 2}},
	} {
		y := Const(0)
		for i, r := range c.ranges {
			y = y.Add(x.Node().Slice(0, r[0], r[1]).Sum().Scale(float64(i + 1)))
		}
		require.Equal(t, c.want, values(t, ex, Grad(y, x.Node())[0])[0], name)
	}
	m := filled(t, ex, 2, 3).Node()
	both := m.Slice(0, 0, 1).Sum().Add(m.Slice(1, 0, 1).Sum()).Add(m.Slice(0, 1, 2).Sum())
	require.Equal(t, []float64{2, 1, 1, 2, 1, 1}, values(t, ex, Grad(both, m)[0])[0], "ranges of two axes")
}

// What a derivative is taken by may be any node, and need not be reached.
func TestDerivativesByNodes(t *testing.T) {
	ex := newRef(t)
	x, other := holding(t, ex, []float64{1, 2}), filled(t, ex, 3)
	h := x.Node().Square()
	y := h.Mul(x.Node()).Sum()
	out := values(t, ex, Grad(y, h)[0], Grad(y, x.Node())[0], Grad(y, other.Node())[0], Grad(y, y)[0],
		JVP([]*Node{y}, []*Node{h, other.Node()}, []*Node{Full(1, 2), nil})[0],
		VJP([]*Node{h, x.Node()}, []*Node{x.Node()}, []*Node{nil, Full(5, 2)})[0])
	require.Equal(t, [][]float64{{1, 2}, {3, 12}, {0, 0, 0}, {1}, {3}, {5, 5}}, out)
	both := values(t, ex, Grad(y, x.Node(), h)...)
	require.Equal(t, [][]float64{{1, 4}, {1, 2}}, both, "each stands for itself: x no longer acts through h")
}

// Depends sees a path of differentiable operations, and only such a path.
func TestDepends(t *testing.T) {
	ex := newRef(t)
	x, y := ex.Variable("x", Real, 2).Node(), ex.Variable("y", Real, 2).Node()
	product := x.Mul(y).Sum()
	require.True(t, Depends(product, x))
	require.True(t, Depends(product, product))
	require.False(t, Depends(y.Exp().Sum(), x))
	require.False(t, Depends(x.StopGradient().Add(y).Sum(), x), "no derivative passes")
	require.False(t, Depends(Gather(y, x.ArgMax().Reshape(1)), x), "nor through an index")
	require.True(t, Depends(Gather(y, x.ArgMax().Reshape(1)), y))
}

// The gradient of weights that two products read transposed is summed as it lies: by the second product, which adds
// the first, and by no copy.
func TestGradientOfTransposedWeights(t *testing.T) {
	ex := newRef(t)
	w, a, b := filled(t, ex, 5, 4), filled(t, ex, 6, 4), filled(t, ex, 6, 4)
	weights := w.Node().T()
	y := a.Node().MatMul(weights).Square().Sum().Add(b.Node().MatMul(weights).Square().Sum())
	g := ex.Variable("g", Real, 5, 4)
	f := compiled(t, ex, Update{g, Grad(y, w.Node())[0]})
	var products int
	for _, in := range f.Program().Code {
		require.NotEqual(t, device.Copy, in.Op)
		require.NotEqual(t, device.Map, in.Op)
		if in.Op == device.Gemm {
			products++
		}
	}
	require.Equal(t, 4, products)
	require.NoError(t, f.Run(1))
	got, err := g.Read()
	require.NoError(t, err)
	separate := a.Node().MatMul(w.Node().T()).Square().Sum().Add(b.Node().MatMul(w.Node().T()).Square().Sum())
	require.InDeltaSlice(t, values(t, ex, Grad(separate, w.Node())[0])[0], got, 1e-13)
}
