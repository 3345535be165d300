package tensor

import (
	"slices"

	"bilevel/internal/expr"
)

func (f *fusion) rematerialize() {
	f.again = map[*Node]bool{}
	for _, n := range f.order {
		if n.op != opElem || n.Size() == 1 || f.roots[n] || len(n.in) != 2 {
			continue
		}
		of := n.in[0]
		if _, ok := of.isConst(); ok {
			of = n.in[1]
		} else if _, ok := n.in[1].isConst(); !ok {
			continue
		}
		switch n.fn {
		case expr.Lt, expr.Le, expr.Eq:
		case expr.Add, expr.Sub, expr.Mul:
			if !f.roots[of] && f.pointwise(of) { // nobody stores it
				continue
			}
		default:
			continue
		}
		if of.op != opElem || inlined(of, of) || !f.pointwise(n) {
			continue
		}
		f.again[n] = true
	}
}

// pointwise says whether all who read n are elementwise and read it as it is.
func (f *fusion) pointwise(n *Node) bool {
	return !slices.ContainsFunc(f.users[n], func(u *Node) bool { return u.op != opElem || !direct(u, n) })
}
