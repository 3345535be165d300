package robust

// PGD is adversarial training with Steps steps of projected sign ascent out of a random start (Madry, Makelov, Schmidt,
// Tsipras, Vladu, ICLR 2018):
//
//	δ₀ ~ uniform on [-ε, ε], projected onto C
//	δ_{i+1} = P(δ_i + Step·ε sign ∇δ CE(θ, x + δ_i))
//	θ ← θ - α ∇θ mean CE(θ, x + δ_Steps)
//
// With 2 steps of ε/2 it costs about as many products as Fast-BAT without its implicit term, and is its control.
type PGD struct {
	Steps int     `json:"steps"`
	Step  float64 `json:"step"` // in units of ε
	BN    string  `json:"bn"`   // of the passes attack and training
}

func (PGD) Name() string { return "pgd" }

func (m PGD) Plan(t Task) (Plan, error) { return m.plan(m.Name(), t) }

func (m PGD) plan(name string, t Task) (Plan, error) {
	bn, err := modes(name, m.BN, "attack", "training")
	if err == nil {
		err = checkSteps(name, "steps", m.Steps, 1)
	}
	if err == nil {
		err = checkNumbers(name, number{"step", m.Step, true})
	}
	return Plan{Step: func(r *Round) Step {
		return r.trained(r.Climb(r.Begin(), m.Steps, m.Step*t.Eps, bn[0]), bn[1])
	}}, err
}
