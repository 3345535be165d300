package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// MASOBA is SOBA whose x moves along an average of its directions, which takes most of their noise away (Chen, Xiao,
// Balasubramanian, arXiv 2306.12067, 2023, "Optimal algorithms for stochastic bilevel optimization under relaxed
// smoothness conditions", MA-SOBA):
//
//	y₊ = y - ρ_k ∇yG(x,y;ξ)
//	v₊ = v - ρ_k (∇²yyG(x,y;ξ) v - ∇yF(x,y;ζ))
//	d₊ = (1 - θ_k) d + θ_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v)
//	x₊ = P_X(x - γ_k d₊)
//
// All directions are taken at the old point. θ_0 = 1, so that d begins as the first direction and not as a step towards
// it from 0; after that θ_k = θ. With θ = 1 this is SOBA. The average makes the rate of SOBA hold without its bounds on
// third derivatives; it needs a smooth lower level that is strongly convex in y. The state is x, y, v and d. P_X,
// running statistics and the cost of an iteration are those of SOBA: one gradient of each objective, one product with H
// and one with C.
type MASOBA struct {
	Step      float64         `json:"step"`       // ρ; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	Average   float64         `json:"average"`    // θ, the weight of the new direction; 0: 0.1
	Schedule  engine.Schedule `json:"schedule"`   // of ρ and γ
}

func (MASOBA) Name() string { return "ma-soba" }

func (MASOBA) Needs() Needs { return SOBA{}.Needs() }

func (a MASOBA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	if err := checkSteps("ma-soba", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}); err != nil {
		return engine.Spec{}, err
	}
	if !(a.Average > 0 && a.Average <= 1) {
		return engine.Spec{}, fmt.Errorf("ma-soba: average is %g: wants a weight above 0 and at most 1", a.Average)
	}
	return engine.Spec{
		State: append(start(b, "v"), ofX(b, "d")),
		Rates: append(twoRates(r, a.Step, a.OuterStep, a.Schedule),
			engine.Rate{Name: "average", At: func(k int) float64 {
				if k == 0 {
					return 1
				}
				return a.Average
			}}),
		Phases: []engine.Phase{{
			Name:  "ma-soba",
			Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
			Build: func(it *engine.Iteration, s *engine.State) {
				x, y, v, d := s.Get("x"), s.Get("y"), s.Get("v"), s.Get("d")
				rho, theta := it.Rate("inner"), it.Rate("average")
				zeta := it.Batch("upper")
				g, f := it.Lower(x, y, it.Batch("lower")), it.Upper(x, y, zeta)
				s.Set("y", y.Sub(rho.Mul(g.GradY())))
				s.Set("v", v.Sub(rho.Mul(g.HVP(v).Sub(f.GradY()))))
				old := d.Mul(tensor.Const(1).Sub(theta))
				d = old.Add(theta.Mul(f.GradX().Sub(g.Cross(v))))
				s.Set("d", d)
				s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(d)), zeta))
				it.Commit(g)
			},
		}},
	}, nil
}
