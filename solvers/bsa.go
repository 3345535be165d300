package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// BSA solves the lower level by a loop of stochastic gradient steps that grows over the iterations, and the linear
// system by a Neumann series of random length (Ghadimi, Wang, arXiv 1802.02246, 2018, "Approximation methods for
// bilevel programming", algorithm 2 with algorithm 3):
//
//	t_k times:  y₊ = y - β_k ∇yG(x,y;ξ),   t_k = ⌈t (k+1)^r⌉
//	then:       v  = Qη (I - η∇²yyG(x,y;ξ_n)) ··· (I - η∇²yyG(x,y;ξ_1)) ∇yF(x,y;ζ),  n uniform from 0, …, Q-1
//	            x₊ = P_X(x - α_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ') v))
//
// with a new lower minibatch in each of these places. The paper has t_k = ⌈√(k+1)⌉, that is t = 1 and r = ½, and a
// constant α of the order of 1/√N for N iterations. Its β falls like 2/(μ(t+2)) with the inner step t; here β_k and α_k
// are β and α over (k+1)^e, one number for a whole loop, and the schedule's factor.
//
// Variant "benchmark" is what the public benchmark of bi-level methods does: x moves first, by v at the y of the
// iteration before, and then the loop runs at the new x.
//
// It needs a smooth lower level that is strongly convex in y, and η at most 1/L. The state is x, y, v, which is kept
// for inspection, and, where F depends on x itself, gx = ∇xF(x,y;ζ), which no iteration reads from the one before.
// Running statistics move with the inner steps. An iteration costs t_k gradients of G, one of F, up to Q-1 products
// with H, half of that on average, and one with C.
type BSA struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	NeumannStep   float64         `json:"neumann_step"`   // η; 0: β, or 1/L where β is chosen
	Terms         int             `json:"terms"`          // Q; 0: 10
	InnerSteps    int             `json:"inner_steps"`    // t; 0: 1
	InnerExponent float64         `json:"inner_exponent"` // r; 0: 1/2, -1: exactly 0
	Exponent      float64         `json:"exponent"`       // e; 0: the steps are constant
	Schedule      engine.Schedule `json:"schedule"`       // a further factor on α_k and β_k
	Variant       string          `json:"variant"`        // paper or benchmark; "": paper
}

func (BSA) Name() string { return "bsa" }

func (BSA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a BSA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	s := series{a.NeumannStep, a.Terms}
	err := cmp.Or(
		checkSteps("bsa", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"neumann_step", a.NeumannStep}),
		checkNonNegative("bsa", field{"exponent", a.Exponent}), checkGrowth("bsa", a.InnerExponent),
		checkCounts("bsa", count{"inner_steps", a.InnerSteps}), s.check("bsa"))
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Variant != "" && a.Variant != "paper" && a.Variant != "benchmark" {
		return engine.Spec{}, fmt.Errorf("bsa: variant is %q: wants paper or benchmark", a.Variant)
	}
	u := slopeOf(b)
	phases := s.iteration("bsa", r, growingSteps(a.InnerSteps, max(0, a.InnerExponent)), u)
	if a.Variant == "benchmark" {
		phases = append(phases[1:len(phases):len(phases)], phases[0])
	}
	return engine.Spec{
		State: append(start(b, "v"), u.state(b)...),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, a.Exponent, a.Schedule), r.falling("outer", a.OuterStep, a.Exponent, a.Schedule),
		},
		Phases: phases,
	}, nil
}

// Defaults takes half the step of x that algorithms without a series of random length take, for its noise.
func (a BSA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 1)
	a.InnerExponent, a.Variant = cmp.Or(a.InnerExponent, 0.5), cmp.Or(a.Variant, "paper")
	inner, outer := a.Step == 0, a.OuterStep == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	if outer {
		a.OuterStep /= 2
	}
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, inner))
	return a, err
}
