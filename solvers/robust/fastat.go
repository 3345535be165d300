package robust

// FastAT is adversarial training with one step of sign ascent out of a random start (Wong, Rice, Kolter, ICLR 2020):
//
//	z ~ uniform on [-ε, ε], projected onto C
//	δ = P(z + Step·ε sign ∇δ CE(θ, x + z))
//	θ ← θ - α ∇θ mean CE(θ, x + δ)
//
// The authors step 1.25 ε, and both passes are in mode train.
type FastAT struct {
	Step float64 `json:"step"` // in units of ε
	BN   string  `json:"bn"`   // of the passes attack and training
}

func (FastAT) Name() string { return "fast-at" }

func (m FastAT) Plan(t Task) (Plan, error) {
	return PGD{Steps: 1, Step: m.Step, BN: m.BN}.plan(m.Name(), t)
}
