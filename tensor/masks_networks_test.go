package tensor_test

import (
	"math"
	"testing"

	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// A network with weights m ⊙ w, and its gradients in both, are on every device what they are with z computed first.
func TestMaskedNetworksOnDevices(t *testing.T) {
	const in, hidden, out, rows = 33, 21, 10, 40
	q := hidden*in + hidden + out*hidden
	numbers := func(n int, by float64) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = math.Sin(by * float64(i+1))
		}
		return v
	}
	mask := numbers(q, 0.7)
	for i, v := range mask {
		mask[i] = 0
		if v > 0 {
			mask[i] = 1
		}
	}
	onDevices(t, func(t *testing.T, ex *Executor) {
		x, m := variable(t, ex, numbers(rows*in, 1.3), rows, in), variable(t, ex, mask)
		w := variable(t, ex, numbers(q, 2.1))
		z := variable(t, ex, numbers(q, 2.1))
		product := numbers(q, 2.1)
		for i := range product {
			product[i] *= mask[i]
		}
		require.NoError(t, z.Write(product))
		loss := func(z *Node) *Node {
			part := func(from, r, c int) *Node { return z.Slice(0, from, from+r*c).Reshape(r, c) }
			h := x.Node().MatMul(part(0, hidden, in).T()).Add(part(hidden*in, 1, hidden).Reshape(hidden)).Tanh()
			return h.MatMul(part(hidden*in+hidden, out, hidden).T()).Square().Mean()
		}
		masked := loss(m.Node().Mul(w.Node()))
		g := Grad(masked, m.Node(), w.Node())
		plain := loss(z.Node())
		gz := Grad(plain, z.Node())[0]
		got := run(t, ex, masked, g[0], g[1], plain, gz, gz.Mul(w.Node()), gz.Mul(m.Node()))
		// The same numbers in the same order, but for how sums are cut: a few hundred roundings of numbers below 1.
		for i, to := range []int{3, 5, 6} {
			require.InDeltaSlice(t, got[to], got[i], 1e-5)
		}
		require.Greater(t, got[0][0], 0.1)
	})
}
