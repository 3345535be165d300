package robust

import (
	"fmt"

	"bilevel/models/params"
	"bilevel/solvers/engine"
)

// Free takes each minibatch Replays times in a row and uses one gradient of each pass twice, to move the parameters and
// the perturbation (Shafahi and others, NeurIPS 2019, in the form of the program of Wong, Rice, Kolter,
// ICLR 2020):
//
//	δ ← P(δ + Step·ε sign ∇δ CE(θ, x + δ)),   θ ← θ - α ∇θ mean CE(θ, x + δ),   both at the old δ and θ
//
// δ starts at 0 and goes on from one minibatch to the next, projected onto the set of the new one. Every replay is an
// iteration: in as many iterations as an epoch of the other methods has, a part 1/Replays of the rows is seen.
type Free struct {
	Step    float64 `json:"step"` // in units of ε
	Replays int     `json:"replays"`
}

func (Free) Name() string { return "free" }

func (m Free) Plan(t Task) (Plan, error) {
	err := checkNumbers(m.Name(), number{"step", m.Step, true})
	if err == nil && (m.Replays < 1 || m.Replays > maxSteps) {
		err = fmt.Errorf("free: replays is %d: wants 1 to %d", m.Replays, maxSteps)
	}
	const kept = "perturbation"
	return Plan{
		Replays: m.Replays,
		State:   []engine.Array{{Name: kept, Values: make([]float64, t.Sampler.Size()*t.inputs()), Unwatched: true}},
		Step: func(r *Round) Step {
			delta := r.Project(r.State.Get(kept).Reshape(r.Images().Shape()...))
			p := r.Train(delta, params.Train)
			r.State.Set(kept, r.Project(delta.Add(p.GradY().Sign().Scale(m.Step*t.Eps))).Flatten())
			return Step{Delta: delta, Loss: r.loss(p), Direction: p.GradX(), Mode: params.Train}
		},
	}, err
}
