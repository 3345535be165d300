package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// AmIGO solves the lower level and the linear system by a few stochastic gradient steps each, both from where the last
// iteration left them (Arbel, Mairal, ICLR 2022, "Amortized implicit differentiation for stochastic bilevel
// optimization", algorithm 1 with algorithms 2 and 3):
//
//	T times:  y₊ = y - α_k ∇yG(x,y;ξ)
//	N times:  v₊ = v - β_k (∇²yyG(x,y;ξ) v - b),  b = ∇yF(x,y;ζ)
//	then:     x₊ = P_X(x - γ_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v))
//
// with a new lower minibatch in each step, and one upper minibatch ζ for b and ∇xF. v descends on ½vᵀHv - bᵀv and
// starts at 0; the variant of the authors' code, on ½|Hv - b|², is not here. It needs a smooth lower level that is
// strongly convex in y, and α and β at most 1/L. The state is x, y and v, and b and, where F depends on x itself, gx =
// ∇xF(x,y;ζ), which no iteration reads from the one before. Running statistics move with the inner steps. An iteration
// costs T gradients of G, one of F, N products with H and one with C.
type AmIGO struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	VStep      float64         `json:"v_step"`      // β; 0: α
	OuterStep  float64         `json:"outer_step"`  // γ; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	VSteps     int             `json:"v_steps"`     // N; 0: T
	Schedule   engine.Schedule `json:"schedule"`    // of the three steps
}

func (AmIGO) Name() string { return "amigo" }

func (AmIGO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its linear system needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a AmIGO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("amigo", a.Schedule, field{"step", a.Step}, field{"v_step", a.VStep},
			field{"outer_step", a.OuterStep}),
		checkCounts("amigo", count{"inner_steps", a.InnerSteps}, count{"v_steps", a.VSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	u := slopeOf(b)
	inner := func(it *engine.Iteration, s *engine.State) {
		y := s.Get("y")
		g := it.Lower(s.Get("x"), y, it.Batch("lower"))
		s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY())))
		it.Commit(g)
	}
	gradient := func(it *engine.Iteration, s *engine.State) {
		f := it.Upper(s.Get("x"), s.Get("y"), it.Batch("upper"))
		s.Set("b", f.GradY())
		u.keep(s, f)
	}
	adjoint := func(it *engine.Iteration, s *engine.State) {
		v := s.Get("v")
		g := it.Lower(s.Get("x"), s.Get("y"), it.Batch("lower"))
		s.Set("v", v.Sub(it.Rate("adjoint").Mul(g.HVP(v).Sub(s.Get("b")))))
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		cv := it.Lower(s.Get("x"), s.Get("y"), it.Batch("lower")).Cross(s.Get("v"))
		s.Set("x", it.Project(problem.Upper, u.step(s, it.Rate("outer"), cv), it.All(problem.Upper)))
	}
	lower, upper := []engine.Draw{{Of: problem.Lower}}, []engine.Draw{{Of: problem.Upper}}
	return engine.Spec{
		State: append(start(b, "v", "b"), u.state(b)...),
		Rates: []engine.Rate{
			r.rate("inner", a.Step, a.Schedule), r.rate("adjoint", a.VStep, a.Schedule),
			r.rate("outer", a.OuterStep, a.Schedule),
		},
		Phases: []engine.Phase{
			{Name: "amigo inner", Repeat: func(int) int { return a.InnerSteps }, Draws: lower, Build: inner},
			{Name: "amigo gradient", Draws: upper, Build: gradient},
			{Name: "amigo adjoint", Repeat: func(int) int { return a.VSteps }, Draws: lower, Build: adjoint},
			{Name: "amigo outer", Draws: lower, Build: outer},
		},
	}, nil
}
