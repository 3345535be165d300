package tensor

import (
	"fmt"
	"slices"

	"bilevel/internal/expr"
)

// cse makes nodes that compute the same thing one node. Random nodes stay apart: each use draws for itself.
func cse(outs []*Node) []*Node {
	number := make(map[*Node]int)
	first := make(map[string]*Node)
	return rewrite(outs, func(_, n *Node) *Node {
		key := fmt.Sprintf("random %p", n)
		if n.op != opRandom {
			in := make([]int, len(n.in))
			for i, p := range n.in {
				in[i] = number[p]
			}
			if n.op == opElem && (n.fn == expr.Add || n.fn == expr.Mul) {
				slices.Sort(in) // a + b is b + a, to the bit
			}
			key = fmt.Sprint(n.op, n.fn, n.typ, n.shape, n.num, n.ints, n.kind, n.soft, in)
			if n.op == opVar || n.op == opHole {
				key = fmt.Sprintf("leaf %p %p", n.v, n)
				if n.v != nil {
					key = fmt.Sprintf("var %p", n.v)
				}
			}
		}
		if f, ok := first[key]; ok {
			return f
		}
		first[key] = n
		number[n] = len(number) + 1
		return n
	})
}
