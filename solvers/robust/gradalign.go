package robust

import "bilevel/tensor"

// GradAlign is adversarial training with one sign step from the image itself and a regularizer that keeps the loss
// nearly linear in the ball (Andriushchenko, Flammarion, NeurIPS 2020, by the authors' program):
//
//	g₁ = ∇δ CE(θ, x),  g₂ = ∇δ CE(θ, x + η),  η ~ uniform on [-ε, ε]
//	δ = P(Step·ε sign g₁)
//	θ ← θ - α ∇θ [ mean CE(θ, x + δ) + Alignment·(1 - mean cos(g₁, g₂)) ]
//
// g₁ is a constant, the mean of the cosine is over the rows where neither gradient is 0, and its derivative is one
// mixed product: ∇²θδ CE(θ, x + η) v with v = ∂(mean cos)/∂g₂. The passes, in this order, are those at x, x + δ and
// x + η.
type GradAlign struct {
	Step      float64 `json:"step"`      // in units of ε
	Alignment float64 `json:"alignment"` // weight of the regularizer
	BN        string  `json:"bn"`        // of the passes attack, training and alignment
}

func (GradAlign) Name() string { return "grad-align" }

func (m GradAlign) Plan(t Task) (Plan, error) {
	bn, err := modes(m.Name(), m.BN, "attack", "training", "alignment")
	if err == nil {
		err = checkNumbers(m.Name(), number{"step", m.Step, true}, number{"alignment", m.Alignment, false})
	}
	return Plan{Step: func(r *Round) Step {
		zero := tensor.Zeros(r.Images().Shape()...)
		first := r.Attack(zero, bn[0]).GradY().StopGradient()
		step := r.trained(r.Project(first.Sign().Scale(-m.Step*t.Eps)), bn[1])
		at := r.Attack(r.Uniform(t.Eps), bn[2])
		second := at.GradY()
		cosine := meanCosine(first, second)
		step.Loss = step.Loss.Add(tensor.Const(1).Sub(cosine).Scale(m.Alignment))
		pull := at.Cross(tensor.Grad(cosine, second)[0]) // ∇θ of the mean cosine
		step.Direction = step.Direction.Sub(pull.Scale(m.Alignment))
		return step
	}}, err
}

// meanCosine is the mean of the cosines between the rows of a and b, over those where neither is 0.
func meanCosine(a, b *tensor.Node) *tensor.Node {
	rows := a.Shape()[0]
	a, b = a.Reshape(rows, -1), b.Reshape(rows, -1)
	zero := tensor.Const(0)
	product := a.Square().Sum(1).Mul(b.Square().Sum(1))
	kept := zero.Lt(product)
	cosines := tensor.Where(kept, a.Mul(b).Sum(1).Div(tensor.Where(kept, product, tensor.Const(1)).Sqrt()), zero)
	return cosines.Sum().Div(kept.Sum().Max(tensor.Const(1)))
}
