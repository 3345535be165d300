package solvers

import (
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// TTSA takes one step on y and one on x in each iteration, on two time scales: the steps of x fall faster than those of
// y, so that y sees an x that stands ever more still (Hong, Wai, Wang, Yang, SIAM J. Optim. 2023, "A two-timescale
// stochastic algorithm framework for bilevel optimization", algorithm 1):
//
//	y₊ = y - β_k ∇yG(x,y;ξ)
//	v  = Qη (I - η∇²yyG(x,y₊;ξ_n)) ··· (I - η∇²yyG(x,y₊;ξ_1)) ∇yF(x,y₊;ζ),  n uniform from 0, …, Q-1
//	x₊ = P_X(x - α_k (∇xF(x,y₊;ζ) - ∇²xyG(x,y₊;ξ') v))
//	β_k = β/(1 + k/K)^b,  α_k = α/(1 + k/K)^a,  a > b
//
// with a new lower minibatch in each of these places. It needs a smooth lower level that is strongly convex in y, and η
// at most 1/L; v is then unbiased for the series of Q terms, whose bias is (1 - ημ)^Q. The state is x, y, v, which is
// kept for inspection, and, where F depends on x itself, gx = ∇xF(x,y₊;ζ), which no iteration reads from the one
// before. Running statistics move once an iteration, with the step of y. An iteration costs one gradient of each
// objective, up to Q-1 products with H, half of that on average, and one with C.
type TTSA struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	NeumannStep   float64         `json:"neumann_step"`   // η; 0: β, or 1/L where β is chosen
	Terms         int             `json:"terms"`          // Q; 0: 10
	Exponent      float64         `json:"exponent"`       // b; 0: 2/5
	OuterExponent float64         `json:"outer_exponent"` // a; 0: 3/5
	Delay         float64         `json:"delay"`          // K, iterations before the steps fall; 0: 100
	Schedule      engine.Schedule `json:"schedule"`       // a further factor on α_k and β_k
}

func (TTSA) Name() string { return "ttsa" }

func (TTSA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a TTSA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("ttsa", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep}, field{"exponent", a.Exponent}, field{"outer_exponent", a.OuterExponent},
		field{"delay", a.Delay})
	if err != nil {
		return engine.Spec{}, err
	}
	s := series{a.NeumannStep, a.Terms}
	if err := s.check("ttsa"); err != nil {
		return engine.Spec{}, err
	}
	falling := func(name string, step, exponent float64) engine.Rate {
		whole := r.rate(name, step, a.Schedule)
		return engine.Rate{Name: name, At: func(k int) float64 {
			return whole.At(k) * math.Pow(1+float64(k)/a.Delay, -exponent)
		}}
	}
	u := slopeOf(b)
	return engine.Spec{
		State: append(start(b, "v"), u.state(b)...),
		Rates: []engine.Rate{
			falling("inner", a.Step, a.Exponent), falling("outer", a.OuterStep, a.OuterExponent),
		},
		Phases: s.iteration("ttsa", r, always(1), u),
	}, nil
}
