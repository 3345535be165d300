package minimize

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SGD is stochastic gradient descent, with a momentum where it is not 0 (Polyak 1964; Sutskever, Martens, Dahl, Hinton,
// ICML 2013, in the form that PyTorch's torch.optim.SGD has with dampening 0):
//
//	g  = ∇yG(x,y;ξ) + λ y
//	m₊ = μ m + g
//	y₊ = P_Y(y - α_k m₊)            with Nesterov: P_Y(y - α_k (g + μ m₊))
//
// m starts at 0. P_Y projects onto the set of y, where there is one; m is not told of it. On all rows (no sampler) this
// is gradient descent. An iteration costs one gradient.
type SGD struct {
	Step        float64         `json:"step"`         // α
	Momentum    float64         `json:"momentum"`     // μ
	Nesterov    bool            `json:"nesterov"`     // wants a momentum
	WeightDecay float64         `json:"weight_decay"` // λ of all arrays without a group
	Groups      []Group         `json:"groups"`       // λ by array
	Schedule    engine.Schedule `json:"schedule"`     // of the step
	Average     Average         `json:"average"`
}

func (SGD) Name() string { return "sgd" }

func (m SGD) Spec(b *problem.Bound, n int) (engine.Spec, error) {
	if !(m.Momentum >= 0 && m.Momentum < 1) || m.Nesterov && m.Momentum == 0 {
		return engine.Spec{}, fmt.Errorf("sgd: momentum is %g: wants a number from 0 to below 1, and with nesterov "+
			"one above 0", m.Momentum)
	}
	c := common{step: m.Step, schedule: m.Schedule, decay: m.WeightDecay, groups: m.Groups, average: m.Average}
	if m.Momentum > 0 {
		c.vectors = []string{"momentum"}
	}
	c.next = func(it *engine.Iteration, s *engine.State, y, g, decay *tensor.Node) *tensor.Node {
		if decay != nil {
			g = g.Add(decay.Mul(y))
		}
		if m.Momentum > 0 {
			momentum := s.Get("momentum").Scale(m.Momentum).Add(g)
			s.Set("momentum", momentum)
			if m.Nesterov {
				g = g.Add(momentum.Scale(m.Momentum))
			} else {
				g = momentum
			}
		}
		return y.Sub(it.Rate("step").Mul(g))
	}
	return c.spec("sgd", b, n)
}
