package prune

import (
	"context"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Search is a method that finds a mask by an iteration: HYDRA, Gradual, BiP.
type Search interface {
	Name() string
	// Check refuses settings that can never work; its error names the field.
	Check() error
	// Spec is a run of n iterations that begins with the weights which the problem's lower level starts with, and keeps
	// k elements. b is what Task.Bind gives. The state has the mask as "x" and the weights as "y". Its error is that
	// of Check, or what does not fit the task.
	Spec(ctx context.Context, t Task, b *problem.Bound, k Kept, n int) (engine.Spec, error)
}

// New compiles a search.
func New(ctx context.Context, s Search, t Task, b *problem.Bound, k Kept, n int, seed uint64) (*engine.Engine, error) {
	if err := t.Structure.check(k); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name(), err)
	}
	spec, err := s.Spec(ctx, t, b, k, n)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.Seed = s.Name(), seed
	return engine.New(b, spec)
}

// Names of state beside "x" and "y".
const (
	scoresName         = "scores"
	marksName          = "marks" // of units; for single weights the marks are the mask
	momentumName       = "momentum"
	scoresMomentumName = "momentum of the scores"
)

// states are the vectors of a search that begins with scores: the mask of the largest ones, the weights, the scores
// where they are kept, and a momentum of each where it is used.
func (t Task) states(b *problem.Bound, k Kept, scores []float64, keep, momenta bool) ([]engine.Array, error) {
	marks, mask, err := t.Structure.Pick(b.Executor, scores, k)
	if err != nil {
		return nil, err
	}
	list := []engine.Array{
		{Name: "x", Values: mask, Unwatched: true}, {Name: "y", Values: b.Lower.Start.Flat},
	}
	if t.Structure.ByUnit() {
		list = append(list, engine.Array{Name: marksName, Values: marks, Unwatched: true})
	}
	if keep {
		list = append(list, engine.Array{Name: scoresName, Values: scores})
	}
	if momenta {
		list = append(list, engine.Array{Name: momentumName, Zeros: len(mask), Unwatched: true})
		if keep {
			list = append(list, engine.Array{Name: scoresMomentumName, Zeros: len(scores), Unwatched: true})
		}
	}
	return list, nil
}

// marks are the present marks [s].
func (t Task) marks(s *engine.State) *tensor.Node {
	if t.Structure.ByUnit() {
		return s.Get(marksName)
	}
	return s.Get("x")
}

// choose makes the mask that of the largest scores.
func (t Task) choose(s *engine.State, scores *tensor.Node, k []*tensor.Node) {
	marks := t.Structure.TopK(scores, k)
	if t.Structure.ByUnit() {
		s.Set(marksName, marks)
	}
	s.Set("x", t.Structure.Mask(marks))
}

// descend is a step of gradient descent with momentum on an entry of the state, in the form of minimize.SGD:
// v ← μ v + g, z ← z - rate·v.
func descend(s *engine.State, name, momentum string, mu float64, rate, g *tensor.Node) {
	if mu > 0 {
		g = s.Get(momentum).Scale(mu).Add(g)
		s.Set(momentum, g)
	}
	s.Set(name, s.Get(name).Sub(rate.Mul(g)))
}

// gradient is ∇z of a level's loss at z = m ⊙ θ.
func gradient(p *problem.Point) *tensor.Node { return p.GradY() }

// at is a level's loss as a function of z, at a node z.
func at(it *engine.Iteration, side problem.Side, z *tensor.Node, b problem.Batch) *problem.Point {
	if side == problem.Lower {
		return it.Lower(ones(z.Size()), z, b)
	}
	return it.Upper(ones(z.Size()), z, b)
}
