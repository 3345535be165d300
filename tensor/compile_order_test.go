package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// Of steps that are ready the one that frees most comes first, though it takes as much memory as another one.
func TestOrderPrefersWhatComesFree(t *testing.T) {
	ex := newRef(t)
	const n, branches = 300, 8
	require.Greater(t, branches*n*n, smallArena)
	x, m := ex.Variable("x", Real, n, n), ex.Variable("m", Real, n, n)
	first := integers(t, ex, []int32{0}, 1).Node()
	h := x.Node().Softmax()
	var some, all *Node
	for range branches {
		p := h.MatMul(ex.Variable("w", Real, n, n).Node())
		some = plus(some, Gather(p, first))
		all = plus(all, p.MatMul(m.Node()).Square().Sum())
	}
	// In the order of the graph all products are computed for the first update and kept for the second one.
	f := compiled(t, ex, Update{ex.Variable("some", Real, 1, n), some}, Update{ex.Variable("all", Real), all})
	require.LessOrEqual(t, float64(f.Memory().Arena)/(n*n*8), 4.1, "%s", ops(f))
	require.Equal(t, device.RowSoftmax, f.Program().Code[0].Op)
}
