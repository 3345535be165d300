package problem

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// Set is a closed convex set of vectors.
type Set interface {
	// Project is the nearest point of the set to z [n], for the batch at hand where the set depends on it.
	Project(z *tensor.Node, b Batch) *tensor.Node
	// Free is 1 for coordinates of a point z [n] of the set that no active bound holds, and 0 for the others: the
	// diagonal of the projection's derivative where that is diagonal.
	Free(z *tensor.Node, b Batch) *tensor.Node
	// Contains tells whether a vector lies in the set. Sets that depend on the batch say yes.
	Contains(v Values) bool
	// Check refuses a vector of n elements with a layout that the set does not fit.
	Check(l params.Layout, n int) error
	String() string
}

// binder is a Set with arrays of its own, which have to be on the device before nodes can be built, or that needs to
// know the names of its vector. Bind puts the bound set in its place.
type binder interface {
	bind(sc *tensor.Scope, l params.Layout) (Set, error)
}

// bindSet readies a set for building nodes.
func bindSet(sc *tensor.Scope, s Set, l params.Layout) (Set, error) {
	if b, ok := s.(binder); ok {
		return b.bind(sc, l)
	}
	return s, nil
}

// notBound is the panic of a set whose nodes are asked for before Bind.
func notBound(s Set) {
	tensor.Fail("Set", "the %s can be used only in a problem that is bound to a device", s)
}

// upload makes a variable of constants.
func upload(sc *tensor.Scope, name string, values []float64, shape ...int) (*tensor.Node, error) {
	v := sc.Variable(name, tensor.Real, shape...)
	return v.Node(), v.Write(values)
}

// LinearMinimizer is a Set with a linear minimization oracle, as the Frank–Wolfe method needs: Least is a point of the
// set where ⟨g, z⟩ is least.
type LinearMinimizer interface {
	Set
	Least(g *tensor.Node, b Batch) *tensor.Node
}
