package problem

import "bilevel/tensor"

// Composite is an objective given by its parts, outer(z) + rest with z = outputs(x, y): a loss of the outputs of a
// model, and what depends on the variables directly, such as a regularization. Their sum is what Value would be;
// knowing the parts gives the Gauss-Newton matrix, and gradients of the loss without the rest.
type Composite struct {
	// Outputs are the model's on the batch, of any shape.
	Outputs Function
	// Outer is a scalar function of the outputs, the mean over the batch of a loss. It may read y only through z.
	Outer func(z *tensor.Node, x Vars, b Batch) *tensor.Node
	// Rest is a scalar; nil: nothing.
	Rest Function
}

// composed are the parts of a composite objective at a point.
type composed struct {
	outputs, outer, rest *tensor.Node // rest is nil where there is none
	products             map[*tensor.Node]*tensor.Node
}

func (c *Composite) at(x, y Vars, b Batch) (*composed, *tensor.Node) {
	if c.Outputs == nil || c.Outer == nil {
		fail("a Composite wants Outputs and Outer")
	}
	z := c.Outputs(x, y, b)
	parts := &composed{outputs: z, outer: c.Outer(z, x, b), products: map[*tensor.Node]*tensor.Node{}}
	value := parts.outer
	if c.Rest != nil {
		parts.rest = c.Rest(x, y, b)
		value = value.Add(parts.rest)
	}
	return parts, value
}

// GaussNewton is the product [q] of v with the Gauss-Newton matrix of a Composite in y,
//
//	Jᵀ (∇²zz outer) J v + (∇²yy rest) v     where J = ∂z/∂y
//
// (Schraudolph, Neural Computation 14, 2002). It leaves out the second derivatives of the outputs, so that it is
// positive semidefinite where outer is convex in z and rest in y, whatever the model, and equals ∇²yy v where the
// outputs are linear in y. It costs as much as HVP and counts as one.
func (p *Point) GaussNewton(v *tensor.Node) *tensor.Node {
	if p.parts == nil {
		fail("the %s objective of %s is no Composite, which Gauss-Newton products need", p.side, p.o.b.Name)
	}
	c := p.parts
	if known := c.products[v]; known != nil {
		return known
	}
	p.o.Counts.HVP++
	z, y := []*tensor.Node{c.outputs}, []*tensor.Node{p.y}
	along := []*tensor.Node{v.StopGradient()}
	jv := tensor.JVP(z, y, along)
	slope := tensor.Grad(c.outer, c.outputs)
	product := tensor.VJP(z, y, tensor.JVP(slope, z, jv))[0]
	if c.rest != nil {
		product = product.Add(tensor.HVP(c.rest, y, along)[0])
	}
	c.products[v] = product
	return product
}

// DataGradY is the gradient in y of what depends on the rows of data: that of outer alone for a Composite, else of the
// whole objective. It counts as a gradient.
func (p *Point) DataGradY() *tensor.Node {
	if p.parts == nil {
		return p.GradY()
	}
	if p.side == Lower {
		p.o.Counts.LowerGradients++
	} else {
		p.o.Counts.UpperGradients++
	}
	return tensor.Grad(p.parts.outer, p.y)[0]
}
