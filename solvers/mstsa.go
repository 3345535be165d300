package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// MSTSA takes plain stochastic steps of y and steps of x along an estimate of the hypergradient with the momentum of
// STORM (Khanduri, Zeng, Hong, Wai, Wang, Yang, 2021, "A momentum-assisted single-timescale stochastic approximation
// algorithm for bilevel optimization", arXiv 2102.07367v1, algorithm 1):
//
//	y₊ = y - β_k ∇yG(x,y;ξ)
//	D(z) = ∇xF(z;ζ) - ∇²xyG(z;ξ') v,   v = Qη (I - η∇²yyG(z;ξ_n)) ··· (I - η∇²yyG(z;ξ_1)) ∇yF(z;ζ),
//	                                   n uniform from 0, …, Q-1
//	d₊ = D(x,y₊) + (1 - c_k)(d - D(x⁻,y)),   x₊ = P_X(x - α_k d₊)
//
// where x⁻ is the x of the iteration before, and the y before its step that which d belongs to. Both points of a
// difference have the same n and the same minibatches, each of the lower level drawn anew for every factor and for C.
// α_k, β_k and c_k are their settings over (k+1)^e, with e = ½ in the paper. The first d is D itself (Memory "true"),
// or d and the first x⁻ and y⁻ are zero vectors ("zero").
//
// It needs a smooth lower level that is strongly convex in y, and β_k and η at most 1/L. Running statistics move once
// an iteration, with the step of y. The state is x, y, v, which is kept for inspection, d, the point before and the
// products of factors u at both points. An iteration costs one gradient of G, two of F, up to 2(Q-1) products with H,
// half of that on average, and two with C.
type MSTSA struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	Momentum    float64         `json:"momentum"`     // c; 0: 0.5
	Exponent    float64         `json:"exponent"`     // e; 0: 1/2, -1: exactly 0
	Schedule    engine.Schedule `json:"schedule"`     // a further factor on α_k and β_k
	Memory      string          `json:"memory"`       // true or zero; "": true
}

func (MSTSA) Name() string { return "mstsa" }

func (MSTSA) Needs() Needs { return SUSTAIN{}.Needs() }

func (a MSTSA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	s, memory := series{a.NeumannStep, a.Terms}, memories{a.Momentum, a.Exponent, a.Memory}
	err := cmp.Or(checkSteps("mstsa", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep}), s.check("mstsa"), memory.check("mstsa"))
	if err != nil {
		return engine.Spec{}, err
	}
	m := storm{series: s, usesX: upperUsesX(b)}
	outer := func(it *engine.Iteration, s *engine.State) {
		d, v := m.direction(it, s)
		moveX(it, s, d, it.All(problem.Upper))
		s.Set("x before", s.Get("x"))
		s.Set("v", v)
		s.Set("d", d)
	}
	lower, upper := []engine.Draw{{Of: problem.Lower}}, []engine.Draw{{Of: problem.Upper}}
	e := max(0, a.Exponent)
	return engine.Spec{
		State: append(append(start(b, "v", "u", "u before"), ofX(b, "d")), memory.before(b)...),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, e, a.Schedule),
			memory.keep(r, e),
		},
		Phases: []engine.Phase{
			{Name: "mstsa inner", Draws: lower, Build: laggingStep("x")},
			{Name: "mstsa gradients", Draws: upper, Build: m.upperGradients},
			s.phase("mstsa series", r, factors{"x", "y", "u"}, factors{"x before", "y before", "u before"}),
			{Name: "mstsa outer", Draws: lower, Build: outer},
		},
	}, nil
}

// Defaults leaves the schedule alone: the steps fall by a power.
func (a MSTSA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Memory = cmp.Or(a.Memory, "true")
	a.Terms, a.Momentum, a.Exponent = cmp.Or(a.Terms, 10), cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 0.5)
	chosen := a.Step == 0
	err := steps(scale, &a.Step, &a.OuterStep)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}

// laggingStep builds a step of y at an x by its name, and keeps the y from before it.
func laggingStep(at string) func(it *engine.Iteration, s *engine.State) {
	return func(it *engine.Iteration, s *engine.State) {
		y := s.Get("y")
		g := it.Lower(s.Get(at), y, it.Batch("lower"))
		s.Set("y before", y)
		s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY())))
		it.Commit(g)
	}
}
