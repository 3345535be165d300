package tensor

import "bilevel/internal/expr"

// A chain multiplies a direction g by the derivative of an elementwise node n in one argument. Elementwise
// Jacobians are diagonal, so the same row serves forward and reverse mode. nil means the derivative is zero.
type chain = func(n, g *Node) *Node

// fnRules has one row per elementwise function, one entry per argument. The piecewise rules of the project live here.
var fnRules = [expr.NumFn][]chain{
	expr.Input: {}, expr.Const: {}, expr.IConst: {}, expr.Iota: {}, // leaves: no arguments

	expr.Neg:  {func(n, g *Node) *Node { return g.Neg() }},
	expr.Abs:  {func(n, g *Node) *Node { return g.Mul(n.in[0].Sign()) }}, // abs'(0) = 0
	expr.Sign: {nil},
	expr.Sqrt: {func(n, g *Node) *Node { // sqrt'(0) = 0
		return Where(Const(0).Lt(n), g.Scale(0.5).Div(n), Const(0))
	}},
	expr.Exp:      {func(n, g *Node) *Node { return g.Mul(n) }},
	expr.Log:      {func(n, g *Node) *Node { return g.Div(n.in[0]) }},
	expr.Sin:      {func(n, g *Node) *Node { return g.Mul(n.in[0].Cos()) }},
	expr.Cos:      {func(n, g *Node) *Node { return g.Mul(n.in[0].Sin()).Neg() }},
	expr.Tanh:     {func(n, g *Node) *Node { return g.Mul(Const(1).Sub(n.Square())) }},
	expr.Sigmoid:  {func(n, g *Node) *Node { return g.Mul(n.Mul(Const(1).Sub(n))) }},
	expr.Softplus: {func(n, g *Node) *Node { return g.Mul(n.in[0].Sigmoid()) }},
	expr.Relu: {func(n, g *Node) *Node { // relu'(0) = 0; by the result, so that the argument need not be kept
		return g.Mul(Const(0).Lt(n))
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
		func(n, g *Node) *Node { return g.Mul(n.in[1]) },
		func(n, g *Node) *Node { return g.Mul(n.in[0]) },
	},
	expr.Div: {
		func(n, g *Node) *Node { return g.Div(n.in[1]) },
		func(n, g *Node) *Node { return g.Mul(n).Div(n.in[1]).Neg() },
	},
	expr.Max: { // ties go to the first
		func(n, g *Node) *Node { return g.Mul(n.in[1].Le(n.in[0])) },
		func(n, g *Node) *Node { return g.Mul(n.in[0].Lt(n.in[1])) },
	},
	expr.Min: {
		func(n, g *Node) *Node { return g.Mul(n.in[0].Le(n.in[1])) },
		func(n, g *Node) *Node { return g.Mul(n.in[1].Lt(n.in[0])) },
	},
	expr.Lt: {nil, nil},
	expr.Le: {nil, nil},
	expr.Eq: {nil, nil},

	expr.Where: { // by selection, not by product: what is not chosen may be NaN
		nil,
		func(n, g *Node) *Node { return Where(n.in[0], g, Const(0)) },
		func(n, g *Node) *Node { return Where(n.in[0], Const(0), g) },
	},
	expr.Clamp: { // clamp' = 1 strictly inside; on a bound the bound has the derivative
		func(n, g *Node) *Node {
			return g.Mul(n.in[1].Lt(n.in[0])).Mul(n.in[0].Lt(n.in[2]))
		},
		func(n, g *Node) *Node {
			return g.Mul(n.in[0].Le(n.in[1])).Mul(n.in[1].Lt(n.in[2]))
		},
		func(n, g *Node) *Node {
			return g.Mul(n.in[2].Le(n.in[0].Max(n.in[1])))
		},
	},

	// Integers are not differentiable.
	expr.IAdd: {nil, nil}, expr.ISub: {nil, nil}, expr.IMul: {nil, nil},
	expr.ILt: {nil, nil}, expr.IEq: {nil, nil}, expr.ToReal: {nil}, expr.ToInt: {nil},
}
