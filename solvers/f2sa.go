package solvers

import (
	"fmt"

	"bilevel/tensor"
)

// F2SA uses gradients only (Kwon, Kwon, Wright, Nowak, ICML 2023, "A fully first-order method for stochastic bilevel
// optimization", algorithm 1). It descends on the penalty function F(x,y) + λ (G(x,y) - G(x,z)), whose y follows its
// minimizer and whose z follows the lower level's; the error against ∇h is O(1/λ):
//
//	T times:  z₊ = z - γ_k ∇yG(x,z;ξ)
//	          y₊ = y - α_k (∇yF(x,y;ζ) + λ_k ∇yG(x,y;ξ))
//	then:     x₊ = x - η_k (∇xF(x,y;ζ) + λ_k (∇xG(x,y;ξ) - ∇xG(x,z;ξ)))
//	          λ_{k+1} = λ_k + δ
//
// Every inner step and the step of x draw new minibatches; y and z share theirs, and so do the two terms ∇xG, which
// takes away most of the noise that λ amplifies. α_k λ_k must stay below about 1/L for the lower level's smoothness L.
// An iteration costs 2T+2 gradients of G and T+1 of F, no second derivatives.
type F2SA struct {
	YStep, ZStep float64  // α, γ
	OuterStep    float64  // η (the paper's ξα)
	Multiplier   float64  // λ_0
	Growth       float64  // δ
	InnerSteps   int      // T
	Schedule     Schedule // of the three steps
}

func (F2SA) Name() string { return "f2sa" }

// Init compiles the two phases for a run of n iterations.
func (a F2SA) Init(ex *tensor.Executor, p *Problem, n int) (State, error) {
	if !positive(a.YStep, a.ZStep, a.OuterStep, a.Multiplier) || !(a.Growth >= 0) || a.InnerSteps < 1 {
		return nil, fmt.Errorf("f2sa: steps %g, %g and %g, multiplier %g growing by %g, %d inner steps: wants positive, finite ones",
			a.YStep, a.ZStep, a.OuterStep, a.Multiplier, a.Growth, a.InnerSteps)
	}
	if err := refuseSet("f2sa", p); err != nil {
		return nil, err
	}
	rate := func(to []float64, k int) []float64 {
		f := a.Schedule.at(k, n)
		return append(to, a.YStep*f, a.ZStep*f, a.OuterStep*f, a.Multiplier+float64(k)*a.Growth)
	}
	inner := func(it *iteration, s []*tensor.Node) []*tensor.Node {
		x, y, z := s[0], s[1], s[2]
		alpha, gamma, lambda := it.Rate(0), it.Rate(1), it.Rate(3)
		gz := it.LowerGradient(x, z, it.Lower)
		gy := it.LowerGradient(x, y, it.Lower)
		_, fy := it.UpperGradient(x, y, it.Upper)
		return []*tensor.Node{x, y.Sub(alpha.Mul(fy.Add(lambda.Mul(gy)))), z.Sub(gamma.Mul(gz))}
	}
	outer := func(it *iteration, s []*tensor.Node) []*tensor.Node {
		x, y, z := s[0], s[1], s[2]
		eta, lambda := it.Rate(2), it.Rate(3)
		fx, _ := it.UpperGradient(x, y, it.Upper)
		difference := it.LowerGradientX(x, y, it.Lower).Sub(it.LowerGradientX(x, z, it.Lower))
		return []*tensor.Node{x.Sub(eta.Mul(fx.Add(lambda.Mul(difference)))), y, z}
	}
	return newStochastic(ex, p, []namedStart{{"x", p.X0}, {"y", p.Y0}, {"z", p.Y0}}, rate,
		phaseSpec{name: "f2sa inner", times: a.InnerSteps, lower: true, upper: true, build: inner},
		phaseSpec{name: "f2sa outer", times: 1, lower: true, upper: true, build: outer})
}
