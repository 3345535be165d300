package tensor

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/internal/expr"
)

// count is how many nodes of outs satisfy a condition.
func count(outs []*Node, is func(*Node) bool) (n int) {
	walk(outs, func(m *Node) {
		if is(m) {
			n++
		}
	})
	return n
}

func isSum(n *Node) bool    { return n.op == opReduce && n.kind == device.Sum }
func isCentre(n *Node) bool { return n.op == opCentre }

// Each rule of centre keeps the value and leaves as few projections and sums as it should.
func TestCentring(t *testing.T) {
	x, y := leafOf(5, 4, 3), leafOf(5, 4, 3)
	c, d := leafOf(3), leafOf(1, 1, 3)
	r := rand.New(rand.NewPCG(1, 2))
	state := map[*Variable]array{}
	for _, v := range []*Node{x, y, c, d} {
		a := newArray(Real, v.shape)
		for i := range a.real {
			a.real[i] = 3 + r.NormFloat64()
		}
		state[v.v] = a
	}
	p := func(n *Node) *Node { return n.centre(0, 1) }
	sum := func(n *Node) *Node { return n.SumKeep(0, 1) }
	guardedBy := func(a, b *Node) *Node { return guarded(expr.Mul, a, b, true, true) }
	for name, of := range map[string]struct {
		n             *Node
		centred, sums int // projections and sums that are left
	}{
		"twice":                    {p(p(x)), 1, 0},
		"constant":                 {p(c.Expand(5, 4, 3)), 0, 0},
		"factor":                   {p(c.Mul(p(x))), 1, 0},
		"factor on the right":      {p(p(x).Mul(d)), 1, 0},
		"divisor":                  {p(p(x).Div(c)), 1, 0},
		"guarded factor":           {p(guardedBy(p(x), c)), 1, 0},
		"negative":                 {p(p(x).Neg()), 1, 0},
		"addend":                   {p(x.Mul(c).Add(p(y))), 2, 0},
		"subtrahend":               {p(p(y).Sub(x)), 2, 0},
		"two with factors":         {p(x.Mul(c).Add(y.Mul(d))), 2, 0},
		"two without":              {p(x.Add(y)), 1, 0},
		"other axes":               {p(x.centre(0)), 2, 0},
		"sum":                      {sum(p(x)), 0, 0},
		"sum with a factor":        {sum(p(x).Mul(c)), 0, 0},
		"sum of two":               {sum(p(x).Mul(c).Add(y)), 0, 1},
		"difference":               {sum(p(x).Sub(y)), 0, 1},
		"sum over other axes":      {p(x).SumKeep(0), 1, 1},
		"largest":                  {p(x).reduce("", device.Maximum, []int{0, 1}), 1, 0},
		"product":                  {sum(p(x).Mul(p(y))), 1, 1},
		"product with factors":     {sum(p(x).Mul(c).Mul(d.Mul(p(y)))), 1, 1},
		"square":                   {sum(p(x).Mul(p(x).Scale(2))), 1, 1}, // P(x) stays in both factors
		"product with one of them": {sum(p(x).Mul(y)), 1, 1},
	} {
		want := newInterpreter(state).eval(of.n)
		out := centring([]*Node{of.n})
		got := newInterpreter(state).eval(out[0])
		require.Equal(t, of.n.shape, out[0].shape, name)
		for i := range want.real {
			require.InDelta(t, want.real[i], got.real[i], 1e-12*(1+math.Abs(want.real[i]))*60, "%s %d", name, i)
		}
		require.Equal(t, of.sums, count(out, isSum), "%s: sums", name)
		require.Equal(t, of.centred, count(out, isCentre), "%s: projections", name)
	}
}

// A training step of a batch normalization sums over the batch four times: the mean, the variance, and in the gradient
// Σ g and Σ g ⊙ (x - mean), of which the gradients of bias and weight are made too.
func TestSumsOfABatchNormalization(t *testing.T) {
	x, g := leafOf(6, 5, 3), leafOf(6, 5, 3)
	weight, bias := leafOf(3), leafOf(3)
	y, _, _ := BatchNorm(x, weight, bias, 1e-3)
	wrt := []*Node{x, weight, bias}
	outs := append(VJP([]*Node{y.Relu()}, wrt, []*Node{g}), y)
	for _, pass := range passes {
		outs = pass(outs)
	}
	require.Equal(t, 4, count(outs, isSum))
}

// leafOf is a variable of no executor: for what is never run.
func leafOf(shape ...int) *Node {
	return &Node{op: opVar, typ: Real, shape: shape, v: &Variable{name: "x", typ: Real, shape: shape}}
}
