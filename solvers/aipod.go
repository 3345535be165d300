package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// AiPOD is alternating implicit projected descent for a lower level with linear equations, A y + h(x) = c (Xiao, Shen,
// Yin, Chen, AISTATS 2023, "Alternating projected SGD for equality-constrained bilevel optimization", algorithm 1):
//
//	S times:  y₊ = P_{Y(x)}(y - β_k ∇yG(x,y;ξ)),   P_{Y(x)}(u) = u - A⁺(A u + h(x) - c)
//	then:     v  = Qη (I - ηP∇²yyG(x,y;ξ_n)) ··· (I - ηP∇²yyG(x,y;ξ_1)) P b,   P = I - A⁺A,  b = ∇yF(x,y;ζ)
//	          w  = b - ∇²yyG(x,y;ξ') v
//	          x₊ = P_X(x - α_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ') v - (∂h/∂x)ᵀ A⁺ᵀ w))
//
// with n uniform from 0, …, Q-1. v is an estimate of Z(ZᵀHZ)⁻¹Zᵀb for a basis Z of A's null space, w is Aᵀ times the
// multiplier of the equations, and the last term is what y must do because the equations move. The authors' program
// leaves ∇yF out of w, which is exact only where ∇yF lies in the null space; here it is in. Upper equations B x = e are
// a set of x (problem.Affine).
//
// A is read off Lower.Equality at the start, which must be linear in y, with the same independent rows for all x. G
// must be smooth, and strongly convex along the null space of A; β and η are at most 1/L there. Without equations it is
// ALSET. The state is x, y, v, which is kept for inspection, b and gx = ∇xF, which no iteration reads from the one
// before. Running statistics are not taken. An iteration costs S gradients of G, one of F, up to Q products with H, one
// with C, and S projections of y.
type AiPOD struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	InnerSteps  int             `json:"inner_steps"`  // S; 0: 5
	Schedule    engine.Schedule `json:"schedule"`     // of α and β
}

const equationsWhy = "it projects onto linear equations of one smooth lower level, Lower.Equality, whose variable " +
	"lasts, and its steps need an x that is free or in a set"

func (AiPOD) Name() string { return "aipod" }

func (AiPOD) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.LowerConstraints, Why: equationsWhy}
}

func (a AiPOD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	s := series{a.NeumannStep, a.Terms}
	err := cmp.Or(
		checkSteps("aipod", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"neumann_step", a.NeumannStep}),
		s.check("aipod"), checkCounts("aipod", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	eq, err := lowerEquations("aipod", b)
	if err != nil {
		return engine.Spec{}, err
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y := s.Get("x"), s.Get("y")
		u := y.Sub(it.Rate("inner").Mul(it.Lower(x, y, it.Batch("lower")).GradY()))
		s.Set("y", eq.onto(it, x, u))
	}
	outer := func(it *engine.Iteration, state *engine.State) {
		v := s.sum(state.Get("v"))
		slope := state.Get("gx").Add(eq.slope(it, state, state.Get("b"), v))
		moveX(it, state, slope, it.All(problem.Upper))
		state.Set("v", v)
	}
	lower := []engine.Draw{{Of: problem.Lower}}
	return engine.Spec{
		State: append(start(b, "v", "b"), ofX(b, "gx")),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule), Close: eq.close,
		Phases: append(
			[]engine.Phase{{Name: "aipod inner", Repeat: always(a.InnerSteps), Draws: lower, Build: inner}},
			append(eq.adjoint("aipod", r, s), engine.Phase{Name: "aipod outer", Draws: lower, Build: outer})...),
	}, nil
}

// adjoint is the phases that leave b = ∇yF(x,y;ζ), gx = ∇xF(x,y;ζ), and in v what the factors of the series make of
// P b.
func (e *equations) adjoint(name string, r Run, s series) []engine.Phase {
	begin := func(it *engine.Iteration, s *engine.State) {
		fx, fy := it.Upper(s.Get("x"), s.Get("y"), it.Batch("upper")).Grad()
		s.Set("v", e.within(fy))
		s.Set("b", fy)
		s.Set("gx", fx)
	}
	factor := func(it *engine.Iteration, state *engine.State) {
		u := state.Get("v")
		g := it.Lower(state.Get("x"), state.Get("y"), it.Batch("lower"))
		state.Set("v", u.Sub(e.within(g.HVP(u)).Scale(s.step)))
	}
	return []engine.Phase{
		{Name: name + " gradient", Draws: []engine.Draw{{Of: problem.Upper}}, Build: begin},
		{Name: name + " series", Repeat: func(k int) int { return r.draw(k, s.terms) },
			Draws: []engine.Draw{{Of: problem.Lower}}, Build: factor},
	}
}

// slope is -C v - (∂h/∂x)ᵀ A⁺ᵀ (b - H v), on the phase's lower minibatch.
func (e *equations) slope(it *engine.Iteration, s *engine.State, b, v *tensor.Node) *tensor.Node {
	x, y := s.Get("x"), s.Get("y")
	g := it.Lower(x, y, it.Batch("lower"))
	d := g.Cross(v).Neg()
	if e.rows == nil {
		return d
	}
	return d.Sub(e.pull(it, x, y, b.Sub(g.HVP(v))))
}

func (a AiPOD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 5)
	inner := a.Step == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, inner))
	return a, err
}
