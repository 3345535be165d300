package prune

import (
	"context"
	"fmt"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Direction is the derivative in the mask [q] that a variant of BiP moves scores along at weights theta and a mask, on
// all rows of both levels, without momentum; 0 for elements that are not ranked. That of bip-official counts in |θ|,
// which its masks rank; its weight decay of the scores is left out. bip-unrolled, which needs a step, is refused.
func (m BiP) Direction(ctx context.Context, t Task, b *problem.Bound, theta, mask []float64) (d []float64, err error) {
	if m.Name() == RowUnrolled || t.Structure.ByUnit() || t.State.Size() > 0 {
		return nil, fmt.Errorf("%s: the direction is of single weights of a network without running statistics, and "+
			"of every variant but %s", m.Name(), RowUnrolled)
	}
	sc := b.Executor.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	n := len(theta)
	x, y := sc.Variable("mask", tensor.Real, n), sc.Variable("theta", tensor.Real, n)
	if err := joined(x.Write(mask), y.Write(theta)); err != nil {
		return nil, err
	}
	var exact *hypergradient
	if m.Name() == RowExact {
		batches := [2]problem.Batch{problem.Lower: b.All(problem.Lower), problem.Upper: b.All(problem.Upper)}
		if exact, err = newHypergradient(b.Executor.Scope(), b, x, y, nil, batches, m.solver()); err != nil {
			return nil, err
		}
		sc.Own(exact.scope.Close)
		if _, err := exact.run(ctx); err != nil {
			return nil, err
		}
	}
	list, err := values(ctx, b.Executor, "direction", func() []*tensor.Node {
		at := func(side problem.Side) *tensor.Node {
			z := x.Node().Mul(y.Node())
			return b.Oracle().At(side, ones(n), z, b.All(side), params.TrainFrozen, nil).GradY()
		}
		var g *tensor.Node
		switch {
		case exact != nil:
			g = exact.g.Node()
		case m.Name() == RowOfficial:
			a := y.Node().Abs().Mul(at(problem.Upper))
			g = a.Sub(a.Square().Scale(m.InverseGamma)).Mul(y.Node().Sign())
		default:
			g = hessianFree(x.Node(), y.Node(), at(problem.Lower), at(problem.Upper), m.InverseGamma)
		}
		return []*tensor.Node{g.Mul(t.Structure.Params.Mask(t.Structure.isRanked))}
	})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}
