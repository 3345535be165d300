package robust

import (
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// NFGSM is adversarial training with one sign step out of stronger noise, whose end is not clipped to the ball (de
// Jorge, Bibi, Volpi, Sanyal, Torr, Rogez, Dokania, NeurIPS 2022, by the authors' program):
//
//	η ~ uniform on [-Noise·ε, Noise·ε],   0 <= x + η <= 1 by clipping
//	δ = η + Step·ε sign ∇δ CE(θ, x + η),  0 <= x + δ <= 1 by clipping
//	θ ← θ - α ∇θ mean CE(θ, x + δ)
//
// The authors take noise of 2 ε and a step of ε.
type NFGSM struct {
	Step  float64 `json:"step"`  // in units of ε
	Noise float64 `json:"noise"` // likewise
	BN    string  `json:"bn"`    // of the passes attack and training
}

func (NFGSM) Name() string { return "n-fgsm" }

func (m NFGSM) Plan(t Task) (Plan, error) {
	bn, err := modes(m.Name(), m.BN, "attack", "training")
	if err == nil {
		err = checkNumbers(m.Name(), number{"step", m.Step, true}, number{"noise", m.Noise, false})
	}
	images := problem.BatchBox{Of: func(b problem.Batch) (lo, hi *tensor.Node) {
		x := t.images(b)
		return x.Neg(), tensor.Const(1).Sub(x)
	}}
	return Plan{Step: func(r *Round) Step {
		noise := images.Project(r.Uniform(m.Noise*t.Eps), r.Batch).StopGradient()
		up := r.Attack(noise, bn[0]).GradY().Sign().Scale(m.Step * t.Eps)
		return r.trained(images.Project(noise.Sub(up), r.Batch).StopGradient(), bn[1])
	}}, err
}
