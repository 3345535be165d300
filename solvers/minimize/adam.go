package minimize

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Adam divides each element's step by a running estimate of its gradient's size (Kingma, Ba, ICLR 2015), with the
// weight decay in the gradient, or with Decoupled as a shrinking of its own (AdamW: Loshchilov, Hutter, ICLR 2019),
// both in the form that PyTorch has:
//
//	g  = ∇yG(x,y;ξ) + λ y                    Decoupled: g = ∇yG(x,y;ξ), and y shrinks to (1 - α_k λ) y before the step
//	m₊ = β₁ m + (1-β₁) g,   u₊ = β₂ u + (1-β₂) g²
//	y₊ = P_Y(y - α_k m̂ / (√û + ε)),   m̂ = m₊/(1-β₁ᵏ⁺¹), û = u₊/(1-β₂ᵏ⁺¹)
//
// with iterations k counted from 0; m and u start at 0. An iteration costs one gradient.
type Adam struct {
	Step        float64         `json:"step"`         // α; 0: 0.001
	Beta1       float64         `json:"beta1"`        // β₁; 0: 0.9
	Beta2       float64         `json:"beta2"`        // β₂; 0: 0.999
	Epsilon     float64         `json:"epsilon"`      // ε; 0: 1e-8
	WeightDecay float64         `json:"weight_decay"` // λ of all arrays without a group
	Groups      []Group         `json:"groups"`       // λ by array
	Decoupled   bool            `json:"decoupled"`
	Schedule    engine.Schedule `json:"schedule"` // of the step
	Average     Average         `json:"average"`
}

func (Adam) Name() string { return "adam" }

func (m Adam) Spec(b *problem.Bound, n int) (engine.Spec, error) {
	m.Step, m.Epsilon = cmp.Or(m.Step, 1e-3), cmp.Or(m.Epsilon, 1e-8)
	m.Beta1, m.Beta2 = cmp.Or(m.Beta1, 0.9), cmp.Or(m.Beta2, 0.999)
	if !(m.Beta1 >= 0 && m.Beta1 < 1 && m.Beta2 >= 0 && m.Beta2 < 1) || !(m.Epsilon > 0) || math.IsInf(m.Epsilon, 0) {
		return engine.Spec{},
			fmt.Errorf("adam: beta1 %g, beta2 %g, epsilon %g: wants betas from 0 to below 1 and a positive epsilon",
				m.Beta1, m.Beta2, m.Epsilon)
	}
	corrected := func(beta float64, k int) float64 { return 1 - math.Pow(beta, float64(k+1)) }
	step := m.Schedule.Scaled("step", m.Step, n)
	c := common{
		step: m.Step, schedule: m.Schedule, decay: m.WeightDecay, groups: m.Groups, average: m.Average,
		vectors: []string{"first moment", "second moment"},
		rates: []engine.Rate{
			{Name: "corrected step", At: func(k int) float64 { return step.At(k) / corrected(m.Beta1, k) }},
			{Name: "correction", At: func(k int) float64 { return 1 / math.Sqrt(corrected(m.Beta2, k)) }},
		},
	}
	c.next = func(it *engine.Iteration, s *engine.State, y, g, decay *tensor.Node) *tensor.Node {
		switch {
		case decay == nil:
		case m.Decoupled:
			y = y.Sub(y.Mul(decay).Mul(it.Rate("step")))
		default:
			g = g.Add(decay.Mul(y))
		}
		first := s.Get("first moment").Scale(m.Beta1).Add(g.Scale(1 - m.Beta1))
		second := s.Get("second moment").Scale(m.Beta2).Add(g.Square().Scale(1 - m.Beta2))
		s.Set("first moment", first)
		s.Set("second moment", second)
		size := second.Sqrt().Mul(it.Rate("correction")).AddConst(m.Epsilon)
		return y.Sub(it.Rate("corrected step").Mul(first).Div(size))
	}
	return c.spec("adam", b, n)
}
