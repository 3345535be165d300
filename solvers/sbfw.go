package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// SBFW keeps x in a compact set without projections: it moves towards the point of the set that is least along an
// estimate of the hypergradient with the momentum of STORM (Akhtar, Bedi, Thomdapu, Rajawat, IEEE TSP 2022,
// "Projection-free stochastic bi-level optimization", arXiv 2110.11721, algorithm 1):
//
//	y₊ = y - δ_k ∇yG(x⁻,y;ξ)
//	D(z) = ∇xF(z;ζ) - ∇²xyG(z;ξ') v,   v = Qη (I - η∇²yyG(z;ξ_n)) ··· (I - η∇²yyG(z;ξ_1)) ∇yF(z;ζ),
//	                                   n uniform from 0, …, Q-1
//	d₊ = D(x,y₊) + (1 - ρ_k)(d - D(x⁻,y)),   s = argmin over s in X of ⟨s, d₊⟩,   x₊ = (1 - η_k) x + η_k s
//
// where x⁻ is the x of the iteration before, which the step of y takes as the paper's listing could be read. δ_k and
// ρ_k are their settings over (k+1)^b, with b = ⅔, and η_k is its setting over (k+1)^a, with a = 1 for convex h; the
// paper has constants in the length of the run where h is not convex. Both points of a difference have the same n and
// the same minibatches. The first d is D itself.
//
// It needs a smooth lower level that is strongly convex in y, and a set of x with a linear minimization oracle: a box,
// a simplex or a ball. Running statistics are not taken. The state is that of MSTSA. An
// iteration costs one gradient of G, two of F, up to 2(Q-1) products with H, half of that on average, and two with C.
type SBFW struct {
	Step          float64         `json:"step"`           // δ; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // η, at most 1; 0: 1
	NeumannStep   float64         `json:"neumann_step"`   // of the series; 0: δ, or 1/L where δ is chosen
	Terms         int             `json:"terms"`          // Q; 0: 10
	Momentum      float64         `json:"momentum"`       // ρ; 0: 1
	Exponent      float64         `json:"exponent"`       // b; 0: 2/3, -1: exactly 0
	OuterExponent float64         `json:"outer_exponent"` // a; 0: 1
	Schedule      engine.Schedule `json:"schedule"`       // a further factor on δ_k and η_k
}

func (SBFW) Name() string { return "sbfw" }

func (SBFW) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet, Wants: problem.UpperSet,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x in a set with a linear minimization oracle",
	}
}

func (a SBFW) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	s, memory := series{a.NeumannStep, a.Terms}, memories{momentum: a.Momentum, exponent: a.Exponent}
	err := cmp.Or(
		checkSteps("sbfw", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"neumann_step", a.NeumannStep}, field{"outer_exponent", a.OuterExponent}),
		s.check("sbfw"), memory.check("sbfw"))
	if err != nil {
		return engine.Spec{}, err
	}
	set, ok := b.Set(problem.Upper).(problem.LinearMinimizer)
	switch {
	case !ok:
		return engine.Spec{}, fmt.Errorf("sbfw: the problem %s keeps x in the %s, which has no linear minimization "+
			"oracle: wants a bounded set, such as a box, a simplex or a ball", b.Name, b.Upper.Set)
	case a.OuterStep > 1:
		return engine.Spec{}, fmt.Errorf("sbfw: outer_step is %g: wants at most 1, where x goes all the way",
			a.OuterStep)
	}
	outer := func(it *engine.Iteration, state *engine.State) {
		d, v := storm{series: s, usesX: true}.direction(it, state)
		x := state.Get("x")
		to := set.Least(d, it.All(problem.Upper))
		state.Set("x", x.Add(it.Rate("outer").Mul(to.Sub(x))))
		state.Set("x before", x)
		state.Set("v", v)
		state.Set("d", d)
	}
	lower, upper := []engine.Draw{{Of: problem.Lower}}, []engine.Draw{{Of: problem.Upper}}
	e := max(0, a.Exponent)
	return engine.Spec{
		State: append(append(start(b, "v", "u", "u before"), ofX(b, "d")), memory.before(b)...),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, a.OuterExponent, a.Schedule),
			memory.keep(r, e),
		},
		Phases: []engine.Phase{
			{Name: "sbfw inner", Draws: lower, Build: laggingStep("x before")},
			{Name: "sbfw gradients", Draws: upper, Build: storm{series: s, usesX: true}.upperGradients},
			s.phase("sbfw series", r, factors{"x", "y", "u"}, factors{"x before", "y before", "u before"}),
			{Name: "sbfw outer", Draws: lower, Build: outer},
		},
	}, nil
}

// Defaults leaves the schedule alone: the steps fall by powers.
func (a SBFW) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.OuterStep, a.Momentum = cmp.Or(a.OuterStep, 1), cmp.Or(a.Momentum, 1)
	a.Terms, a.Exponent, a.OuterExponent = cmp.Or(a.Terms, 10), cmp.Or(a.Exponent, 2.0/3), cmp.Or(a.OuterExponent, 1)
	chosen := a.Step == 0
	if chosen {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step = s.Inner
	}
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, nil
}
