package tensor

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// network is a loss of two layers in one flat parameter vector.
func network(t *testing.T, ex *Executor) (loss *Node, p *Variable) {
	x := filled(t, ex, 6, 4)
	p = filled(t, ex, 4*5+5*3)
	h := x.Node().MatMul(p.Node().Slice(0, 0, 20).Reshape(4, 5)).Tanh()
	z := h.MatMul(p.Node().Slice(0, 20, 35).Reshape(5, 3))
	return CrossEntropy(z, Iota(0, 6).ToReal().Scale(0.4).ToInt()).Mean(), p
}

func requireClose(t *testing.T, want, got []float64, msg ...any) {
	t.Helper()
	require.Len(t, got, len(want), msg...)
	for i := range want {
		require.InDelta(t, want[i], got[i], 1e-13, msg...)
	}
}

// residualVariables computes residuals into variables, once.
func residualVariables(t *testing.T, ex *Executor, residuals []*Node) (nodes []*Node) {
	var updates []Update
	for _, r := range residuals {
		v := ex.Variable("residual", r.typ, r.shape...)
		updates = append(updates, Update{v, r})
		nodes = append(nodes, v.Node())
	}
	require.NoError(t, compiled(t, ex, updates...).Run(1))
	return nodes
}

func TestLinearize(t *testing.T) {
	ex := newRef(t)
	loss, p := network(t, ex)
	v, u := filled(t, ex, 35).Node(), filled(t, ex, 35).Node()
	grad := Grad(loss, p.Node())
	lin := Linearize(grad, p.Node())
	require.NotEmpty(t, lin.Residuals())
	for i, r := range lin.Residuals() {
		require.False(t, isView(r) || len(r.in) == 0, "residual %d is no leaf and no view", i)
		require.False(t, slices.Contains(lin.Residuals()[:i], r), "residual %d comes twice", i)
	}
	kept := residualVariables(t, ex, lin.Residuals())
	apply := func(t *Node) *Node { return lin.Apply(kept, []*Node{t})[0] }

	out := values(t, ex, HVP(loss, []*Node{p.Node()}, []*Node{v})[0], apply(v), lin.Apply(lin.Residuals(), []*Node{v})[0],
		apply(v.Scale(2).Add(u)), apply(v).Scale(2).Add(apply(u)), apply(Zeros(35)))
	requireClose(t, out[0], out[1], "equals the Hessian-vector product")
	requireClose(t, out[0], out[2], "as it does on the residuals themselves")
	requireClose(t, out[4], out[3], "linear")
	requireClose(t, make([]float64, 35), out[5])

	hv := program(t, ex, apply(v))
	require.Zero(t, times("RowSoftmax", hv), "the softmax is a residual: %s", hv)
	all := program(t, ex, HVP(loss, []*Node{p.Node()}, []*Node{v})[0])
	require.Less(t, times("Gemm", hv), times("Gemm", all), "the forward pass is not repeated")
}

// To second order: the derivative of the product, in its direction and along another path.
func TestLinearizeTwice(t *testing.T) {
	ex := newRef(t)
	loss, p := network(t, ex)
	v, u := filled(t, ex, 35).Node(), filled(t, ex, 35).Node()
	lin := Linearize(Grad(loss, p.Node()), p.Node())
	hv := lin.Apply(lin.Residuals(), []*Node{v})

	again := Linearize(hv, v) // linear in v: its derivative along u is H u
	third := Linearize(hv, p.Node())
	kept := residualVariables(t, ex, third.Residuals())
	plain := HVP(loss, []*Node{p.Node()}, []*Node{v})
	out := values(t, ex,
		HVP(loss, []*Node{p.Node()}, []*Node{u})[0], again.Apply(again.Residuals(), []*Node{u})[0],
		JVP(plain, []*Node{p.Node()}, []*Node{u})[0], third.Apply(kept, []*Node{u})[0],
		Grad(Dot(hv[0], u), p.Node())[0], // symmetric third derivative
		Grad(Dot(hv[0], u), v)[0])        // H u once more
	requireClose(t, out[0], out[1])
	requireClose(t, out[2], out[3])
	requireClose(t, out[2], out[4])
	requireClose(t, out[0], out[5])
}

func TestSplit(t *testing.T) {
	ex := newRef(t)
	a, x := filled(t, ex, 3, 3).Node(), filled(t, ex, 3).Node()
	e := a.Exp()
	require.Equal(t, []*Node{e}, Split([]*Node{e.T().Slice(0, 0, 1).Flatten().Mul(x).Add(e.Slice(0, 1, 2).Reshape(3))}, []*Node{x}), "what the windows show, once")
	require.Empty(t, Split([]*Node{a.T().MatMul(x.Reshape(3, 1))}, []*Node{x}), "leaves and views of them are read in place")
	require.Empty(t, Split([]*Node{Iota(0, 3).ToReal().Exp().Mul(x)}, []*Node{x}), "constants are computed again")
	require.Equal(t, []*Node{e}, Split([]*Node{x, e}, []*Node{x}), "results that do not vary")
	require.Empty(t, Split([]*Node{x.Exp()}, []*Node{x}))
}
