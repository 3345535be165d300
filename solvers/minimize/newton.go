package minimize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// Newton minimizes a smooth, strongly convex function on all its data: directions by truncated conjugate gradients,
// H p = -g to a relative residual of Forcing, step lengths by halving until the value falls enough (Nocedal, Wright,
// Numerical Optimization, 2nd ed., algorithm 7.1). It solves lower levels and baselines to convergence.
type Newton struct {
	Tol      float64 // stop at |g| <= Tol · max(1, |g at the start|)
	MaxSteps int     // Newton steps
	Forcing  float64 // 0: 0.01
	CGSteps  int     // products per step; 0: CG's own default
}

// Minimizer is Newton's method compiled for one function.
type Minimizer struct {
	Newton
	ex                       *tensor.Executor
	scope                    *tensor.Scope
	y, trial                 *tensor.Variable
	value, slope, norm, step *tensor.Variable
	trialValue               *tensor.Variable
	system                   linear.System
	point, direction, probe  *tensor.Function
	accept                   *tensor.Function
}

// Minimum tells how a minimization ended.
type Minimum struct {
	Status       Status
	Steps        int // of the method
	Products     int // Hessian-vector products
	Values       int // function values, gradients included
	Value        float64
	GradientNorm float64
}

// Prepare compiles the method for f on vectors of n elements.
func (m Newton) Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*Minimizer, error) {
	if m.Forcing == 0 {
		m.Forcing = 0.01
	}
	if !(m.Tol >= 0) || m.MaxSteps < 1 || !(m.Forcing > 0 && m.Forcing < 1) {
		return nil, fmt.Errorf("minimize: Newton: tolerance %g, %d steps, forcing %g: wants a tolerance from 0 on, at least one step, and a forcing between 0 and 1",
			m.Tol, m.MaxSteps, m.Forcing)
	}
	sc := ex.Scope()
	s := &Minimizer{Newton: m, ex: ex, scope: sc}
	s.y, s.trial = sc.Variable("newton y", tensor.Real, n), sc.Variable("newton trial", tensor.Real, n)
	number := func(name string) *tensor.Variable { return sc.Number("newton " + name) }
	s.value, s.slope, s.norm, s.step, s.trialValue = number("value"), number("slope"), number("norm"), number("step"), number("trial value")
	y := s.y.Node()
	var err error
	s.system, err = linear.CG{RTol: m.Forcing, MaxSteps: m.CGSteps, FromZero: true, Trust: true}.Prepare(ex, func(v *tensor.Node) *tensor.Node {
		return tensor.HVP(f(y), []*tensor.Node{y}, []*tensor.Node{v})[0]
	}, n)
	if err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	sc.Own(s.system.Close)
	b, p := s.system.RHS(), s.system.Solution()
	s.point = sc.Compile("newton point", func() []tensor.Update {
		v := f(y)
		g := tensor.Grad(v, y)[0]
		return []tensor.Update{{Var: s.value, Value: v}, {Var: b, Value: g.Neg()}, {Var: s.norm, Value: g.Norm()}, {Var: p, Value: tensor.Zeros(n)}}
	})
	s.direction = sc.Compile("newton slope", func() []tensor.Update {
		return []tensor.Update{{Var: s.slope, Value: tensor.Dot(b.Node(), p.Node()).Neg()}}
	})
	s.probe = sc.Compile("newton probe", func() []tensor.Update {
		t := y.Add(s.step.Node().Mul(p.Node()))
		return []tensor.Update{{Var: s.trial, Value: t}, {Var: s.trialValue, Value: f(t)}}
	})
	s.accept = sc.Compile("newton accept", func() []tensor.Update { return []tensor.Update{{Var: s.y, Value: s.trial.Node()}} })
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return s, nil
}

// Y is the variable [n] that Run starts from and leaves the minimizer in.
func (s *Minimizer) Y() *tensor.Variable { return s.y }

// Run minimizes from what Y holds. It ends Stagnated where round-off keeps value and gradient from falling further:
// that is convergence to what the arithmetic allows.
func (s *Minimizer) Run(ctx context.Context) (Minimum, error) {
	var out Minimum
	target, best, lowest, stale := 0.0, math.Inf(1), math.Inf(1), 0
	for {
		if err := s.point.Run(1); err != nil {
			return out, err
		}
		value, err1 := s.value.Number()
		norm, err2 := s.norm.Number()
		if err := cmp.Or(err1, err2); err != nil {
			return out, err
		}
		out.Values++
		out.Value, out.GradientNorm = value, norm
		if out.Steps == 0 {
			target = s.Tol * max(1, norm)
		}
		stale++
		if norm < 0.9*best {
			best, stale = norm, 0
		}
		if value < lowest-s.slack(value) {
			lowest, stale = value, 0
		}
		switch {
		case !(math.Abs(value) <= math.MaxFloat64 && norm <= math.MaxFloat64):
			out.Status = NotFinite
			return out, nil
		case norm <= target:
			out.Status = Converged
			return out, nil
		case stale >= 3:
			out.Status = Stagnated
			return out, nil
		case out.Steps >= s.MaxSteps:
			out.Status = MaxSteps
			return out, nil
		}
		st, err := s.system.Solve(ctx)
		out.Products += st.Products
		if err != nil {
			return out, err
		}
		switch {
		case st.Status == linear.NotFinite:
			out.Status = NotFinite
			return out, nil
		case st.Status == linear.NegativeCurvature && st.Steps == 0:
			out.Status = NegativeCurvature
			return out, nil
		}
		moved, err := s.search(&out, value)
		if err != nil {
			return out, err
		}
		if !moved {
			out.Status = Stagnated
			return out, nil
		}
		out.Steps++
	}
}

// search halves the step until the value falls by a small part of what the slope promises, up to round-off in the value.
func (s *Minimizer) search(out *Minimum, value float64) (moved bool, err error) {
	const decrease, halvings = 1e-4, 30
	if err := s.direction.Run(1); err != nil {
		return false, err
	}
	slope, err := s.slope.Number()
	if err != nil || !(slope < 0) {
		return false, err
	}
	step := 1.0
	for range halvings {
		if err := cmp.Or(s.step.Write([]float64{step}), s.probe.Run(1)); err != nil {
			return false, err
		}
		next, err := s.trialValue.Number()
		if err != nil {
			return false, err
		}
		out.Values++
		if next <= value+decrease*step*slope+s.slack(value) {
			return true, s.accept.Run(1)
		}
		step /= 2
	}
	return false, nil
}

// slack is what round-off may do to a value.
func (s *Minimizer) slack(value float64) float64 {
	info := s.ex.Info()
	return info.SumError(s.y.Size()) * info.UnitRoundoff() * math.Abs(value)
}

// Close frees the programs and vectors.
func (s *Minimizer) Close() error { return s.scope.Close() }
