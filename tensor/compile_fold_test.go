package tensor

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFold(t *testing.T) {
	ex := newRef(t)
	x := filled(t, ex, 3, 4).Node()
	one := func(n *Node) *Node { return fold([]*Node{n})[0] }
	for name, n := range map[string]*Node{
		"x·1": x.Mul(Const(1)), "1·x": Const(1).Mul(x), "x+0": x.AddConst(0), "0+x": Const(0).Add(x),
		"x-0": x.Sub(Const(0)),
		"x/1": x.Div(Const(1)), "--x": x.Neg().Neg(), "stop": x.StopGradient(),
		"reshapes":         x.Reshape(12).Reshape(2, 6).Reshape(3, 4),
		"zeros in a shape": x.Add(Zeros(4)),
		"all at once":      x.Mul(Full(1, 3, 1)).Add(Const(2).Sub(Const(2))).StopGradient(),
	} {
		require.Same(t, x, one(n), name)
	}
	for name, c := range map[string]struct {
		n    *Node
		want float64
	}{
		"2+3": {Const(2).Add(Const(3)), 5}, "exp 0": {Full(0, 2, 2).Exp(), 1}, "Σ": {Full(2, 3, 5).Sum(), 30},
		"Σ over one axis": {Full(2, 3, 5).Sum(1), 10}, "Σ of nothing": {Full(2, 0, 5).Sum(0), 0},
		"Σ of no infinities": {Full(math.Inf(1), 0, 5).Sum(0), 0}, "a window": {Full(7, 3, 5).T().Slice(0, 1, 2), 7},
	} {
		got, ok := one(c.n).isConst()
		require.True(t, ok, name)
		require.Equal(t, c.want, got, name)
		require.True(t, slices.Equal(c.n.shape, one(c.n).shape), name)
	}
	require.Equal(t, "Map", program(t, ex, x.Scale(2).Scale(3).Neg().Neg().Scale(0.5)))
	y := one(Const(2).Mul(x.Mul(Const(3))))
	require.Same(t, x, y.in[0])
	require.True(t, y.in[1].op == opExpand && y.in[1].in[0].num == 6, "2·(3·x) is 6·x")
}

// x·0 and 0/x are not 0 for every x, x-x and x/x are neither 0 nor 1.
func TestFoldKeepsNaN(t *testing.T) {
	ex := newRef(t)
	nan, inf := math.NaN(), math.Inf(1)
	x := holding(t, ex, []float64{nan, inf, -inf, 2})
	out := values(t, ex, x.Node().Scale(0), Const(0).Mul(x.Node()), x.Node().Sub(x.Node()), x.Node().Div(x.Node()),
		Const(0).Div(x.Node()))
	for i, want := range [][]float64{
		{nan, nan, nan, 0}, {nan, nan, nan, 0}, {nan, nan, nan, 0}, {nan, nan, nan, 1}, {nan, 0, 0, 0},
	} {
		for k := range want {
			require.Equal(t, math.Float64bits(want[k])&^(1<<63)&^1, math.Float64bits(out[i][k])&^(1<<63)&^1,
				"%d %d: %v", i, k, out[i])
		}
	}
}

// What is alike at every repeated point is computed once, before the broadcast.
func TestFoldSinksBroadcasts(t *testing.T) {
	ex := newRef(t)
	row := filled(t, ex, 4).Node()
	n := fold([]*Node{row.Expand(3, 4).Exp().Scale(2).AddConst(1)})[0]
	require.Equal(t, opExpand, n.op)
	require.Equal(t, []int{4}, n.in[0].shape)
	column := filled(t, ex, 3, 1).Node()
	require.Equal(t, opElem, fold([]*Node{column.Expand(3, 4).Add(row.Expand(3, 4))})[0].op,
		"two directions do not sink")
}

// 0 and -0 are two constants, also where they meet in memory.
func TestNegativeZero(t *testing.T) {
	ex := newRef(t)
	out := values(t, ex, Full(0, 2), Full(0, 2).Neg(), Concat(0, Full(0, 1), Full(0, 1).Neg()))
	require.Equal(t, []bool{false, false}, []bool{math.Signbit(out[0][0]), math.Signbit(out[0][1])})
	require.Equal(t, []bool{true, true}, []bool{math.Signbit(out[1][0]), math.Signbit(out[1][1])})
	require.Equal(t, []bool{false, true}, []bool{math.Signbit(out[2][0]), math.Signbit(out[2][1])})
}
