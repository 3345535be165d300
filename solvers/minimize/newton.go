package minimize

import (
	"cmp"
	"context"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// Newton minimizes a smooth, strongly convex function on all its data: directions by truncated conjugate gradients,
// H p = -g to a relative residual of Forcing, step lengths by halving from 1 (Nocedal, Wright, Numerical Optimization,
// 2nd ed., algorithm 7.1). It solves lower levels and baselines to convergence.
type Newton struct {
	Tol      float64 `json:"tol"`       // stop at |g| <= Tol · max(1, |g at the start|)
	MaxSteps int     `json:"max_steps"` // Newton steps
	Forcing  float64 `json:"forcing"`   // 0: 0.01
	CGSteps  int     `json:"cg_steps"`  // products per step; 0: CG's own default
}

// Prepare compiles the method for f on vectors of n elements.
func (m Newton) Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*Minimizer, error) {
	return m.prepare(ex, wholly(f), n)
}

// PrepareRows compiles the method for a mean over rows, in pieces.
func (m Newton) PrepareRows(o RowsObjective) (*Minimizer, error) {
	f, err := o.objective("Newton")
	if err != nil {
		return nil, err
	}
	return m.prepare(o.Bound.Executor, f, o.Bound.Lower.Start.Size())
}

func (m Newton) prepare(ex *tensor.Executor, f objective, n int) (*Minimizer, error) {
	m.Forcing = cmp.Or(m.Forcing, 0.01)
	if !(m.Tol >= 0) || m.MaxSteps < 1 || !(m.Forcing > 0 && m.Forcing < 1) {
		return nil, fmt.Errorf("minimize: Newton: tolerance %g, %d steps, forcing %g: wants a tolerance from 0 on, "+
			"at least one step, and a forcing between 0 and 1",
			m.Tol, m.MaxSteps, m.Forcing)
	}
	s, err := newMinimizer(ex, settings{"newton", m.Tol, m.MaxSteps, 3}, f, n)
	if err != nil {
		return nil, err
	}
	system, err := s.hessian(f, linear.CG{RTol: m.Forcing, MaxSteps: m.CGSteps, FromZero: true, Trust: true})
	if err != nil {
		return nil, err
	}
	s.down, s.along = system.RHS(), system.Solution()
	s.direction = func(ctx context.Context, out *Minimum) (Status, bool, error) {
		st, err := system.Solve(ctx)
		out.Products += st.Products
		switch {
		case err != nil:
			return 0, false, err
		case st.Status == linear.NotFinite:
			return NotFinite, false, nil
		case st.Status == linear.NegativeCurvature && st.Steps == 0:
			return NegativeCurvature, false, nil
		}
		return 0, true, nil
	}
	return s.compile(f, nil, tensor.Update{Var: s.along, Value: tensor.Zeros(n)})
}
