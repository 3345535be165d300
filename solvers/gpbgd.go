package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// GPBGD descends on F with the lower level's squared gradient as a penalty, F(x,y) + ½γ|∇yG(x,y)|², in x and y together
// (Shen, Chen, ICML 2023, "On penalty-based bilevel gradient descent method", G-PBGD):
//
//	x₊ = P_X(x - s_k ξ_x (∇xF(x,y;ζ) + γ_k ∇²xyG(x,y;ξ₂) g)),   g = ∇yG(x,y;ξ₁)
//	y₊ = y - s_k ξ_y (∇yF(x,y;ζ) + γ_k ∇²yyG(x,y;ξ₂) g)
//
// γ_k grows evenly from Begin to Penalty in the first Ramp iterations and stays there; s_k = min(1, 1/(γ_k + 1e-8)) as
// in VPBGD. The two lower minibatches are drawn apart, because the product of one with itself would be biased; the
// paper is deterministic. The penalty needs a lower level of which small gradients say that y is near a minimizer
// (the condition of Polyak and Łojasiewicz), without constraints, and a third derivative for the analysis. The point
// that it comes to is off by O(1/γ). The penalty is as curved as γL², so that ξ_y at most 1/L² suits.
//
// The state is x and y. Running statistics move once an iteration, with the pass of ξ₁. An iteration costs one gradient
// of each objective, one product with H and one with C.
type GPBGD struct {
	Step      float64         `json:"step"`       // ξ_y; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // ξ_x; 0: chosen at the start values, times γ
	Penalty   float64         `json:"penalty"`    // γ at the end of the ramp; 0: 10
	Begin     float64         `json:"begin"`      // γ_0, where there is a ramp
	Ramp      int             `json:"ramp"`       // iterations in which γ grows; 0: it does not
	Schedule  engine.Schedule `json:"schedule"`   // of both steps
}

func (GPBGD) Name() string { return "g-pbgd" }

func (GPBGD) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its penalty is the gradient of one smooth lower level without constraints, whose variable lasts and " +
			"whose objective satisfies the condition of Polyak and Łojasiewicz, and its steps need an x that is free " +
			"or in a set",
	}
}

func (a GPBGD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("g-pbgd", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"penalty", a.Penalty}),
		checkNonNegative("g-pbgd", field{"begin", a.Begin}, field{"ramp", float64(a.Ramp)}))
	if err != nil {
		return engine.Spec{}, err
	}
	ramp := VPBGD{Penalty: a.Penalty, Begin: a.Begin, Ramp: a.Ramp}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, gamma, zeta := s.Get("x"), s.Get("y"), it.Rate("penalty"), it.Batch("upper")
		first, second, f := it.Lower(x, y, it.Batch("lower")), it.Lower(x, y, it.Batch("lower again")),
			it.Upper(x, y, zeta)
		g := first.GradY()
		moveX(it, s, f.GradX().Add(gamma.Mul(second.Cross(g))), zeta)
		s.Set("y", y.Sub(it.Rate("inner").Mul(f.GradY().Add(gamma.Mul(second.HVP(g))))))
		it.Commit(first)
	}
	return engine.Spec{
		State: start(b),
		Rates: []engine.Rate{
			ramp.scaled(r, "inner", a.Step, a.Schedule), ramp.scaled(r, "outer", a.OuterStep, a.Schedule),
			{Name: "penalty", At: ramp.penalty},
		},
		Phases: []engine.Phase{{
			Name: "g-pbgd",
			Draws: []engine.Draw{
				{Of: problem.Lower}, {Name: "lower again", Of: problem.Lower}, {Of: problem.Upper},
			},
			Build: build,
		}},
	}, nil
}

// Defaults takes the steps of VPBGD, shortened to the curvature of this penalty.
func (a GPBGD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Penalty = cmp.Or(a.Penalty, 10)
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step = cmp.Or(a.Step, 2*s.Inner*s.Inner) // 1/(2L²)
		a.OuterStep = cmp.Or(a.OuterStep, min(s.Outer*max(1, a.Penalty), 2*s.Inner*s.Gap))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	return a, nil
}
