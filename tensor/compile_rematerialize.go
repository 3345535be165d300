package tensor

import (
	"slices"

	"bilevel/internal/expr"
)

// recipe says how a value is computed again.
type recipe struct {
	cost int     // elementwise operations
	from []*Node // arrays of the value's shape that are read
}

const (
	mostOperations = 8
	mostSources    = 2
	// smallPart is how many times smaller than a value a broadcast operand is at least.
	smallPart = 8
	// shortPass is the elements of a pass over memory that takes no longer than starting it.
	shortPass = 1 << 14
)

var cheap = [expr.NumFn]bool{
	expr.Neg: true, expr.Abs: true, expr.Sign: true, expr.Relu: true, expr.Add: true, expr.Sub: true, expr.Mul: true, expr.Div: true,
	expr.Max: true, expr.Min: true, expr.Lt: true, expr.Le: true, expr.Eq: true, expr.Where: true, expr.Clamp: true,
}

func (f *fusion) rematerialize() {
	f.again = map[*Node]bool{}
	recipes := make(map[*Node]recipe)
	for _, n := range f.order {
		if n.op != opElem || n.Size() == 1 || f.roots[n] || n.typ != Real || !cheap[n.fn] || !f.pointwise(n) {
			continue
		}
		if r, ok := f.recipe(n, recipes); ok && len(r.from) > 0 && len(r.from) <= mostSources && r.cost <= mostOperations {
			f.again[n], recipes[n] = true, r
		}
	}
}

// recipe finds out how n is computed from what is in memory anyway.
func (f *fusion) recipe(n *Node, recipes map[*Node]recipe) (r recipe, ok bool) {
	r.cost = 1
	comparison := n.fn == expr.Lt || n.fn == expr.Le || n.fn == expr.Eq
	for _, in := range n.in {
		s := storageOf(in)
		_, constant := in.isConst()
		switch {
		case constant:
		case in != s:
			if s.Size()*smallPart > n.Size() || in.op != opExpand && in.op != opReshape {
				return r, false
			}
		case f.again[in]:
			r.cost += recipes[in].cost
			for _, s := range recipes[in].from {
				if !slices.Contains(r.from, s) {
					r.from = append(r.from, s)
				}
			}
		case f.inMemory(in) || comparison && in.op == opElem && !inlined(in, in):
			if !slices.Contains(r.from, in) {
				r.from = append(r.from, in)
			}
		default:
			return r, false
		}
	}
	return r, true
}

// inMemory says whether the value of n is stored whatever its elementwise readers do.
func (f *fusion) inMemory(n *Node) bool {
	switch {
	case f.roots[n]:
		return true
	case n.op == opVar:
		return false
	case n.op == opElem:
		return !inlined(n, n) && !f.pointwise(n)
	case takesEpilogue(n):
		return !f.pointwise(n)
	}
	return len(n.in) > 0
}

// pointwise says whether all who read n are elementwise and read it as it is.
func (f *fusion) pointwise(n *Node) bool {
	return !slices.ContainsFunc(f.users[n], func(u *Node) bool { return u.op != opElem || !direct(u, n) })
}
