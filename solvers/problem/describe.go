package problem

import (
	"math"

	"bilevel/tensor"
)

// Described is a Set that says by which bounds and functions it holds its points, as optimality conditions with
// multipliers need.
type Described interface {
	Set
	// Describe builds the description at a point z [n], for the batch at hand where the set depends on it.
	Describe(z *tensor.Node, b Batch) Description
}

// Description says which points z [n] are allowed: Lo <= z <= Hi, Inequality(z) <= 0, Equality(z) = 0. What is nil is
// not there. The functions of a simplex and of a ball are scaled such that their gradients have the length 1 where they
// hold z.
type Description struct {
	Lo, Hi               *tensor.Node // [n], infinite where there is no bound
	Inequality, Equality *tensor.Node // vectors
}

func boundsOnly(z *tensor.Node, of bounds) Description {
	lo, hi := of(z)
	return Description{Lo: lo.Expand(z.Shape()...), Hi: hi.Expand(z.Shape()...)}
}

func (s Box) Describe(z *tensor.Node, _ Batch) Description      { return boundsOnly(z, s.bounds) }
func (s Bounds) Describe(z *tensor.Node, _ Batch) Description   { return boundsOnly(z, s.bounds) }
func (s BatchBox) Describe(z *tensor.Node, b Batch) Description { return boundsOnly(z, s.at(b)) }

// Describe is z >= 0 and (Σ z_i - Total)/√n = 0.
func (s Simplex) Describe(z *tensor.Node, _ Batch) Description {
	return Description{
		Lo: tensor.Zeros(z.Shape()...), Hi: tensor.Full(math.Inf(1), z.Shape()...),
		Equality: z.Sum().AddConst(-s.Total).Scale(1 / math.Sqrt(float64(z.Size()))).Reshape(1),
	}
}

// Describe is (|z - c|² - r²)/(2r) <= 0.
func (s Ball) Describe(z *tensor.Node, _ Batch) Description {
	d := s.from(z).Scale(1 / s.Radius) // r² may be no number
	return Description{Inequality: tensor.Dot(d, d).AddConst(-1).Scale(s.Radius / 2).Reshape(1)}
}

// Describe is E z - c = 0.
func (s Affine) Describe(z *tensor.Node, _ Batch) Description {
	if s.e == nil {
		notBound(s)
	}
	return Description{Equality: times(s.e, z).Sub(s.c)}
}

func (s Sets) Describe(*tensor.Node, Batch) Description { notBound(s); return Description{} }

// Describe joins the descriptions of the parts. The set of a part that is not Described fails.
func (s productSet) Describe(z *tensor.Node, b Batch) Description {
	var lo, hi, inequalities, equalities []*tensor.Node
	bounded := false
	for i, a := range s.layout {
		part, d := a.Of(z).Flatten(), Description{}
		if set := s.bound[i]; set != nil {
			described, ok := set.(Described)
			if !ok {
				fail("the %s of %q does not say its bounds and functions (problem.Described)", set, a.Name)
			}
			d = described.Describe(part, b)
		}
		bounded = bounded || d.Lo != nil
		lo, hi = append(lo, orFull(d.Lo, math.Inf(-1), part)), append(hi, orFull(d.Hi, math.Inf(1), part))
		inequalities, equalities = appendNode(inequalities, d.Inequality), appendNode(equalities, d.Equality)
	}
	out := Description{Inequality: joined(inequalities), Equality: joined(equalities)}
	if bounded {
		out.Lo, out.Hi = joined(lo), joined(hi)
	}
	return out
}

// Constraints describes where a level's own variable may be at (x, y): its set's bounds and functions, and then its
// constraint functions.
func (o *Oracle) Constraints(side Side, x, y *tensor.Node, b Batch) Description {
	l, d, own := o.b.Level(side), Description{}, y
	if side == Upper {
		own = x
	}
	if set := o.b.Set(side); set != nil {
		described, ok := set.(Described)
		if !ok {
			fail("the %s of the %s level does not say its bounds and functions (problem.Described)", set, side)
		}
		d = described.Describe(own, b)
	}
	xs, ys := o.b.Upper.Start.Layout.Vars(x), o.b.Lower.Start.Layout.Vars(y)
	build := func(name string, f Function, to **tensor.Node) {
		if f == nil {
			return
		}
		var n *tensor.Node
		o.guard(side, func() { n = f(xs, ys, b) })
		if n == nil || n.Type() != tensor.Real || n.Size() < 1 {
			fail("the %s constraints of the %s level of %s give no Real numbers", name, side, o.b.Name)
		}
		*to = joined(appendNode(appendNode(nil, *to), n.Flatten()))
	}
	build("inequality", l.Inequality, &d.Inequality)
	build("equality", l.Equality, &d.Equality)
	return d
}

func orFull(n *tensor.Node, value float64, like *tensor.Node) *tensor.Node {
	if n == nil {
		return tensor.Full(value, like.Size())
	}
	return n.Flatten()
}

func appendNode(to []*tensor.Node, n *tensor.Node) []*tensor.Node {
	if n == nil {
		return to
	}
	return append(to, n)
}

// joined lays vectors one after the other; nil where there is none.
func joined(parts []*tensor.Node) *tensor.Node {
	if len(parts) == 0 {
		return nil
	}
	return tensor.Concat(0, parts...)
}
