package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// EAiPOD is AiPOD with few projections: of y after a step with the probability p alone, with a correction r that makes
// up for those left out, and of x after T steps (Xiao, Shen, Yin, Chen, AISTATS 2023, "Alternating projected SGD for
// equality-constrained bilevel optimization", E-AiPOD):
//
//	S times:  z = y - β_k (∇yG(x,y;ξ) - r)
//	          with probability p:  y₊ = P_{Y(x)}(z - (β_k/p) r),  r₊ = r + (p/β_k) (y₊ - z);  else:  y₊ = z
//	then:     v  as in AiPOD
//	T times:  x₊ = x - α_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v - (∂h/∂x)ᵀ A⁺ᵀ (∇yF(x,y;ζ) - ∇²yyG(x,y;ξ) v))
//	then:     x₊ = P_X(x)
//
// with v and y held in the T steps of x. The update of r is that of the authors' program for their example; it is
// ProxSkip's (Mishchenko, Malinovsky, Stich, Richtárik, ICML 2022), and r comes to ∇yG(x,y*(x)), which lies in the
// range of Aᵀ, so that a step without a projection stays near the equations. Between projections y does not keep them,
// and neither need the y of a result. With p = 1 and T = 1 it is AiPOD, but for one more pair of minibatches.
//
// It asks of a problem what AiPOD does. The state is x, y, v, b and gx as there, r, and projected, which is 1 where the
// last step of y was projected. Running statistics are not taken. An iteration costs S gradients of G, T+1 of F, up to
// Q-1+T products with H, T with C, on average pS projections of y, and one of x.
type EAiPOD struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	InnerSteps  int             `json:"inner_steps"`  // S; 0: 5
	UpperSteps  int             `json:"upper_steps"`  // T; 0: 2
	Probability float64         `json:"probability"`  // p; 0: 1/2
	Schedule    engine.Schedule `json:"schedule"`     // of α and β
}

func (EAiPOD) Name() string { return "e-aipod" }

func (EAiPOD) Needs() Needs { return AiPOD{}.Needs() }

func (a EAiPOD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	s := series{a.NeumannStep, a.Terms}
	err := cmp.Or(
		checkSteps("e-aipod", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
			field{"neumann_step", a.NeumannStep}),
		s.check("e-aipod"),
		checkCounts("e-aipod", count{"inner_steps", a.InnerSteps}, count{"upper_steps", a.UpperSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	if p := a.Probability; !(p > 0 && p <= 1) {
		return engine.Spec{}, fmt.Errorf("e-aipod: probability is %g: wants a number above 0 and at most 1", p)
	}
	eq, err := lowerEquations("e-aipod", b)
	if err != nil {
		return engine.Spec{}, err
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y, r, beta := s.Get("x"), s.Get("y"), s.Get("r"), it.Rate("inner")
		z := y.Sub(beta.Mul(it.Lower(x, y, it.Batch("lower")).GradY().Sub(r)))
		projected := it.Random().Uniform(1).Lt(tensor.Const(a.Probability)).Reshape()
		there := eq.onto(it, x, z.Sub(beta.Scale(1/a.Probability).Mul(r)))
		s.Set("y", tensor.Where(projected, there, z))
		change := tensor.Const(a.Probability).Div(beta).Mul(there.Sub(z))
		s.Set("r", r.Add(tensor.Where(projected, change, tensor.Zeros(y.Size()))))
		s.Set("projected", projected)
	}
	outer := func(it *engine.Iteration, state *engine.State) {
		x, v := state.Get("x"), state.Get("v")
		fx, fy := it.Upper(x, state.Get("y"), it.Batch("upper")).Grad()
		state.Set("x", x.Sub(it.Rate("outer").Mul(fx.Add(eq.slope(it, state, fy, v)))))
	}
	finish := func(it *engine.Iteration, state *engine.State) {
		state.Set("x", it.Project(problem.Upper, state.Get("x"), it.All(problem.Upper)))
	}
	scale := func(_ *engine.Iteration, state *engine.State) { state.Set("v", s.sum(state.Get("v"))) }
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	phases := []engine.Phase{
		{Name: "e-aipod inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{lower}, Build: inner},
	}
	phases = append(append(phases, eq.adjoint("e-aipod", r, s)...),
		engine.Phase{Name: "e-aipod sum", Build: scale},
		engine.Phase{Name: "e-aipod outer", Repeat: always(a.UpperSteps), Draws: []engine.Draw{lower, upper},
			Build: outer},
		engine.Phase{Name: "e-aipod project", Build: finish})
	return engine.Spec{
		State: append(start(b, "v", "b", "r"), ofX(b, "gx"), engine.Array{Name: "projected", Zeros: 1}),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule), Close: eq.close, Phases: phases,
	}, nil
}

func (a EAiPOD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 5)
	a.UpperSteps, a.Probability = cmp.Or(a.UpperSteps, 2), cmp.Or(a.Probability, 0.5)
	inner := a.Step == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, inner))
	return a, err
}
