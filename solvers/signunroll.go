package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// SignUnrolling takes sign steps on y and moves x along the derivative of F through all of them, which needs no second
// derivative, because the sign has the derivative zero almost everywhere (Fan, Ram, Liu, 2021, "Sign-MAML: efficient
// model-agnostic meta-learning by signSGD", with a start of y that does not depend on x):
//
//	T times:  y₊ = y - β_k sign(∇yG(x,y;ξ))
//	then:     x₊ = P_X(x - α_k ∇xF(x,y;ζ))
//
// The derivative of y_T in x is that of y_0, which is zero here, so that x moves by the direct part alone and the
// problem is refused where F does not depend on x itself; a y that starts at x, as in meta-learning, is not here. Sign
// steps keep y at the distance of a step from the minimizer: β_k falls like 1/(k+1)^e, so that its sum does not end. No
// convergence to a stationary point of h is known. The state is x and y. Running statistics move with the inner steps.
// An iteration costs T gradients of G and one of F.
type SignUnrolling struct {
	Step       float64         `json:"step"`        // β; 0: 0.1
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values, see Defaults
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	Exponent   float64         `json:"exponent"`    // e; 0: 1/2, -1: exactly 0
	Schedule   engine.Schedule `json:"schedule"`    // a further factor on α_k and β_k
}

func (SignUnrolling) Name() string { return "sign-unrolling" }

func (SignUnrolling) Needs() Needs { return Alternation{}.Needs() }

func (a SignUnrolling) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("sign-unrolling", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("sign-unrolling", count{"inner_steps", a.InnerSteps}),
		memories{momentum: 1, exponent: a.Exponent}.check("sign-unrolling"))
	if err != nil {
		return engine.Spec{}, err
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		y := s.Get("y")
		g := it.Lower(s.Get("x"), y, it.Batch("lower"))
		s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY().Sign())))
		it.Commit(g)
	}
	return engine.Spec{
		State: start(b),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, max(0, a.Exponent), a.Schedule), r.rate("outer", a.OuterStep, a.Schedule),
		},
		Phases: []engine.Phase{
			{Name: "sign-unrolling inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{{Of: problem.Lower}},
				Build: inner},
			{Name: "sign-unrolling outer", Draws: []engine.Draw{{Of: problem.Upper}}, Build: directStep},
		},
	}, nil
}

// Defaults knows no scale of y's step: it is a length in units of y.
func (a SignUnrolling) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.Step, a.Exponent = cmp.Or(a.InnerSteps, 10), cmp.Or(a.Step, 0.1), cmp.Or(a.Exponent, 0.5)
	if a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.OuterStep, a.Schedule = s.Outer, cmp.Or(a.Schedule, "linear")
	}
	return a, nil
}
