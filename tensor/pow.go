package tensor

import (
	"math"

	"bilevel/internal/expr"
)

// Pow is n^p for a constant exponent p, elementwise: 1 for p = 0, whatever n is; NaN where n < 0 and p is no whole
// number. Its derivative is p·n^(p-1) for every n, so 0 at n = 0 for p > 1, and infinite there for p < 1.
//
// With the whole part k of |p| it is n^k·exp((|p|-k)·log n), n^k by repeated squaring, and 1/that for p < 0. The
// relative error is about (2 log₂ k + |log n| + 4) u.
func (n *Node) Pow(p float64) *Node {
	n.want("Pow", Real)
	const most = 1 << 30
	switch {
	case !(math.Abs(p) <= most): // NaN too
		fail("Pow", "the exponent %v is not between -2^30 and 2^30", p)
	case p == 0:
		return Full(1, n.shape...)
	case p == 1:
		return n
	}
	return newNode(Node{op: opPow, num: p, shape: n.shape, in: []*Node{n}})
}

// powSlope is g times the derivative of n = x^p.
func powSlope(n, g *Node) *Node {
	return chainMul(chainMul(g, Const(n.num)), n.in[0].Pow(n.num-1))
}

// composePow writes x^p in elementwise functions; differentiation is over then.
func composePow(x *Node, p float64) *Node {
	whole, rest := math.Modf(math.Abs(p))
	var y *Node
	times := func(factor *Node) {
		if y == nil {
			y = factor
		} else {
			y = y.Mul(factor)
		}
	}
	square := x
	for k := int(whole); k > 0; k >>= 1 {
		if k&1 == 1 {
			times(square)
		}
		if k > 1 {
			square = square.Mul(square)
		}
	}
	switch rest {
	case 0:
	case 0.5:
		times(elem(expr.Sqrt, x))
	default:
		times(x.Log().Scale(rest).Exp())
	}
	if p < 0 {
		y = Const(1).Div(y)
	}
	return y
}
