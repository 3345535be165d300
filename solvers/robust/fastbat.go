package robust

import (
	"cmp"

	"bilevel/models/params"
)

// FastBAT is fast bi-level adversarial training (Zhang, Zhang, Khanduri, Hong, Chang, Liu, ICML 2022).
// The lower level is linearized at z and has a quadratic term λ/2 |δ - z|², so that its solution has a closed form, and
// by the conditions of Karush, Kuhn and Tucker so has the derivative of that. With l = -CE, summed over the batch of n,
// and the numbers a = Step and c = Implicit:
//
//	δ* = P(z - a ∇δ l(θ, x + z))
//	dδ*/dθ = -a [∇²θδ l(θ, x + z)] H,   H diagonal, 1 for the coordinates of δ* strictly inside C
//	θ ← θ - α ( ∇θ F(θ, δ*) - c [∇²θδ l(θ, x + z)] H ∇δ F(θ, δ*) ),   F(θ, δ) = mean CE(θ, x + δ)
//
// H ∇δF, z and δ* are constants in the second term, so that it is (c/n) ∇θ ⟨∇δ CE(θ, x + z), H ∇δ CE(θ, x + δ*)⟩ with
// CE summed.
//
// In the paper a = c = 1/λ, and z is one point of linearization: fast-bat takes the uniform start. The authors'
// program, fast-bat-official, has a = 5000/255 where ε <= 8/255 and 2000/255 above, c = 1/10, takes z from one step of
// the same form out of the uniform start (Warmup 1), counts a coordinate as inside C only where it is so by more than
// 1e-7, and makes four passes, all of them in mode train: at the start (warmup), at z (linearization), at δ* for ∇δF
// (response) and at δ* again for ∇θF (training). The last two are one pass here where their modes allow it; the running
// statistics move four times all the same.
//
// fast-bat-no-implicit is fast-bat-official with c = 0, the control: the same minibatches, random numbers,
// perturbations and running statistics.
type FastBAT struct {
	Step     float64 `json:"step"`     // a; 0: as the authors choose it by ε
	Implicit float64 `json:"implicit"` // c; 0: without the implicit term; below 0: a
	Warmup   int     `json:"warmup"`   // steps from the uniform start to z
	BN       string  `json:"bn"`       // of the passes warmup, linearization, response and training
	Margin   float64 `json:"margin"`

	variant string
}

// Name is the variant of the list that the value was taken from; one made by hand is called fast-bat.
func (m FastBAT) Name() string { return cmp.Or(m.variant, "fast-bat") }

// For fills in the numbers that follow from ε and from each other.
func (m FastBAT) For(eps float64) FastBAT {
	if m.Step == 0 {
		m.Step = 2000. / 255
		if eps <= 8./255 {
			m.Step = 5000. / 255
		}
	}
	if m.Implicit < 0 {
		m.Implicit = m.Step
	}
	return m
}

func (m FastBAT) Plan(t Task) (Plan, error) {
	m = m.For(t.Eps)
	bn, err := modes(m.Name(), m.BN, "warmup", "linearization", "response", "training")
	if err == nil {
		err = checkSteps(m.Name(), "warmup", m.Warmup, 0)
	}
	if err == nil {
		err = checkNumbers(m.Name(), number{"step", m.Step, true}, number{"implicit", m.Implicit, false},
			number{"margin", m.Margin, false})
	}
	return Plan{Step: func(r *Round) Step { return m.step(r, bn) }}, err
}

// step builds one iteration; bn are the modes of the four passes.
func (m FastBAT) step(r *Round, bn []params.Mode) Step {
	z := r.Begin()
	for range m.Warmup {
		z = r.Project(z.Sub(r.Attack(z, bn[0]).GradY().Scale(m.Step)))
	}
	linear := r.Attack(z, bn[1])
	delta := r.Project(z.Sub(linear.GradY().Scale(m.Step)))
	response, training := r.Train(delta, bn[2]), r.Train(delta, bn[3])
	if (bn[2] == params.Eval) == (bn[3] == params.Eval) {
		training = response // the same statistics, the same pass
	}
	step := Step{Delta: delta, Loss: r.loss(training), Direction: training.GradX(), Mode: bn[3]}
	if m.Implicit == 0 {
		return step
	}
	// The product is taken of vectors of the size of the gradient and scaled afterwards.
	v := response.GradY().Mul(r.Inside(delta, m.Margin))
	step.Implicit = linear.Cross(v).Scale(-m.Implicit)
	step.Direction = step.Direction.Add(step.Implicit)
	return step
}
