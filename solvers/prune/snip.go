package prune

import (
	"context"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SNIP scores an element by how much the loss depends on whether it is there: |∂/∂m G(m ⊙ θ)| at m = 1 on one batch,
// which is |θ ⊙ ∇z G(θ)| for weights, and its sum over the parameters of a unit (Lee, Ajanthan, Torr, ICLR 2019, eq. 4;
// there on one minibatch and at the start values). rows are the lower level's rows of the batch; nil: all of them.
func SNIP(ctx context.Context, t Task, b *problem.Bound, theta []float64, rows []int32) (scores []float64, err error) {
	sc := b.Executor.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	s := t.Structure
	at := sc.Variable("theta", tensor.Real, len(theta))
	batch := b.All(problem.Lower)
	var state *tensor.Node
	err = at.Write(theta)
	if rows != nil {
		index := sc.Variable("rows", tensor.Int, len(rows))
		err = joined(err, index.WriteInts(rows))
		batch = b.Batch(problem.Lower, index.Node())
	}
	if t.State.Size() > 0 {
		v := sc.Variable("state", tensor.Real, t.State.Size())
		err = joined(err, v.Write(t.State.Flat))
		state = v.Node()
	}
	if err != nil {
		return nil, err
	}
	list, err := values(ctx, b.Executor, "snip", func() []*tensor.Node {
		z := at.Node()
		p := b.Oracle().At(problem.Lower, ones(z.Size()), z, batch, params.TrainFrozen, state)
		g := z.Mul(p.GradY())
		return []*tensor.Node{s.Pool(ones(s.Scores.Size()), g).Abs()}
	})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}
