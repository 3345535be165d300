package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplit(t *testing.T) {
	ex := newRef(t)
	a, x := filled(t, ex, 3, 3).Node(), filled(t, ex, 3).Node()
	e := a.Exp()
	require.Equal(t, []*Node{e}, split([]*Node{e.T().Slice(0, 0, 1).Flatten().Mul(x).Add(e.Slice(0, 1, 2).Reshape(3))},
		[]*Node{x}), "what the windows show, once")
	require.Empty(t, split([]*Node{a.T().MatMul(x.Reshape(3, 1))}, []*Node{x}),
		"leaves and views of them are read in place")
	require.Empty(t, split([]*Node{Iota(0, 3).ToReal().Exp().Mul(x)}, []*Node{x}), "constants are computed again")
	require.Equal(t, []*Node{e}, split([]*Node{x, e}, []*Node{x}), "results that do not vary")
	require.Empty(t, split([]*Node{x.Exp()}, []*Node{x}))
	draw := RandomNormal(IntConst(1).Expand(2), IntConst(2), 0, 3)
	require.Equal(t, []*Node{draw}, split([]*Node{draw.Mul(x)}, []*Node{x}),
		"random numbers are not drawn again, were seed and step constants")
}
