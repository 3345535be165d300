package solvers

import (
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SUSTAIN estimates the lower gradient and the hypergradient with the momentum of STORM (Khanduri, Zeng, Hong, Wai,
// Wang, Yang, NeurIPS 2021, "A near-optimal algorithm for stochastic bilevel optimization via double-momentum",
// algorithm 1). With the points z = (x, y) of this iteration and z⁻ of the one before,
//
//	D(z) = ∇xF(z;ζ) - ∇²xyG(z;ξ') v,   v = Qη (I - η∇²yyG(z;ξ_n)) ··· (I - η∇²yyG(z;ξ_1)) ∇yF(z;ζ),
//	                                   n uniform from 0, …, Q-1
//	h₊ = ∇yG(z;ξ) + (1 - η_k)(h - ∇yG(z⁻;ξ))
//	d₊ = D(z) + (1 - η_k)(d - D(z⁻))
//	y₊ = y - β_k h₊,  x₊ = P_X(x - α_k d₊)
//
// with the same n and the same minibatches at both points, each of the lower level drawn anew for h, for every factor
// and for C. α_k and β_k are α and β over (k+1)^e, η_k is c over (k+1)^2e, with e = ⅓ in the paper; the Neumann step η
// is constant.
//
// Memory "true": the first estimates are those of z itself (η_0 = 1), so that on full batches h is ∇yG always. "zero"
// is what the public benchmark of bi-level methods does: h, d and the first z⁻ are zero vectors, and the first
// directions are no gradients.
//
// It needs a smooth lower level that is strongly convex in y, and β_k and η at most 1/L. Running statistics move once
// an iteration, with the pass of ξ at z. The state is x, y, v, h, d, z⁻ and the products of factors u at both points; v
// is kept for inspection. An iteration costs two gradients of each objective, up to 2(Q-1) products with H, half of
// that on average, and two with C.
type SUSTAIN struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	Momentum    float64         `json:"momentum"`     // c; 0: 0.5
	Exponent    float64         `json:"exponent"`     // e; 0: 1/3, -1: exactly 0
	Schedule    engine.Schedule `json:"schedule"`     // a further factor on α_k and β_k
	Memory      string          `json:"memory"`       // true or zero; "": true
}

func (SUSTAIN) Name() string { return "sustain" }

func (SUSTAIN) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a SUSTAIN) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("sustain", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep}, field{"momentum", a.Momentum})
	if err != nil {
		return engine.Spec{}, err
	}
	s := series{a.NeumannStep, a.Terms}
	if err := s.check("sustain"); err != nil {
		return engine.Spec{}, err
	}
	memory := memories{a.Momentum, a.Exponent, a.Memory}
	if err := memory.check("sustain"); err != nil {
		return engine.Spec{}, err
	}
	state := append(start(b, "v", "h", "u", "u before"), ofX(b, "d"))
	state = append(state, memory.before(b)...)
	e := max(0, a.Exponent)
	m := storm{series: s, usesX: upperUsesX(b)}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: state,
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, e, a.Schedule),
			memory.keep(r, 2*e),
		},
		Phases: []engine.Phase{
			{Name: "sustain gradients", Draws: []engine.Draw{lower, upper}, Build: m.gradients},
			s.phase("sustain series", r, factors{"x", "y", "u"}, factors{"x before", "y before", "u before"}),
			{Name: "sustain step", Draws: []engine.Draw{lower}, Build: m.step},
		},
	}, nil
}

// storm builds SUSTAIN's phases.
type storm struct {
	series series
	usesX  bool // F depends on x itself
}

// gradients are those of both objectives at both points: h, what ∇xF adds to d, and where the series begin.
func (m storm) gradients(it *engine.Iteration, s *engine.State) {
	x, y, xBefore, yBefore := s.Get("x"), s.Get("y"), s.Get("x before"), s.Get("y before")
	xi := it.Batch("lower")
	g := it.Lower(x, y, xi)
	s.Set("h", storming(s.Get("h"), it.Rate("keep"), g.GradY(), it.Lower(xBefore, yBefore, xi).GradY()))
	m.upperGradients(it, s)
	it.Commit(g)
}

// upperGradients are those of the upper objective at both points.
func (m storm) upperGradients(it *engine.Iteration, s *engine.State) {
	zeta := it.Batch("upper")
	f, before := it.Upper(s.Get("x"), s.Get("y"), zeta), it.Upper(s.Get("x before"), s.Get("y before"), zeta)
	s.Set("u", f.GradY())
	s.Set("u before", before.GradY())
	if m.usesX {
		s.Set("d", storming(s.Get("d"), it.Rate("keep"), f.GradX(), before.GradX()))
	}
}

// storming is fresh + keep·(memory - before).
func storming(memory, keep, fresh, before *tensor.Node) *tensor.Node {
	return fresh.Add(keep.Mul(memory.Sub(before)))
}

// step moves both variables.
func (m storm) step(it *engine.Iteration, s *engine.State) {
	x, y := s.Get("x"), s.Get("y")
	d, v := m.direction(it, s)
	remember(s, x, y)
	moveX(it, s, d, it.All(problem.Upper))
	s.Set("y", y.Sub(it.Rate("inner").Mul(s.Get("h"))))
	s.Set("v", v)
	s.Set("d", d)
}

// direction adds the products with C to d, and gives v too.
func (m storm) direction(it *engine.Iteration, s *engine.State) (d, v *tensor.Node) {
	xi, keep := it.Batch("lower"), it.Rate("keep")
	v, vBefore := m.series.sum(s.Get("u")), m.series.sum(s.Get("u before"))
	d = s.Get("d")
	if !m.usesX {
		d = keep.Mul(d)
	}
	crossBefore := it.Lower(s.Get("x before"), s.Get("y before"), xi).Cross(vBefore)
	return d.Sub(it.Lower(s.Get("x"), s.Get("y"), xi).Cross(v)).Add(keep.Mul(crossBefore)), v
}
