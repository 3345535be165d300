package hypergrad

import (
	"errors"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// optimality measures how far x is from a stationary point by a hypergradient g: |g|, or |x - P(x - g)| where x is in
// a set (methods of projected steps end where this vanishes; Ghadimi, Lan, Zhang, Mathematical Programming 2016, eq.
// 34, with a step of 1).
type optimality struct {
	g       *tensor.Variable
	size    *tensor.Variable
	program *tensor.Function // nil: |g|
}

func prepareOptimality(b *problem.Bound, sc *tensor.Scope, x *tensor.Variable) (o optimality) {
	set := b.Set(problem.Upper)
	if set == nil {
		return o
	}
	o.g, o.size = sc.Variable("optimality g", tensor.Real, x.Size()), sc.Number("optimality")
	o.program = sc.Compile("optimality", func() []tensor.Update {
		to := set.Project(x.Node().Sub(o.g.Node()), b.All(problem.Upper))
		return []tensor.Update{{Var: o.size, Value: linear.Norm(to.Sub(x.Node()))}}
	})
	return o
}

// fill writes the measure for the gradient that h has.
func (o optimality) fill(h *Hypergradient) (err error) {
	h.Optimality, h.OptimalityMeasure = h.Norm(), "|∇h|"
	if o.program == nil {
		return nil
	}
	h.OptimalityMeasure = "|x - P(x - ∇h)|"
	if err := errors.Join(o.g.Write(h.Gradient), o.program.Run(1)); err != nil {
		return err
	}
	h.Optimality, err = o.size.Number()
	return err
}
