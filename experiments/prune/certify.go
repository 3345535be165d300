package prune

import (
	"context"
	"errors"

	"bilevel/experiments"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/tensor"
)

// certifySteps is the most steps of L-BFGS that a lower level is solved with for its certificate.
const certifySteps = 2000

// certify compares the direction in which a search left the scores, at its weights and its mask m, with the
// hypergradient of
//
//	F(m ⊙ θ*(m)),   θ*(m) = argmin of G(m ⊙ θ) + λ/2 |θ - c|²
//
// on all rows, at the minimizer that L-BFGS finds from the search's weights. λ is the weight decay of the search's own
// steps on the weights; c is 0 but for masked weights, where it is the weight itself, since masked weights stay.
func (t *task) certify(ctx context.Context) (err error) {
	method := t.search().(prune.BiP) // as settled has seen to
	t.env.Begin("certificate", 1)
	b, err := t.prune.Bind(t.ex, t.theta, t.mask)
	if err != nil {
		return err
	}
	d, err := method.Direction(ctx, t.prune, b, t.theta, t.mask)
	if err = errors.Join(err, b.Close()); err != nil {
		return err
	}
	sc := t.ex.Scope()
	defer func() {
		if ctx.Err() == nil {
			err = errors.Join(err, sc.Close())
		}
	}()
	x, y, center := sc.Variable("mask", tensor.Real, len(t.mask)), sc.Variable("theta", tensor.Real, len(t.mask)),
		sc.Variable("center", tensor.Real, len(t.mask))
	c := make([]float64, len(t.theta))
	for i, m := range t.mask {
		if m == 0 {
			c[i] = t.theta[i]
		}
	}
	if err := errors.Join(x.Write(t.mask), y.Write(t.theta), center.Write(c)); err != nil {
		return err
	}
	p := t.certified(center)
	if b, err = p.Bind(t.ex); err != nil {
		return err
	}
	sc.Own(b.Close)
	roundoff := t.ex.Info().UnitRoundoff()
	lower, err := minimize.LBFGS{Tol: 100 * roundoff, MaxSteps: certifySteps}.PrepareRows(minimize.RowsObjective{
		Bound: b,
		Value: func(theta *tensor.Node, rows problem.Batch) *tensor.Node {
			return b.Oracle().At(problem.Lower, x.Node(), theta, rows, params.Train, nil).Value()
		},
	})
	if err != nil {
		return err
	}
	sc.Own(lower.Close)
	if err := lower.Y().CopyFrom(y); err != nil {
		return err
	}
	if _, err := lower.Run(ctx); err != nil {
		return err
	}
	upper, err := hypergrad.Implicit{
		Solver: linear.CG{RTol: 1e-4, MaxSteps: 2000, FromZero: true},
	}.Prepare(b, x, lower.Y())
	if err != nil {
		return err
	}
	sc.Own(upper.Close)
	h, err := upper.Compute(ctx)
	if err != nil {
		return err
	}
	t.record.Directions([]experiments.Direction{experiments.NewDirection(h, d)})
	t.record.Texts["direction.status"] = h.Status.String()
	t.record.Scalars["direction.lower_gradient"] = h.Stationarity
	t.env.Done(1)
	return nil
}

// certified is the problem whose hypergradient is certified. Elements that are not ranked do not depend on the mask.
func (t *task) certified(center *tensor.Variable) *problem.Problem {
	layout := t.prune.Structure.Params
	ranked := layout.Mask(models.IsWeight)
	level := func(l prune.Level, start []float64, decay float64) problem.Level {
		return problem.Level{
			Start: params.Values{Layout: layout, Flat: start}, Rows: l.Rows,
			Loss: func(x, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				theta := y.Flat()
				mask := tensor.Where(ranked, x.Flat(), tensor.Const(1))
				loss := l.Loss(mask.Mul(theta), b, p)
				if decay > 0 {
					loss.Value = loss.Value.Add(theta.Sub(center.Node()).Square().Sum().Scale(decay / 2))
				}
				return loss
			},
		}
	}
	return &problem.Problem{
		Name: "pruning", Upper: level(t.prune.Upper, t.mask, 0), Lower: level(t.prune.Lower, t.theta, t.PruneDecay),
	}
}
