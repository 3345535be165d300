package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A selection costs no pass over memory: in the gradient of a layer with relu, and in the product with its Hessian, it
// is part of the products beside it. Reading relu itself as the mask would join the group of relu with that of its
// derivative, which then is no epilogue any more.
func TestMasksAreEpilogues(t *testing.T) {
	ex := newRef(t)
	x, w1, w2 := filled(t, ex, 6, 4).Node(), filled(t, ex, 4, 5), filled(t, ex, 5, 3)
	v1, v2 := filled(t, ex, 4, 5).Node(), filled(t, ex, 5, 3).Node()
	loss := x.MatMul(w1.Node()).Relu().MatMul(w2.Node()).Square().Sum()
	g := Grad(loss, w1.Node(), w2.Node())
	h := HVP(loss, []*Node{w1.Node(), w2.Node()}, []*Node{v1, v2})
	require.Equal(t, "Gemm Gemm Gemm Gemm Gemm", program(t, ex, g...))
	require.Equal(t, 0, times("Map", program(t, ex, h...)), program(t, ex, h...))
}
