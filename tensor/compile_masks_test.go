package tensor

import (
	"testing"

	"bilevel/device"
	"bilevel/device/null"

	"github.com/stretchr/testify/require"
)

// masked is a layered network whose weights are windows of one flat vector z = m ⊙ w, as models have it: weights
// [out, in], which the way forward reads transposed and the way back as they are, and biases.
func masked(x, m, w *Node) *Node {
	z := m.Mul(w)
	part := func(from, rows, columns int) *Node { return z.Slice(0, from, from+rows*columns).Reshape(rows, columns) }
	h := x.MatMul(part(0, 5, 4).T()).Add(part(20, 1, 5).Reshape(5)).Relu()
	return h.MatMul(part(25, 3, 5).T()).Add(part(40, 1, 3).Reshape(3))
}

// In value, gradients and Hessian products of a masked network there is no array m ⊙ w: nothing of its size is written
// but what is asked for, and no elementwise instruction multiplies m and w into memory.
func TestNoMaskedWeightsInMemory(t *testing.T) {
	dev := null.New()
	ex := NewExecutor(dev)
	defer func() { require.NoError(t, ex.Close()) }()
	x, m, w, d := ex.Variable("x", Real, 6, 4), ex.Variable("m", Real, 43), ex.Variable("w", Real, 43),
		ex.Variable("d", Real, 43)
	loss := masked(x.Node(), m.Node(), w.Node()).Square().Sum()
	g := Grad(loss, m.Node(), w.Node())
	for name, n := range map[string]*Node{
		"value": loss, "in the mask": g[0], "in the weights": g[1],
		"Hessian": HVP(loss, []*Node{w.Node()}, []*Node{d.Node()})[0],
		"mixed":   VJP([]*Node{g[1]}, []*Node{m.Node()}, []*Node{d.Node()})[0],
	} {
		f := compiled(t, ex, Update{ex.Variable("out", Real, n.shape...), n})
		masks := 0
		for _, in := range f.Program().Code {
			if in.Op == device.Gemm {
				if a := in.Attr.(device.GemmAttr); a.MaskA || a.MaskB {
					masks++
				}
			}
		}
		require.GreaterOrEqual(t, masks, 2, name)
		require.Empty(t, maskedArrays(f, m, w), name)
		require.Empty(t, maskedArrays(f, m, d), name)
	}
	stored := compiled(t, ex, Update{ex.Variable("out", Real, 43), m.Node().Mul(w.Node())})
	require.NotEmpty(t, maskedArrays(stored, m, w), "the test sees such an array")
}

// Weights that are computed and stored are masked by the products, too: what a step of training makes of them.
func TestMasksOfWhatIsStored(t *testing.T) {
	ex := newRef(t)
	x, m, w := filled(t, ex, 6, 4), filled(t, ex, 43), filled(t, ex, 43)
	loss := func(w *Node) *Node { return masked(x.Node(), m.Node(), w).Square().Sum() }
	next := w.Node().Sub(Grad(loss(w.Node()), w.Node())[0].Scale(1e-3))
	after := loss(next)
	g := Grad(after, m.Node())[0]
	wantW, wantG := interpreted(t, next, x, m, w), interpreted(t, g, x, m, w)
	to := ex.Variable("gradient", Real, 43)
	f := compiled(t, ex, Update{w, next}, Update{to, g})
	masks := 0
	for _, in := range f.Program().Code {
		if a, ok := in.Attr.(device.GemmAttr); ok && (a.MaskA || a.MaskB) {
			masks++
		}
	}
	// At each of the two points, both layers forward and the second back; and for the derivative through the step, the
	// second layer's weights forward and back once more.
	require.Equal(t, 3+3+2, masks)
	require.NoError(t, f.Run(1))
	require.InDeltaSlice(t, wantW, contents(t, w), 1e-9)
	require.InDeltaSlice(t, wantG, contents(t, to), 1e-9)
}

// maskedArrays lists the elementwise instructions that read m and w alone, and store what they compute of them.
func maskedArrays(f *Function, m, w *Variable) (list []string) {
	for _, in := range f.Program().Code {
		if in.Op != device.Map && in.Op != device.Reduce {
			continue
		}
		read := map[device.Buffer]bool{}
		for _, v := range in.In {
			read[f.Program().Buffers[v.Buf]] = true
		}
		if len(read) == 2 && read[m.buf] && read[w.buf] {
			list = append(list, in.Op.String())
		}
	}
	return list
}

// The results are those of the graph, on every device, also where strides cannot express the product of the views.
func TestMaskedNetworks(t *testing.T) {
	ex := newRef(t)
	x, m, w, d := filled(t, ex, 6, 4), filled(t, ex, 43), filled(t, ex, 43), filled(t, ex, 43)
	loss := masked(x.Node(), m.Node(), w.Node()).Square().Sum()
	g := Grad(loss, m.Node(), w.Node())
	a, b := filled(t, ex, 3, 4), filled(t, ex, 4)
	rows := a.Node().T().Mul(b.Node().Reshape(4, 1)).Reshape(2, 6) // no strides show a transpose in another shape
	for name, n := range map[string]*Node{
		"value": loss, "in the mask": g[0], "in the weights": g[1],
		"Hessian":  HVP(loss, []*Node{w.Node()}, []*Node{d.Node()})[0],
		"mixed":    VJP([]*Node{g[1]}, []*Node{m.Node()}, []*Node{d.Node()})[0],
		"reshaped": x.Node().Reshape(12, 2).MatMul(rows),
	} {
		want := interpreted(t, n, x, m, w, d, a, b)
		require.InDeltaSlice(t, want, values(t, ex, n)[0], 1e-9, name)
	}
}
