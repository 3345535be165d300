package robust

import "bilevel/tensor"

// BackwardSmoothing is TRADES with few steps from a start that is found backwards: as a perturbation of the image that
// moves the outputs like random noise on the logits (Chen, Cheng, Gan, Gu, Liu, AAAI 2022, by the authors' program):
//
//	u ~ Gamma times uniform on [-1, 1] for each logit,   q = softmax(f(x) + u)
//	δ₀ = P(-Step·ε sign ∇δ KL(q ‖ p(x + δ)) at δ = 0)
//	δ_{i+1} = P(δ_i + Step·ε sign ∇δ KL(p(x) ‖ p(x + δ_i)))
//	θ ← θ - α ∇θ mean [ CE(θ, x) + Beta·KL(p(x) ‖ p(x + δ)) ]
//
// The authors attack in mode eval with one step of ε, Gamma 1 and Beta 10, and train in mode train.
type BackwardSmoothing struct {
	Steps int     `json:"steps"`
	Step  float64 `json:"step"` // in units of ε
	Gamma float64 `json:"gamma"`
	Beta  float64 `json:"beta"`
	BN    string  `json:"bn"` // of the passes attack and training
}

func (BackwardSmoothing) Name() string { return "backward-smoothing" }

func (m BackwardSmoothing) Plan(t Task) (Plan, error) {
	bn, err := modes(m.Name(), m.BN, "attack", "training")
	if err == nil {
		err = checkSteps(m.Name(), "steps", m.Steps, 0)
	}
	if err == nil {
		err = checkNumbers(m.Name(), number{"step", m.Step, true}, number{"gamma", m.Gamma, true},
			number{"beta", m.Beta, false})
	}
	return Plan{
		Attack: divergence, Training: tradeOff(m.Beta),
		Step: func(r *Round) Step {
			zero := tensor.Zeros(r.Images().Shape()...)
			logits := r.Logits(zero, bn[0])
			noise := Uniform(r.Random(), m.Gamma, logits.Shape()...)
			target := logits.Add(noise).StopGradient()
			distance := kullbackLeibler(target, logits).Sum()
			r.Counts.LowerGradients++
			start := r.Project(tensor.Grad(distance, zero)[0].Sign().Scale(-m.Step * t.Eps))
			return r.trained(r.Climb(start, m.Steps, m.Step*t.Eps, bn[0]), bn[1])
		},
	}, err
}
