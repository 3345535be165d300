package tensor

import (
	"slices"

	"bilevel/internal/expr"
)

// Rematerialization: some values are computed again by everyone who reads them, instead of being computed once,
// stored and read. Storing and reading a value moves 8 bytes for each reader, which takes as long as dozens of
// operations on what is in registers; and a stored value takes memory until its last reader, which may be far away.
// Batch normalization of a layer z [rows, columns],
//
//	μ = mean z    s = sqrt(mean (z-μ)² + ε)    n = (z-μ)/s    h = relu(γ·n + β)
//
// is read by its own derivative: dγ = Σ g·n, and dz needs n, z-μ and whether h > 0. Stored as they are computed, z-μ,
// n and h would stay in memory from the way forward to the way back: three arrays. But the product z is in memory
// anyway, since the mean reads it before anything else can be computed from it; μ, s, γ and β are rows; so z-μ and n
// take two operations, wherever they are needed. Two arrays stay, z and h, and on the way forward three passes over
// memory remain of four.
//
// A node is computed again if
//
//   - all its readers are elementwise and read it element by element: otherwise it must be in memory;
//   - each of its arguments is a number, a small array that is broadcast, an array that is in memory anyway (a
//     source), or again such a node;
//   - the whole recipe, down to the sources, takes few cheap operations and reads few sources.
//
// A comparison, such as relu'(x) = (0 < h), needs no argument that is in memory anyway: its result is as large as
// what it compares, so that storing that instead costs nothing.
//
// There is a second gain: the group that would have computed the value has one result less to store, so that it may
// become the epilogue of the product before it.

// recipe says how a value is computed again.
type recipe struct {
	operations int
	sources    []*Node // arrays of the value's shape that are read
}

func (r *recipe) reads(sources ...*Node) {
	for _, s := range sources {
		if !slices.Contains(r.sources, s) {
			r.sources = append(r.sources, s)
		}
	}
}

const (
	// maxOperations and maxSources bound a recipe. The derivative of a normalized layer takes 8 operations of 2
	// sources; with a selection after each of them it is twice as many.
	maxOperations = 16
	maxSources    = 2
	// smallPart is how many times smaller than an array one is whose memory does not matter beside it.
	smallPart = 8
)

// cheap operations take a cycle or a few for a vector register.
var cheap = [expr.NumFn]bool{
	expr.Neg: true, expr.Abs: true, expr.Sign: true, expr.Relu: true, expr.Add: true, expr.Sub: true, expr.Mul: true,
	expr.Div: true, expr.Max: true, expr.Min: true, expr.Lt: true, expr.Le: true, expr.Eq: true, expr.Where: true,
	expr.Clamp: true,
}

// rematerialize finds the nodes that every reader computes for itself.
func (f *fusion) rematerialize() {
	f.recomputed = map[*Node]bool{}
	recipes := make(map[*Node]recipe)
	for _, n := range f.order {
		if n.op != opElem || n.typ != Real || n.Size() == 1 || f.roots[n] || !cheap[n.fn] || !f.pointwise(n) {
			continue
		}
		r, ok := f.recipe(n, recipes)
		if ok && 0 < len(r.sources) && len(r.sources) <= maxSources && r.operations <= maxOperations {
			f.recomputed[n], recipes[n] = true, r
		}
	}
}

// recipe finds out how n is computed from what is in memory anyway. ok is false where it needs more.
func (f *fusion) recipe(n *Node, recipes map[*Node]recipe) (r recipe, ok bool) {
	r.operations = 1
	comparison := n.fn == expr.Lt || n.fn == expr.Le || n.fn == expr.Eq
	for _, in := range n.in {
		s := storageOf(in)
		_, number := in.isConst()
		switch {
		case number:
		case in != s: // read through a view
			if s.Size()*smallPart > n.Size() {
				return r, false
			}
		case f.recomputed[in]:
			r.operations += recipes[in].operations
			r.reads(recipes[in].sources...)
		case f.inMemory(in), comparison && in.op == opElem && !f.inlined(in, in):
			r.reads(in)
		default:
			return r, false
		}
	}
	return r, true
}

// inMemory says whether the value of n is stored whatever its elementwise readers do. Variables do not count: the
// more there are who read one, the later it can be updated in place.
func (f *fusion) inMemory(n *Node) bool {
	switch {
	case f.roots[n]:
		return true
	case n.op == opElem:
		return !f.inlined(n, n) && !f.pointwise(n)
	case takesEpilogue(n):
		return !f.pointwise(n)
	}
	return len(n.in) > 0
}

// pointwise says whether all who read n are elementwise and read it as it is.
func (f *fusion) pointwise(n *Node) bool {
	return !slices.ContainsFunc(f.users[n], func(u *Node) bool { return u.op != opElem || !direct(u, n) })
}
