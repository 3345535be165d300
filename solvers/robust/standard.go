package robust

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// Standard is training on the images as they are:
//
//	θ ← θ - α ∇θ mean CE(θ, x)
type Standard struct{}

func (Standard) Name() string { return "standard" }

func (Standard) Plan(Task) (Plan, error) {
	return Plan{Step: func(r *Round) Step {
		return r.trained(tensor.Zeros(r.Images().Shape()...), params.Train)
	}}, nil
}
