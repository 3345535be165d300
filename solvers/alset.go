package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// ALSET alternates a few stochastic gradient steps on y with one on x, both on one time scale (Chen, Sun, Yin, NeurIPS
// 2021, "Closing the gap: tighter analysis of alternating stochastic gradient methods for bilevel problems", algorithm
// 1, which the paper's special cases for min-max and compositional problems follow too):
//
//	T times:  y₊ = y - β_k ∇yG(x,y;ξ)
//	then:     v  = Qη (I - η∇²yyG(x,y;ξ_n)) ··· (I - η∇²yyG(x,y;ξ_1)) ∇yF(x,y;ζ),  n uniform from 0, …, Q-1
//	          x₊ = P_X(x - α_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ') v))
//
// with a new lower minibatch in each of these places. The paper keeps α_k and β_k at constants over √K for a run of K
// iterations. It needs a smooth lower level that is strongly convex in y, and η at most 1/L; v is then unbiased for the
// series of Q terms, whose bias is (1 - ημ)^Q. The state is x, y, v, which is kept for inspection, and, where F depends
// on x itself, gx = ∇xF(x,y;ζ), which no iteration reads from the one before. Running statistics move with the inner
// steps. An iteration costs T gradients of G, one of F, up to Q-1 products with H, half of that on average, and one
// with C.
type ALSET struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	InnerSteps  int             `json:"inner_steps"`  // T; 0: 1
	Schedule    engine.Schedule `json:"schedule"`     // of α and β
}

func (ALSET) Name() string { return "alset" }

func (ALSET) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a ALSET) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("alset", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep})
	if err != nil {
		return engine.Spec{}, err
	}
	s := series{a.NeumannStep, a.Terms}
	if err := cmp.Or(s.check("alset"), checkCounts("alset", count{"inner_steps", a.InnerSteps})); err != nil {
		return engine.Spec{}, err
	}
	u := slopeOf(b)
	return engine.Spec{
		State:  append(start(b, "v"), u.state(b)...),
		Rates:  twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: s.iteration("alset", r, always(a.InnerSteps), u),
	}, nil
}
