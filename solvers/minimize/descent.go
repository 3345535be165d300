package minimize

import (
	"context"
	"fmt"
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// GradientDescent minimizes a smooth function on all its data, with step lengths by backtracking: each step tries twice
// the last one's length and halves it until the value falls enough. In a set it takes projected steps (Bertsekas,
// Nonlinear Programming, 2nd ed., section 2.3, Armijo's rule along the projection arc).
type GradientDescent struct {
	Tol      float64     `json:"tol"`       // stop at |g| <= Tol · max(1, |g at the start|)
	MaxSteps int         `json:"max_steps"` // steps
	Step     float64     `json:"step"`      // length of the first one; 0: 1/|g at the start|
	Set      problem.Set `json:"-"`         // of y, as Bound.Set gives it; nil: y is free
}

// Prepare compiles the method for f on vectors of n elements.
func (m GradientDescent) Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*Minimizer, error) {
	return m.prepare(ex, wholly(f), n)
}

// PrepareRows compiles the method for a mean over rows, in pieces.
func (m GradientDescent) PrepareRows(o RowsObjective) (*Minimizer, error) {
	f, err := o.objective("gradient descent")
	if err != nil {
		return nil, err
	}
	return m.prepare(o.Bound.Executor, f, o.Bound.Lower.Start.Size())
}

func (m GradientDescent) prepare(ex *tensor.Executor, f objective, n int) (*Minimizer, error) {
	if !(m.Tol >= 0) || m.MaxSteps < 1 || !(m.Step >= 0) || math.IsInf(m.Step, 0) {
		return nil, fmt.Errorf("minimize: gradient descent: tolerance %g, %d steps of %g: wants a tolerance from 0 "+
			"on, at least one step and a finite length",
			m.Tol, m.MaxSteps, m.Step)
	}
	s, err := newMinimizer(ex, settings{"gradient descent", m.Tol, m.MaxSteps, 200}, f, n)
	if err != nil {
		return nil, err
	}
	s.down = s.vector("direction", n)
	s.along = s.down
	s.direction = func(context.Context, *Minimum) (Status, bool, error) { return 0, true, nil }
	s.first = func(last float64, out *Minimum) float64 {
		switch {
		case last == 0 && m.Step > 0:
			return m.Step
		case last == 0:
			return 1 / out.GradientNorm
		case last*out.GradientNorm*out.GradientNorm < 100*s.slack(out.Value): // values cannot tell steps apart any more
			return last
		}
		return 2 * last
	}
	return s.compile(f, m.Set)
}
