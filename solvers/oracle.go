package solvers

import "bilevel/tensor"

// Counts are oracle calls, the currency in which papers compare algorithms. A gradient call gives both partial
// gradients. HVP and cross products at the same point, vector and batch share one pass over the data but count apart.
type Counts struct {
	LowerGradients int64 `json:"lower_gradients"`
	UpperGradients int64 `json:"upper_gradients"`
	HVP            int64 `json:"hvp"`     // H v
	JVP            int64 `json:"jvp"`     // C v
	Values         int64 `json:"values"`  // of either objective
	Samples        int64 `json:"samples"` // rows of data drawn, each minibatch once
}

// Plus adds n times o.
func (c Counts) Plus(o Counts, n int64) Counts {
	return Counts{
		c.LowerGradients + n*o.LowerGradients, c.UpperGradients + n*o.UpperGradients, c.HVP + n*o.HVP, c.JVP + n*o.JVP,
		c.Values + n*o.Values, c.Samples + n*o.Samples,
	}
}

// Oracle builds the quantities that algorithms are made of and counts them: what an algorithm asks for while its
// iteration is built is what one run of the iteration costs.
type Oracle struct {
	p      *Problem
	Counts Counts // of one repetition of the program being built
}

// NewOracle counts from zero.
func NewOracle(p *Problem) *Oracle { return &Oracle{p: p} }

// LowerGradient is ∇yG [q].
func (o *Oracle) LowerGradient(x, y *tensor.Node, b Batch) *tensor.Node {
	o.Counts.LowerGradients++
	return tensor.Grad(o.p.Lower.Value(x, y, b), y)[0]
}

// LowerGradientX is ∇xG [p].
func (o *Oracle) LowerGradientX(x, y *tensor.Node, b Batch) *tensor.Node {
	o.Counts.LowerGradients++
	return tensor.Grad(o.p.Lower.Value(x, y, b), x)[0]
}

// UpperGradient is ∇xF [p] and ∇yF [q].
func (o *Oracle) UpperGradient(x, y *tensor.Node, b Batch) (fx, fy *tensor.Node) {
	o.Counts.UpperGradients++
	g := tensor.Grad(o.p.Upper.Value(x, y, b), x, y)
	return g[0], g[1]
}

// slope is ⟨∇yG, v⟩ with v held constant, whose gradients are H v and C v: the reverse pass over it costs as much as
// one gradient.
func (o *Oracle) slope(x, y *tensor.Node, b Batch, v *tensor.Node) *tensor.Node {
	g := o.p.Lower.Value(x, y, b)
	return tensor.JVP([]*tensor.Node{g}, []*tensor.Node{y}, []*tensor.Node{v.StopGradient()})[0]
}

// HVP is H v [q].
func (o *Oracle) HVP(x, y *tensor.Node, b Batch, v *tensor.Node) *tensor.Node {
	o.Counts.HVP++
	return tensor.Grad(o.slope(x, y, b, v), y)[0]
}

// Cross is C v [p].
func (o *Oracle) Cross(x, y *tensor.Node, b Batch, v *tensor.Node) *tensor.Node {
	o.Counts.JVP++
	return tensor.Grad(o.slope(x, y, b, v), x)[0]
}

// Value is an objective's value.
func (o *Oracle) Value(of Objective, x, y *tensor.Node, b Batch) *tensor.Node {
	o.Counts.Values++
	return of(x, y, b)
}
