package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// MORBiT descends in y and x and ascends in the weights of several upper objectives, one step of each in an iteration:
// min over x of the worst of F_i(x, y_i*(x)), each with a lower level of its own (Gu, Lu, Ram, Weng, ICLR 2023,
// "Min-max multi-objective bilevel optimization with applications in robust machine learning"):
//
//	y₊ = y - β_k ∇yG(x,y;ξ)
//	v  = η Σ_{t=0..Q} (I - η∇²yyG(x,y₊;ξ'))^t ∇yF(x,y₊,α;ζ)
//	x₊ = P_X(x - γ_k (∇xF(x,y₊,α;ζ) - ∇²xyG(x,y₊;ξ') v))
//	α₊ = P_A(α + δ_k ∇αF(x₊,y₊,α;ζ'))
//
// for a problem whose upper objective is a Saddle. In the paper's case that is F = Σ_i α_i F_i(x,y_i) with α in the
// simplex, y the blocks y_1 … y_n and G = Σ_i G_i(x,y_i): then ∇αF are the values F_i, the Hessian is block-diagonal,
// and v has the blocks α_i v_i, so that the step of x is that along Σ_i α_i D_i. Every set A that is closed and convex
// will do, and F concave in α.
//
// The paper's steps are constants of a run of K iterations, β of the order of K^-2/5 and γ of K^-3/5, for which it
// shows the rate √n K^-2/5; it leaves open how v is estimated, which is done here by a series of fixed length. Its
// public code moves x along the direct part ∇xF alone, adds momentum and decay to α, and takes 0.1 as the step of α. G
// must be smooth and strongly convex in y. The state is x, y, v, which is kept for inspection, and alpha. An iteration
// costs one gradient of G, two of F, Q products with H and one with C.
type MORBiT struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // γ; 0: chosen at the start values
	DualStep    float64         `json:"dual_step"`    // δ; 0: 0.1
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10
	Schedule    engine.Schedule `json:"schedule"`     // of β, γ and δ
}

func (MORBiT) Name() string { return "morbit" }

func (MORBiT) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperSaddle, Wants: problem.UpperSaddle,
		Why: "it descends in x and ascends in the variable of a Saddle (Upper.Saddle), such as the weights of " +
			"several objectives, over a smooth, strongly convex lower level whose variable is free and lasts",
	}
}

func (a MORBiT) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("morbit", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"dual_step", a.DualStep}, field{"neumann_step", a.NeumannStep})
	if err == nil && a.Terms < 0 {
		err = fmt.Errorf("morbit: terms is %d: wants a number from 0 on", a.Terms)
	}
	if err != nil {
		return engine.Spec{}, err
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, zeta := s.Get("x"), s.Get("y"), it.Batch("upper")
		g, f := it.Lower(x, y, it.Batch("lower")), it.Saddle(x, y, s.Get("alpha"), zeta)
		v := neumann(g, f.GradY(), a.NeumannStep, a.Terms)
		moveX(it, s, f.GradX().Sub(g.Cross(v)), zeta)
		s.Set("v", v)
	}
	ascent := func(it *engine.Iteration, s *engine.State) {
		alpha, zeta := s.Get("alpha"), it.Batch("upper")
		f := it.Saddle(s.Get("x"), s.Get("y"), alpha, zeta)
		s.Set("alpha", b.ProjectAlpha(alpha.Add(it.Rate("dual").Mul(f.GradAlpha())), zeta))
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b, "v"), engine.Array{Name: "alpha", Values: b.Upper.Saddle.Start.Flat}),
		Rates: append(twoRates(r, a.Step, a.OuterStep, a.Schedule), r.rate("dual", a.DualStep, a.Schedule)),
		Phases: []engine.Phase{
			descent("morbit", nil),
			{Name: "morbit outer", Draws: []engine.Draw{lower, upper}, Build: outer},
			{Name: "morbit ascent", Draws: []engine.Draw{upper}, Build: ascent},
		},
	}, nil
}

func (a MORBiT) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.DualStep, a.Terms = cmp.Or(a.DualStep, 0.1), cmp.Or(a.Terms, 10)
	chosen := a.Step == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}
