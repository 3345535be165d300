package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// F2SA uses gradients only (Kwon, Kwon, Wright, Nowak, ICML 2023, "A fully first-order method for stochastic bilevel
// optimization", algorithm 1). It descends on the penalty function F(x,y) + λ (G(x,y) - G(x,z)), whose y follows its
// minimizer and whose z follows the lower level's; the error against ∇h is O(1/λ):
//
//	T times:  z₊ = z - γ_k ∇yG(x,z;ξ)
//	          y₊ = y - α_k (∇yF(x,y;ζ) + λ_k ∇yG(x,y;ξ))
//	then:     x₊ = P_X(x - η_k (∇xF(x,y;ζ) + λ_k (∇xG(x,y;ξ) - ∇xG(x,z;ξ))))
//	          λ_{k+1} = λ_k + δ_k
//
// Every inner step and the step of x draw new minibatches; y and z share theirs, and so do the two terms ∇xG, which
// takes away most of the noise that λ amplifies.
//
// α_k, γ_k, η_k and δ_k are their settings times 1/(k+1) to an exponent each; the three steps also follow Schedule. The
// exponents are 0 where none are given. α_k λ_k must stay below about 1/L for the lower level's smoothness L: constant
// steps with a growth that does not end diverge once λ_k is large. The paper takes α_k ~ k^-a and γ_k ~ k^-c with
// (a, c) = (5/7, 4/7) where both objectives are noisy, (3/5, 2/5) where only the upper one is, (1/3, 0) where none is,
// η_k = ξ α_k, and λ_k = γ_k/(2α_k), so that δ_k ~ k^(a-c-1): y_exponent 5/7, z_exponent 4/7, outer_exponent 5/7 and
// growth_exponent 6/7, for example. The state is x, y and z.
//
// The lower level may keep y and z in a set, onto which their steps are projected; then the analysis does not apply.
// Running statistics move with the passes at (x, z): T+1 times an iteration. An iteration costs 2T+2 gradients of G and
// T+1 of F, no second derivatives.
type F2SA struct {
	YStep      float64         `json:"y_step"`      // α; 0: the step of z over the multiplier
	ZStep      float64         `json:"z_step"`      // γ; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // η (the paper's ξα); 0: chosen at the start values
	Multiplier float64         `json:"multiplier"`  // λ_0; 0: 10
	Growth     float64         `json:"growth"`      // δ_0
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	Schedule   engine.Schedule `json:"schedule"`    // of the three steps

	YExponent      float64 `json:"y_exponent"` // of α
	ZExponent      float64 `json:"z_exponent"` // of γ
	OuterExponent  float64 `json:"outer_exponent"`
	GrowthExponent float64 `json:"growth_exponent"`
}

func (F2SA) Name() string { return "f2sa" }

func (F2SA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.LowerSet | problem.ModelState,
		Why:    "it takes gradient steps on two smooth objectives, of variables that last and are free or in a set",
	}
}

func (a F2SA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("f2sa", a.Schedule, field{"y_step", a.YStep}, field{"z_step", a.ZStep},
		field{"outer_step", a.OuterStep}, field{"multiplier", a.Multiplier})
	if err != nil {
		return engine.Spec{}, err
	}
	err = cmp.Or(checkCounts("f2sa", count{"inner_steps", a.InnerSteps}),
		checkNonNegative("f2sa", field{"growth", a.Growth}, field{"y_exponent", a.YExponent},
			field{"z_exponent", a.ZExponent}, field{"outer_exponent", a.OuterExponent},
			field{"growth_exponent", a.GrowthExponent}))
	if err != nil {
		return engine.Spec{}, err
	}
	draws := []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y, z := s.Get("x"), s.Get("y"), s.Get("z")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ, atY := it.Lower(x, z, xi), it.Lower(x, y, xi)
		slope := it.Upper(x, y, zeta).GradY().Add(it.Rate("multiplier").Mul(atY.GradY()))
		s.Set("y", it.Project(problem.Lower, y.Sub(it.Rate("y").Mul(slope)), xi))
		s.Set("z", it.Project(problem.Lower, z.Sub(it.Rate("z").Mul(atZ.GradY())), xi))
		it.Commit(atZ)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, z := s.Get("x"), s.Get("y"), s.Get("z")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ := it.Lower(x, z, xi)
		difference := it.Lower(x, y, xi).GradX().Sub(atZ.GradX())
		slope := it.Upper(x, y, zeta).GradX().Add(it.Rate("multiplier").Mul(difference))
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(slope)), zeta))
		it.Commit(atZ)
	}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat}),
		Rates: []engine.Rate{
			r.falling("y", a.YStep, a.YExponent, a.Schedule), r.falling("z", a.ZStep, a.ZExponent, a.Schedule),
			r.falling("outer", a.OuterStep, a.OuterExponent, a.Schedule),
			growing("multiplier", a.Multiplier, a.Growth, a.GrowthExponent),
		},
		Phases: []engine.Phase{
			{Name: "f2sa inner", Repeat: func(int) int { return a.InnerSteps }, Draws: draws, Build: inner},
			{Name: "f2sa outer", Draws: draws, Build: outer},
		},
	}, nil
}
