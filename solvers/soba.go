package solvers

import (
	"fmt"

	"bilevel/tensor"
)

// SOBA moves y, v and x at once, each along an unbiased estimate from one lower minibatch ξ and one upper minibatch ζ
// (Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022, "A framework for bilevel optimization that enables stochastic and
// global variance reduction algorithms", algorithm 1 with directions (3)-(5)):
//
//	y₊ = y - ρ_k ∇yG(x,y;ξ)
//	v₊ = v - ρ_k (∇²yyG(x,y;ξ) v - ∇yF(x,y;ζ))
//	x₊ = x - γ_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v)
//
// All three directions are taken at the old point. v starts at 0 and has the sign of this package (the paper's v is -v).
// An iteration costs one gradient of each objective, one product with H and one with C, which share their passes.
type SOBA struct {
	Step      float64  // ρ
	OuterStep float64  // γ
	Schedule  Schedule // of both; the zero value is constant
}

func (SOBA) Name() string { return "soba" }

// Init compiles the iteration for a run of n iterations.
func (a SOBA) Init(ex *tensor.Executor, p *Problem, n int) (State, error) {
	if !positive(a.Step, a.OuterStep) {
		return nil, fmt.Errorf("soba: steps %g and %g: wants positive, finite ones", a.Step, a.OuterStep)
	}
	if err := refuseSet("soba", p); err != nil {
		return nil, err
	}
	start := []namedStart{{"x", p.X0}, {"y", p.Y0}, {"v", make([]float64, len(p.Y0))}}
	rate := func(to []float64, k int) []float64 {
		f := a.Schedule.at(k, n)
		return append(to, a.Step*f, a.OuterStep*f)
	}
	return newStochastic(ex, p, start, rate, phaseSpec{name: "soba", times: 1, lower: true, upper: true, build: func(it *iteration, s []*tensor.Node) []*tensor.Node {
		x, y, v := s[0], s[1], s[2]
		rho, gamma := it.Rate(0), it.Rate(1)
		gy := it.LowerGradient(x, y, it.Lower)
		hv, cv := it.HVP(x, y, it.Lower, v), it.Cross(x, y, it.Lower, v)
		fx, fy := it.UpperGradient(x, y, it.Upper)
		return []*tensor.Node{
			x.Sub(gamma.Mul(fx.Sub(cv))),
			y.Sub(rho.Mul(gy)),
			v.Sub(rho.Mul(hv.Sub(fy))),
		}
	}})
}
