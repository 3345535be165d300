package problem

import (
	"errors"
	"fmt"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Box is {z : Lo <= z_i <= Hi}, the same bounds for every coordinate. Infinite bounds are allowed.
type Box struct{ Lo, Hi float64 }

func (s Box) bounds(z *tensor.Node) (lo, hi *tensor.Node) {
	return tensor.Const(s.Lo), tensor.Const(s.Hi)
}

func (s Box) Project(z *tensor.Node, _ Batch) *tensor.Node { return clip(z, s.bounds) }
func (s Box) Free(z *tensor.Node, _ Batch) *tensor.Node    { return strictlyInside(z, s.bounds) }
func (s Box) Least(g *tensor.Node, _ Batch) *tensor.Node   { return corner(g, s.bounds) }

func (s Box) Contains(v Values) bool {
	for _, c := range v.Flat {
		if !(c >= s.Lo && c <= s.Hi) {
			return false
		}
	}
	return true
}

func (s Box) Check(params.Layout, int) error {
	if !(s.Lo <= s.Hi) {
		return fmt.Errorf("%s is empty", s)
	}
	return nil
}

func (s Box) String() string { return fmt.Sprintf("box [%g, %g]", s.Lo, s.Hi) }

// Bounds is {z : Lo_i <= z_i <= Hi_i}, bounds by coordinate.
type Bounds struct {
	Lo, Hi []float64

	lo, hi *tensor.Node // once bound
}

func (s Bounds) bind(sc *tensor.Scope, _ params.Layout) (Set, error) {
	var err1, err2 error
	s.lo, err1 = upload(sc, "lower bounds", s.Lo, len(s.Lo))
	s.hi, err2 = upload(sc, "upper bounds", s.Hi, len(s.Hi))
	return s, errors.Join(err1, err2)
}

func (s Bounds) bounds(*tensor.Node) (lo, hi *tensor.Node) {
	if s.lo == nil {
		notBound(s)
	}
	return s.lo, s.hi
}

func (s Bounds) Project(z *tensor.Node, _ Batch) *tensor.Node { return clip(z, s.bounds) }
func (s Bounds) Free(z *tensor.Node, _ Batch) *tensor.Node    { return strictlyInside(z, s.bounds) }
func (s Bounds) Least(g *tensor.Node, _ Batch) *tensor.Node   { return corner(g, s.bounds) }

func (s Bounds) Contains(v Values) bool {
	for i, c := range v.Flat {
		if i >= len(s.Lo) || i >= len(s.Hi) || !(c >= s.Lo[i] && c <= s.Hi[i]) {
			return false
		}
	}
	return true
}

func (s Bounds) Check(_ params.Layout, n int) error {
	if len(s.Lo) != n || len(s.Hi) != n {
		return fmt.Errorf("%d lower and %d upper bounds for %d coordinates", len(s.Lo), len(s.Hi), n)
	}
	for i := range s.Lo {
		if !(s.Lo[i] <= s.Hi[i]) {
			return fmt.Errorf("coordinate %d lies between %g and %g, which is empty", i, s.Lo[i], s.Hi[i])
		}
	}
	return nil
}

func (s Bounds) String() string {
	return fmt.Sprintf("box with bounds for each of %d coordinates", len(s.Lo))
}

// BatchBox is a box whose bounds depend on the batch: Of builds the bounds, each of the shape of z or one that
// broadcasts to it. An image x with a perturbation in an l_inf ball, for example, has the bounds max(-ε, -x) and
// min(ε, 1 - x).
type BatchBox struct {
	Of func(b Batch) (lo, hi *tensor.Node)
}

func (s BatchBox) at(b Batch) func(*tensor.Node) (lo, hi *tensor.Node) {
	return func(z *tensor.Node) (lo, hi *tensor.Node) {
		lo, hi = s.Of(b)
		return fit(lo, z), fit(hi, z)
	}
}

func (s BatchBox) Project(z *tensor.Node, b Batch) *tensor.Node { return clip(z, s.at(b)) }
func (s BatchBox) Free(z *tensor.Node, b Batch) *tensor.Node    { return strictlyInside(z, s.at(b)) }
func (s BatchBox) Least(g *tensor.Node, b Batch) *tensor.Node   { return corner(g, s.at(b)) }
func (s BatchBox) Contains(Values) bool                         { return true }

func (s BatchBox) Check(params.Layout, int) error {
	if s.Of == nil {
		return fmt.Errorf("a box by batch without a function that gives its bounds")
	}
	return nil
}

func (s BatchBox) String() string { return "box that depends on the batch" }

type bounds = func(z *tensor.Node) (lo, hi *tensor.Node)

func clip(z *tensor.Node, of bounds) *tensor.Node {
	lo, hi := of(z)
	return z.Max(lo).Min(hi)
}

func strictlyInside(z *tensor.Node, of bounds) *tensor.Node {
	lo, hi := of(z)
	return lo.Lt(z).Mul(z.Lt(hi))
}

// corner takes the lower bound where the slope is positive, else the upper one.
func corner(g *tensor.Node, of bounds) *tensor.Node {
	lo, hi := of(g)
	return tensor.Where(tensor.Const(0).Lt(g), lo, hi).Expand(g.Shape()...)
}

// fit lays a bound out like z, where it has as many elements.
func fit(bound, z *tensor.Node) *tensor.Node {
	if bound.Size() == z.Size() {
		return bound.Reshape(z.Shape()...)
	}
	return bound
}
