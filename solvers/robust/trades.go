package robust

import "bilevel/tensor"

// TRADES trains the clean loss and the distance of the outputs at x and x + δ (Zhang, Yu, Jiao, Xing, El Ghaoui,
// Jordan, ICML 2019, by the authors' program), with p(x) the class probabilities at x:
//
//	δ₀ = Noise·n, n standard normal
//	δ_{i+1} = P(δ_i + Step·ε sign ∇δ KL(p(x) ‖ p(x + δ_i)))
//	θ ← θ - α ∇θ mean [ CE(θ, x) + Beta·KL(p(x) ‖ p(x + δ)) ]
//
// The authors attack in mode eval and train in mode train, where their program makes three passes, the clean one twice:
// it is computed once here, and moves the running statistics twice.
type TRADES struct {
	Steps int     `json:"steps"`
	Step  float64 `json:"step"` // in units of ε
	Noise float64 `json:"noise"`
	Beta  float64 `json:"beta"`
	BN    string  `json:"bn"` // of the passes attack and training
}

func (TRADES) Name() string { return "trades" }

func (m TRADES) Plan(t Task) (Plan, error) {
	bn, err := modes(m.Name(), m.BN, "attack", "training")
	if err == nil {
		err = checkSteps(m.Name(), "steps", m.Steps, 1)
	}
	if err == nil {
		err = checkNumbers(m.Name(), number{"step", m.Step, true}, number{"noise", m.Noise, true},
			number{"beta", m.Beta, false})
	}
	training := tradeOff(m.Beta)
	return Plan{
		Attack: divergence,
		Training: func(v *View) *tensor.Node {
			each := training(v)
			v.Clean()
			return each
		},
		Step: func(r *Round) Step {
			start := r.Random().Normal(r.Images().Shape()...).Scale(m.Noise)
			return r.trained(r.Climb(start, m.Steps, m.Step*t.Eps, bn[0]), bn[1])
		},
	}, err
}

// tradeOff is the training objective CE(θ, x) + β KL(p(x) ‖ p(x + δ)).
func tradeOff(beta float64) Objective {
	return func(v *View) *tensor.Node {
		clean := v.Clean()
		return v.CrossEntropy(clean).Add(kullbackLeibler(clean, v.Perturbed()).Scale(beta))
	}
}
