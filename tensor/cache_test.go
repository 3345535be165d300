package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/null"
)

func TestCache(t *testing.T) {
	dev := null.New()
	ex := NewExecutor(dev)
	compiles := 0
	x := ex.Variable("x", Real, 64, 64)
	y := ex.Variable("y", Real, 64, 64)
	build := func() []Update { // an arena of two arrays of 64×64
		compiles++
		a := x.Node().MatMul(x.Node())
		return []Update{{y, a.MatMul(a.Softmax()).Softmax()}}
	}
	f := compiled(t, ex, build()...)
	one := f.Memory().Arena
	require.NoError(t, f.Close())
	base := dev.Stats().LiveBuffers
	compiles = 0

	c := NewCache(ex, 2*one)
	get := func(name string, rows int) *Function {
		f, err := c.Get(name, rows, build)
		require.NoError(t, err)
		require.NoError(t, f.Run(1))
		require.LessOrEqual(t, c.Bytes(), 2*one)
		return f
	}
	a := get("a", 1)
	require.Same(t, a, get("a", 1))
	require.Equal(t, 1, compiles)
	get("a", 2)
	require.Equal(t, 2, compiles, "rows are part of the key")
	get("a", 1) // now (a, 2) is the oldest
	b := get("b", 1)
	require.Equal(t, 3, compiles)
	require.Equal(t, 2, c.Len())
	require.Same(t, a, get("a", 1), "what was used stays")
	require.Same(t, b, get("b", 1))
	require.Equal(t, 3, compiles)
	get("a", 2)
	require.Equal(t, 4, compiles, "the least recently used was dropped")
	require.Error(t, a.Run(1), "and closed")

	small := NewCache(ex, 1)
	f, err := small.Get("large", 1, build)
	require.NoError(t, err)
	require.NoError(t, f.Run(1), "larger than the limit, kept until the next")
	_, err = small.Get("next", 1, build)
	require.NoError(t, err)
	require.Error(t, f.Run(1))
	require.Equal(t, 1, small.Len())
	_, err = small.Get("wrong", 1, func() []Update { x.Node().Add(Zeros(3)); return nil })
	require.Error(t, err)

	require.NoError(t, small.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.Zero(t, c.Len()+c.Bytes())
	require.Equal(t, base, dev.Stats().LiveBuffers)
	require.NoError(t, ex.Close())
}

// Rows of weight 0 leave loss and gradient as without them, whatever is in them.
func TestPaddedRowsCountNothing(t *testing.T) {
	ex := newRef(t)
	x, w := filled(t, ex, 8, 3), filled(t, ex, 3, 4)
	labels := integers(t, ex, []int32{0, 1, 2, 3, 0, 1, 2, 3}, 8)
	loss := func(rows, kept int) *Node {
		weight := Iota(0, rows).Lt(IntConst(int32(kept)))
		each := CrossEntropy(x.Node().Slice(0, 0, rows).MatMul(w.Node()), labels.Node().Slice(0, 0, rows))
		return each.Mul(weight).Sum().Div(weight.Sum())
	}
	padded, plain := loss(8, 5), loss(5, 5)
	out := values(t, ex, padded, plain, Grad(padded, w.Node())[0], Grad(plain, w.Node())[0])
	requireClose(t, out[1], out[0])
	requireClose(t, out[3], out[2])
}
