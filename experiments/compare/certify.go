package compare

import (
	"context"
	"errors"
	"fmt"

	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// certifier compares the direction of a run with the hypergradient at its x. The direction is x - x₊ of the iteration
// which the algorithm makes from the run's state on all rows, so that no draw of rows is in it. The
// hypergradient is certified at a y*(x) that Newton's method finds from the run's y.
type certifier struct {
	scope *tensor.Scope
	run   *engine.Engine
	next  *engine.Engine // of one iteration, on all rows
	lower *minimize.Minimizer
	upper hypergrad.Estimator
}

// newCertifier readies the comparison for a run e of n iterations of an algorithm on a problem.
func newCertifier(ctx context.Context, p problem.Problem, e *engine.Engine, a solvers.Algorithm, n int) (
	_ *certifier, err error) {
	c := &certifier{scope: e.Executor().Scope(), run: e}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	p.Lower.Sampler, p.Upper.Sampler = nil, nil
	b, err := p.Bind(e.Executor())
	if err != nil {
		return nil, err
	}
	c.scope.Own(b.Close)
	if c.next, _, err = solvers.Init(ctx, b, a, n, e.Seed()); err != nil {
		return nil, err
	}
	c.scope.Own(c.next.Close)
	x, roundoff := c.next.Variable("x"), e.Executor().Info().UnitRoundoff()
	c.lower, err = minimize.Newton{Tol: 8 * roundoff, MaxSteps: 50}.PrepareRows(minimize.RowsObjective{
		Bound: b, Rows: measuredRows,
		Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
			return b.Oracle().At(problem.Lower, x.Node(), y, rows, params.Eval, nil).Value()
		},
	})
	if err != nil {
		return nil, err
	}
	c.scope.Own(c.lower.Close)
	c.upper, err = hypergrad.Implicit{
		Solver: linear.CG{RTol: max(1e-6, 100*roundoff), MaxSteps: 1000, FromZero: true}, Rows: measuredRows,
	}.Prepare(b, x, c.lower.Y())
	if err != nil {
		return nil, err
	}
	c.scope.Own(c.upper.Close)
	return c, nil
}

// look is the numbers of a Direction where the run stands, after k iterations, or none of them where this point is not
// wanted. The iteration has the rates of the last one, which are never 0.
func (c *certifier) look(ctx context.Context, k int, wanted bool) ([]float64, error) {
	if !wanted {
		return experiments.NoDirection(), nil
	}
	for _, name := range c.run.Names() {
		if err := c.next.Variable(name).CopyFrom(c.run.Variable(name)); err != nil {
			return nil, err
		}
	}
	if err := c.lower.Y().CopyFrom(c.run.Variable("y")); err != nil {
		return nil, err
	}
	if _, err := c.lower.Run(ctx); err != nil {
		return nil, err
	}
	h, err := c.upper.Compute(ctx)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	d, err := c.next.Variable("x").Read()
	if err != nil {
		return nil, err
	}
	if err := c.next.Step(ctx, k-1, 1); err != nil {
		return nil, err
	}
	after, err := c.next.Variable("x").Read()
	if err != nil {
		return nil, err
	}
	floats.Sub(d, after)
	return experiments.NewDirection(h, d).Row(), nil
}

func (c *certifier) close() error {
	if c == nil {
		return nil
	}
	return c.scope.Close()
}

// certifies tells whether a new row of the curve is one of the points that are certified: the first that has spent
// another part of the budget than the row before it.
func (c Config) certifies(row []float64, before experiments.Curve) bool {
	part := func(row []float64) int {
		if c.Iterations > 0 {
			return int(row[0]) * c.Certificate / c.Iterations
		}
		return int(row[2] * float64(c.Certificate) / float64(c.Calls))
	}
	for n := len(before.Rows) - 1; n >= 0; n-- {
		if before.Rows[n][0] < row[0] { // a run that goes on may look at a point again
			return part(row) > part(before.Rows[n])
		}
	}
	return false
}
