package solvers

import (
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// SOBA moves y, v and x at once, each along an unbiased estimate from one lower minibatch ξ and one upper minibatch ζ
// (Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022, "A framework for bilevel optimization that enables stochastic and
// global variance reduction algorithms", algorithm 1 with directions (3)-(5)):
//
//	y₊ = y - ρ_k ∇yG(x,y;ξ)
//	v₊ = v - ρ_k (∇²yyG(x,y;ξ) v - ∇yF(x,y;ζ))
//	x₊ = P_X(x - γ_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v))
//
// All three directions are taken at the old point. v starts at 0 and has the sign of package problem (the paper's v is
// -v). P_X projects onto the set of x, where there is one. Running statistics move once an iteration, with the pass of
// ξ at (x, y). An iteration costs one gradient of each objective, one product with H and one with C, which share their
// passes.
type SOBA struct {
	Step      float64         `json:"step"`       // ρ; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	Schedule  engine.Schedule `json:"schedule"`   // of both
}

func (SOBA) Name() string { return "soba" }

func (SOBA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its steps need one lower level with a smooth, strongly convex objective, without constraints, whose " +
			"variable lasts, and an x that is free or in a set",
	}
}

func (a SOBA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	if err := checkSteps("soba", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}); err != nil {
		return engine.Spec{}, err
	}
	return engine.Spec{
		State: start(b, "v"),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{{
			Name:  "soba",
			Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
			Build: func(it *engine.Iteration, s *engine.State) {
				x, y, v := s.Get("x"), s.Get("y"), s.Get("v")
				rho, gamma := it.Rate("inner"), it.Rate("outer")
				zeta := it.Batch("upper")
				g, f := it.Lower(x, y, it.Batch("lower")), it.Upper(x, y, zeta)
				s.Set("y", y.Sub(rho.Mul(g.GradY())))
				s.Set("v", v.Sub(rho.Mul(g.HVP(v).Sub(f.GradY()))))
				s.Set("x", it.Project(problem.Upper, x.Sub(gamma.Mul(f.GradX().Sub(g.Cross(v)))), zeta))
				it.Commit(g)
			},
		}},
	}, nil
}
