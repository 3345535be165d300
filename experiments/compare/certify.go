package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// certifier compares the direction that a run's state stands for, ∇xF(x,y) - C(x,y) v on all rows, with the
// hypergradient at x, certified at a y*(x) that Newton's method finds from the run's y. v is the state's, and 0 for
// algorithms that leave the implicit term out.
type certifier struct {
	scope          *tensor.Scope
	direct         *tensor.Function
	x, y, d        *tensor.Variable
	lower          *minimize.Minimizer
	hypergradients hypergrad.Estimator
	from           *tensor.Variable // the run's y
}

// certifier compiles the comparison for a run.
func (c Config) certifier(e *engine.Engine) (*certifier, error) {
	entry, err := solvers.AlgorithmByName(c.Algorithm)
	if err != nil {
		return nil, err
	}
	hasV := slices.Contains(e.Names(), "v")
	if !hasV && entry.Principle != solvers.Direct {
		return nil, experiments.Usagef("certificate: the direction of this algorithm cannot be read off its state, "+
			"which is %v: wants one that keeps v, or alternation", e.Names())
	}
	return newCertifier(e, hasV)
}

func newCertifier(e *engine.Engine, hasV bool) (_ *certifier, err error) {
	b := e.Problem()
	c := &certifier{scope: e.Executor().Scope(), from: e.Variable("y")}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	c.x, c.d = e.Variable("x"), c.scope.Variable("direction", tensor.Real, b.Upper.Start.Size())
	at := func(side problem.Side) *problem.Point {
		return b.Oracle().At(side, c.x.Node(), c.from.Node(), b.All(side), params.Eval, nil)
	}
	c.direct = c.scope.Compile("direction", func() []tensor.Update {
		d := at(problem.Upper).GradX()
		if hasV {
			d = d.Sub(at(problem.Lower).Cross(e.Variable("v").Node()))
		}
		return []tensor.Update{{Var: c.d, Value: d}}
	})
	if err := c.scope.Err(); err != nil {
		return nil, err
	}
	roundoff := e.Executor().Info().UnitRoundoff()
	c.lower, err = minimize.Newton{Tol: 8 * roundoff, MaxSteps: 50}.PrepareRows(minimize.RowsObjective{
		Bound: b, Rows: measuredRows,
		Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
			return b.Oracle().At(problem.Lower, c.x.Node(), y, rows, params.Eval, nil).Value()
		},
	})
	if err != nil {
		return nil, err
	}
	c.scope.Own(c.lower.Close)
	c.y = c.lower.Y()
	c.hypergradients, err = hypergrad.Implicit{
		Solver: linear.CG{RTol: max(1e-6, 100*roundoff), MaxSteps: 1000, FromZero: true}, Rows: measuredRows,
	}.Prepare(b, c.x, c.y)
	if err != nil {
		return nil, err
	}
	c.scope.Own(c.hypergradients.Close)
	return c, nil
}

// look is the numbers of a Direction where the run stands, or none of them where this point is not wanted.
func (c *certifier) look(ctx context.Context, wanted bool) ([]float64, error) {
	if !wanted {
		return experiments.NoDirection(), nil
	}
	if err := errors.Join(c.y.CopyFrom(c.from), c.direct.Run(1)); err != nil {
		return nil, err
	}
	if _, err := c.lower.Run(ctx); err != nil {
		return nil, err
	}
	h, err := c.hypergradients.Compute(ctx)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	d, err := c.d.Read()
	return experiments.NewDirection(h, d).Row(), err
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
