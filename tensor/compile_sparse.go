package tensor

import "bilevel/internal/expr"

// sparse turns a dense update by a sparse gradient into a sparse update:
//
//	x ± c·ScatterAdd(0, index, s)  →  ScatterAdd(x, index, ±c·s)      for a number c
//
// so that a minibatch of 64 rows changes 64 of 20,000 weights instead of rewriting them all. It runs after fold, which
// brings numeric factors together.
func sparse(outs []*Node) []*Node {
	return rewrite(outs, func(_, n *Node) *Node {
		if n.op != opElem || n.fn != expr.Add && n.fn != expr.Sub {
			return n
		}
		if s := scatterTerm(n.in[1]); s != nil {
			src := s.in[2]
			if n.fn == expr.Sub {
				src = src.Neg()
			}
			return ScatterAdd(n.in[0], s.in[1], src)
		}
		if s := scatterTerm(n.in[0]); s != nil && n.fn == expr.Add {
			return ScatterAdd(n.in[1], s.in[1], s.in[2])
		}
		return n
	})
}

// scatterTerm gives t as a ScatterAdd onto zeros, with negations and numeric factors moved to the source, or nil
// where t is none.
func scatterTerm(t *Node) *Node {
	switch {
	case t.op == opScatter && t.in[0].isZero():
		return t
	case t.op == opElem && t.fn == expr.Neg:
		if s := scatterTerm(t.in[0]); s != nil {
			return ScatterAdd(s.in[0], s.in[1], s.in[2].Neg())
		}
	case t.op == opElem && t.fn == expr.Mul:
		for i := range 2 {
			c := number(t.in[i])
			if s := scatterTerm(t.in[1-i]); c != nil && s != nil {
				return ScatterAdd(s.in[0], s.in[1], s.in[2].Mul(c))
			}
		}
	}
	return nil
}

// number is the scalar that a node repeats, or nil.
func number(n *Node) *Node {
	for n.op == opExpand || n.op == opReshape {
		n = n.in[0]
	}
	if n.Size() != 1 {
		return nil
	}
	return n.Reshape()
}
