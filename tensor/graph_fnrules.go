package tensor

import "bilevel/internal/expr"

// A chain multiplies a direction g by the derivative of an elementwise node n in one argument. Elementwise
// Jacobians are diagonal, so the same row serves forward and reverse mode. nil means the derivative is zero.
//
// Where a piecewise function is constant its derivative is chosen to be 0 (selected), not multiplied by 0: what the
// direction holds there may be infinite or NaN, and 0·∞ is NaN. From there on the direction is marked as selected, and
// further factors leave its zeros alone (graph_guarded.go). So log(relu(x)) has derivative 0 where relu is constant:
// in reverse mode relu drops the infinite 1/0 that log hands it, and in forward mode log keeps the 0 that relu hands
// it. NaN lies on no piece: every comparison with it is false, so that relu, max, min and clamp have derivative 0
// there. Their value, which is NaN, is what tells of it.
type chain = func(n, g *Node) *Node

// fnRules has one row per elementwise function, one entry per argument. The piecewise rules of the project live here.
var fnRules = [expr.NumFn][]chain{
	expr.Input: {}, expr.Const: {}, expr.IConst: {}, expr.Iota: {}, // leaves: no arguments

	expr.Neg: {func(n, g *Node) *Node { return g.Neg() }},
	expr.Abs: {func(n, g *Node) *Node { // abs'(0) = 0
		sign := n.in[0].Sign()
		return selected(sign, chainMul(g, sign))
	}},
	expr.Sign: {nil},
	expr.Sqrt: {func(n, g *Node) *Node { // sqrt'(0) = 0; below 0 it is NaN, as the value is
		return marked(Where(n.Eq(Const(0)), Const(0), chainDiv(chainMul(g, Const(0.5)), n)))
	}},
	expr.Exp: {func(n, g *Node) *Node { // flat where it is 0: exp(2.4·log x) has derivative 0 at 0, as x^2.4 has
		return selected(n, chainMul(g, n))
	}},
	expr.Log:      {func(n, g *Node) *Node { return chainDiv(g, n.in[0]) }},
	expr.Sin:      {func(n, g *Node) *Node { return chainMul(g, n.in[0].Cos()) }},
	expr.Cos:      {func(n, g *Node) *Node { return chainMul(g, n.in[0].Sin()).Neg() }},
	expr.Tanh:     {func(n, g *Node) *Node { return chainMul(g, Const(1).Sub(n.Square())) }},
	expr.Sigmoid:  {func(n, g *Node) *Node { return chainMul(g, n.Mul(Const(1).Sub(n))) }},
	expr.Softplus: {func(n, g *Node) *Node { return chainMul(g, n.in[0].Sigmoid()) }},
	expr.Relu: {func(n, g *Node) *Node { // relu'(0) = 0; by the result, so that the argument need not be kept
		return selected(Const(0).Lt(n), g)
	}},
	expr.Floor: {nil},

	expr.Add: {
		func(n, g *Node) *Node { return g },
		func(n, g *Node) *Node { return g },
	},
	expr.Sub: {
		func(n, g *Node) *Node { return g },
		func(n, g *Node) *Node { return g.Neg() },
	},
	expr.Mul: {
		func(n, g *Node) *Node { return chainMul(g, n.in[1]) },
		func(n, g *Node) *Node { return chainMul(g, n.in[0]) },
	},
	expr.Div: {
		func(n, g *Node) *Node { return chainDiv(g, n.in[1]) },
		func(n, g *Node) *Node { return divisorSlope(n, g, false) },
	},
	expr.Max: { // ties go to the first
		func(n, g *Node) *Node { return selected(n.in[1].Le(n.in[0]), g) },
		func(n, g *Node) *Node { return selected(n.in[0].Lt(n.in[1]), g) },
	},
	expr.Min: {
		func(n, g *Node) *Node { return selected(n.in[0].Le(n.in[1]), g) },
		func(n, g *Node) *Node { return selected(n.in[1].Lt(n.in[0]), g) },
	},
	expr.Lt: {nil, nil},
	expr.Le: {nil, nil},
	expr.Eq: {nil, nil},

	expr.Where: {
		nil,
		func(n, g *Node) *Node { return selected(n.in[0], g) },
		func(n, g *Node) *Node { return marked(Where(n.in[0], Const(0), g)) },
	},
	expr.Clamp: { // clamp' = 1 strictly inside; on a bound the bound has the derivative
		func(n, g *Node) *Node {
			return selected(n.in[1].Lt(n.in[0]).Mul(n.in[0].Lt(n.in[2])), g)
		},
		func(n, g *Node) *Node {
			return selected(n.in[0].Le(n.in[1]).Mul(n.in[1].Lt(n.in[2])), g)
		},
		func(n, g *Node) *Node {
			return selected(n.in[2].Le(n.in[0].Max(n.in[1])), g)
		},
	},

	// Integers are not differentiable.
	expr.IAdd: {nil, nil}, expr.ISub: {nil, nil}, expr.IMul: {nil, nil},
	expr.ILt: {nil, nil}, expr.IEq: {nil, nil}, expr.ToReal: {nil}, expr.ToInt: {nil},
}

// selected is g where mask ≠ 0, else 0 whatever g holds there.
func selected(mask, g *Node) *Node { return marked(Where(mask, g, Const(0))) }

// marked remembers of a node of its own that it holds zeros by selection.
func marked(n *Node) *Node {
	n.selected = true
	return n
}

// inherit marks n, which was made of g alone, as g is.
func inherit(g, n *Node) *Node {
	if g.selected && n != g {
		n.selected = true
	}
	return n
}
