package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A normalized layer reads its product in three passes, for the mean, the variance and the result; on the way back
// what was centred and divided is computed again from the product. Full-size results are the product, the layer and
// two passes of derivatives.
func TestNormalizationIsComputedAgain(t *testing.T) {
	ex := newRef(t)
	const rows, columns = 40, 3
	x, w, scale, shift := filled(t, ex, rows, 4), filled(t, ex, 4, columns), filled(t, ex, columns),
		filled(t, ex, columns)
	v := filled(t, ex, columns, 2)
	z := x.Node().MatMul(w.Node())
	centred := z.Sub(z.Mean(0))
	normal := centred.Div(centred.Square().Mean(0).AddConst(1e-5).Sqrt())
	h := normal.Mul(scale.Node()).Add(shift.Node()).Relu()
	loss := h.MatMul(v.Node()).Square().Sum()
	vars := []*Variable{x, w, scale, shift, v}
	large := 0
	g := Grad(loss, w.Node(), scale.Node(), shift.Node(), v.Node())
	var updates []Update
	for _, n := range g {
		updates = append(updates, Update{ex.Variable("g", Real, n.shape...), n})
	}
	f := compiled(t, ex, updates...)
	for _, in := range f.Program().Code {
		for _, out := range in.Out {
			if out.Size() == rows*columns {
				large++
			}
		}
	}
	require.LessOrEqual(t, large, 5, "%s", ops(f))
	for i, got := range values(t, ex, g...) {
		require.InDeltaSlice(t, interpreted(t, g[i], vars...), got, 1e-9)
	}
}

// What is computed again reads its sources from memory, so that none of them may disappear into an epilogue.
func TestSourcesStayInMemory(t *testing.T) {
	ex := newRef(t)
	x, y, w := filled(t, ex, 40, 3), filled(t, ex, 1, 4), filled(t, ex, 4, 3)
	row := y.Node().MatMul(w.Node())
	large := x.Node().Exp()
	shifted := large.Sub(row.Expand(40, 3)) // computed again by its readers
	nodes := []*Node{row.Tanh(), large, shifted.Sin().Sum(0), shifted.Cos().Softmax(),
		shifted.Tanh().MatMul(w.Node().T())}
	require.Equal(t, 2, times("Gemm", program(t, ex, nodes...)), "the row is computed once")
	for i, got := range values(t, ex, nodes...) {
		require.InDeltaSlice(t, interpreted(t, nodes[i], x, y, w), got, 1e-12)
	}
}
