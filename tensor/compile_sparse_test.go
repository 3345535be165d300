package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// The hyper-cleaning pattern: a minibatch of 64 of 20,000 sample weights gets a gradient step. Only 64 rows may be
// touched: no dense zeros, no dense gradient, no copy of the weights.
func TestSparseUpdate(t *testing.T) {
	ex := newRef(t)
	const all, batch, classes = 20000, 64, 3
	weights, lr := filled(t, ex, all), filled(t, ex)
	w, x := filled(t, ex, 5, classes), filled(t, ex, batch, 5)
	rows := integers(t, ex, make([]int32, batch), batch)
	loss := func(w *Node) *Node {
		each := CrossEntropy(x.Node().MatMul(w), Iota(0, batch).ToReal().Scale(1./32).ToInt())
		return each.Mul(Gather(weights.Node(), rows.Node()).Sigmoid()).Mean()
	}
	g := Grad(loss(w.Node()), weights.Node())[0]
	for name, next := range map[string]*Node{
		"x - c g": weights.Node().Sub(g.Scale(0.1)), "x - lr g": weights.Node().Sub(g.Mul(lr.Node())),
		"x + g": weights.Node().Add(g), "g + x": g.Add(weights.Node()),
		"x + -c g": weights.Node().Add(g.Scale(0.1).Neg()),
		"x - g":    weights.Node().Sub(g),
	} {
		f := compiled(t, ex, Update{weights, next})
		require.Equal(t, 1, times("ScatterAdd", ops(f)), name)
		for _, in := range f.Program().Code {
			touched := 0
			for _, o := range in.Out {
				touched += o.Size()
			}
			if in.Op == device.ScatterAdd {
				require.True(t, in.In[0].Same(in.Out[0]), "%s: in place", name)
			} else {
				require.Less(t, touched, 1000, "%s: %s writes %d elements", name, in.Op, touched)
			}
		}
		require.Less(t, f.Memory().Arena, 1000*8, name)
	}
}

func TestSparseNeedsANumber(t *testing.T) {
	ex := newRef(t)
	x, c := filled(t, ex, 5), filled(t, ex, 5)
	k := integers(t, ex, []int32{1, 3, 1}, 3).Node()
	src := filled(t, ex, 3).Node()
	s := ScatterAdd(Zeros(5), k, src)
	one := func(n *Node) *Node { return sparse([]*Node{n})[0] }
	require.Equal(t, opElem, one(x.Node().Sub(s.Mul(c.Node()))).op, "a factor of its own for each row stays")
	require.Equal(t, opElem, one(s.Sub(x.Node())).op)
	require.Equal(t, opElem, one(x.Node().Add(ScatterAdd(c.Node(), k, src))).op, "the base is not zero")
	require.Equal(t, opScatter, one(x.Node().Sub(s.Scale(2).Neg())).op)
}
