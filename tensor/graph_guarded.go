package tensor

import (
	"math"

	"bilevel/internal/expr"
)

// A guarded product is a·b, or a quotient a/b, of which at least one argument is a direction that has been through a
// selection: where that argument is 0 the result is 0, whatever the other one is. A direction may also be 0 by chance,
// as that of x²/2 is at x = 0; the product is then 0 anyway, but its derivative is not. So the derivative is that of
// a product, with the guards where they belong:
//
//	in a   c·b, guarded by b if b guards, and by the direction c if it has been through a selection
//	in b   c·a, guarded by a if a guards, and by c likewise
//
// It is not that of Where(a, a·b, 0), which the compiler makes of it: that would be 0 wherever a is.
func guarded(fn expr.Fn, a, b *Node, aGuards, bGuards bool) *Node {
	product := elem(fn, a, b)
	if !aGuards && !bGuards {
		return product
	}
	flags := make([]int, 2)
	for i, on := range []bool{aGuards, bGuards} {
		if on {
			flags[i] = 1
		}
	}
	return marked(newNode(Node{op: opGuarded, fn: fn, shape: product.shape, in: product.in, ints: flags}))
}

// guardedSlope is a direction g times the derivative of a guarded product in one of its arguments.
func guardedSlope(n *Node, argument int, g *Node) *Node {
	a, b, aGuards, bGuards := n.in[0], n.in[1], n.ints[0] != 0, n.ints[1] != 0
	switch {
	case argument == 0:
		return guarded(n.fn, g, b, g.selected, bGuards)
	case n.fn == expr.Mul:
		return guarded(expr.Mul, g, a, g.selected, aGuards)
	}
	return divisorSlope(n, g, aGuards)
}

// divisorSlope is a direction g times the derivative -n/b of n = a/b in b.
func divisorSlope(n, g *Node, aGuards bool) *Node {
	numerator := guarded(expr.Mul, g, n, g.selected, aGuards)
	q := guarded(expr.Div, numerator, n.in[1], numerator.selected, false)
	return inherit(q, q.Neg())
}

// composeGuarded writes a guarded product in elementwise functions; differentiation is over then.
func composeGuarded(n *Node) *Node {
	product := elem(n.fn, n.in...)
	for i, argument := range n.in {
		if n.ints[i] != 0 {
			product = Where(argument, product, Const(0))
		}
	}
	return product
}

// chainMul is g·d, and chainDiv is g/d, for a direction g and a number d of the point. A zero of g stays zero whatever
// d is if g has been through a selection. g itself is the mask, so that nothing more is read from memory.
func chainMul(g, d *Node) *Node { return chained(expr.Mul, g, d, g.selected, false, d) }
func chainDiv(g, d *Node) *Node { return chained(expr.Div, g, d, g.selected, false, d) }

// mulChain is chainMul with the factor first, which decides what is computed first.
func mulChain(d, g *Node) *Node { return chained(expr.Mul, d, g, false, g.selected, d) }

// chained is a guarded product of a direction, but unguarded where the factor d is a number that cannot spoil its
// zeros.
func chained(fn expr.Fn, a, b *Node, aGuards, bGuards bool, d *Node) *Node {
	if c, ok := d.isConst(); ok && c != 0 && !math.IsInf(c, 0) && !math.IsNaN(c) {
		n := elem(fn, a, b)
		n.selected = aGuards || bGuards
		return n
	}
	return guarded(fn, a, b, aGuards, bGuards)
}
