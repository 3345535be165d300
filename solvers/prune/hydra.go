package prune

import (
	"context"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// HYDRA learns scores for frozen weights (Sehwag, Wang, Mittal, Jana, NeurIPS 2020, eq. 2 and 3): m = topk(|s|), whose
// derivative is passed straight through to |s|,
//
//	s ← s - β v,  v ← μ v + sign(s) ⊙ θ ⊙ ∇z F(m ⊙ θ)
//
// on minibatches of the upper level. Scores start at the weights, each layer divided by its largest one and scaled by
// √(6/fan-in), as in the authors' program. With units, the gradient is summed over the parameters of a unit, and scores
// start at the units' magnitudes. Running statistics, where the network has some, follow the passes. An iteration costs
// one gradient.
type HYDRA struct {
	Step     float64         `json:"step"`     // β
	Momentum float64         `json:"momentum"` // μ
	Schedule engine.Schedule `json:"schedule"`
}

func (HYDRA) Name() string { return "hydra" }

func (m HYDRA) Check() error {
	return joined(positive("hydra", "step", m.Step), fraction("hydra", "momentum", m.Momentum), m.Schedule.Check())
}

func (m HYDRA) Spec(ctx context.Context, t Task, b *problem.Bound, k Kept, n int) (spec engine.Spec, err error) {
	if err := m.Check(); err != nil {
		return spec, err
	}
	scores, err := m.start(ctx, t, b)
	if err != nil {
		return spec, err
	}
	if spec.State, err = t.states(b, k, scores, true, m.Momentum > 0); err != nil {
		return spec, err
	}
	spec.Rates = []engine.Rate{m.Schedule.Scaled("step", m.Step, n)}
	spec.Phases = []engine.Phase{{
		Name: "scores", Draws: []engine.Draw{{Of: problem.Upper}},
		Build: func(it *engine.Iteration, s *engine.State) {
			theta, old := s.Get("y"), s.Get(scoresName)
			z := s.Get("x").Mul(theta)
			p := it.At(problem.Upper, ones(z.Size()), z, it.Batch("upper"), params.Train)
			g := t.Structure.Pool(t.marks(s), theta.Mul(gradient(p))).Mul(old.Sign())
			descend(s, scoresName, scoresMomentumName, m.Momentum, it.Rate("step"), g)
			t.choose(s, s.Next(scoresName), k.nodes())
			it.Commit(p)
		},
	}}
	return spec, nil
}

func (m HYDRA) start(ctx context.Context, t Task, b *problem.Bound) ([]float64, error) {
	theta, s := b.Lower.Start.Flat, t.Structure
	if s.ByUnit() {
		return Magnitude(ctx, b.Executor, s, theta)
	}
	scores := make([]float64, len(theta))
	for _, a := range s.Ranked {
		of, largest := theta[a.Off:a.Off+a.Size()], 0.0
		for _, w := range of {
			largest = max(largest, math.Abs(w))
		}
		for i, w := range of {
			if largest > 0 {
				scores[a.Off+i] = math.Sqrt(6/float64(fanIn(a))) * w / largest
			}
		}
	}
	return scores, nil
}

// fanIn is the number of inputs of each output, for weights that PyTorch stores as [out, in, …].
func fanIn(a params.Array) int { return max(1, a.Size()/max(1, a.PeerShape()[0])) }
