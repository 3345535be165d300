package minimize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Minimizer is a deterministic method compiled for one function f: directions of its own, and step lengths by halving
// until the value falls enough (Armijo's rule; Nocedal, Wright, Numerical Optimization, 2nd ed., chapter 3).
type Minimizer struct {
	settings
	ex       *tensor.Executor
	scope    *tensor.Scope
	y, trial *tensor.Variable
	down     *tensor.Variable // -∇f(y)
	along    *tensor.Variable // the direction

	value, norm          *tensor.Variable // f(y) and |∇f(y)|; in a set the length of a projected unit step
	step                 *tensor.Variable
	trialValue, progress *tensor.Variable // f(trial) and ∇f(y)ᵀ(trial - y)
	point, probe         stage
	accept               *tensor.Function

	absolute float64 // the norm of the gradient to end at, where tol does not count; 0: it does

	// direction computes along. Where it cannot, ok is false and the status says why.
	direction func(ctx context.Context, out *Minimum) (status Status, ok bool, err error)
	// first is the step length to begin with in a step of the method, after one that ended at last (0: none yet).
	first func(last float64, out *Minimum) float64
	end   func(out *Minimum) error // what a method does after the last step; nil: nothing
	pairs *linear.Pairs            // of L-BFGS
}

// settings are what all methods have.
type settings struct {
	name     string
	tol      float64 // relative to max(1, |g at the start|)
	maxSteps int
	patience int // steps without a lower value or a clearly smaller gradient after which round-off rules
}

// Minimum tells how a minimization ended.
type Minimum struct {
	Status       Status
	Steps        int // of the method
	Products     int // Hessian-vector products
	Values       int // function values, gradients included
	Towards      int // additional pairs that were looked at, with a gradient of each objective
	Value        float64
	GradientNorm float64 // in a set |y - P(y - ∇f(y))|, which is 0 at a minimizer
}

// stage is what is computed at a point: a program, sums over pieces of rows, and a program that reads them. What it
// does not have is nil.
type stage struct {
	before *tensor.Function
	sums   *problem.Sweep
	after  *tensor.Function
}

func (s stage) run(ctx context.Context) error {
	if s.before != nil {
		if err := s.before.Run(1); err != nil {
			return err
		}
	}
	if s.sums != nil {
		if err := s.sums.Run(ctx); err != nil {
			return err
		}
	}
	if s.after == nil {
		return nil
	}
	return s.after.Run(1)
}

// newMinimizer makes the variables. Methods then set down and along, and call compile.
func newMinimizer(ex *tensor.Executor, s settings, f objective, n int) (*Minimizer, error) {
	switch {
	case ex == nil:
		return nil, fmt.Errorf("minimize: %s: there is no executor (nil)", s.name)
	case f.whole == nil && f.piece == nil:
		return nil, fmt.Errorf("minimize: %s: there is no function to be minimized (nil)", s.name)
	case n < 1:
		return nil, fmt.Errorf("minimize: %s: a function of %d variables: wants at least one", s.name, n)
	}
	sc := ex.Scope()
	m := &Minimizer{settings: s, ex: ex, scope: sc}
	m.y, m.trial = m.vector("y", n), m.vector("trial", n)
	m.value, m.norm, m.step = m.number("value"), m.number("norm"), m.number("step")
	m.trialValue, m.progress = m.number("trial value"), m.number("progress")
	m.first = func(float64, *Minimum) float64 { return 1 }
	return m, nil
}

func (m *Minimizer) vector(name string, n int) *tensor.Variable {
	return m.scope.Variable(m.name+" "+name, tensor.Real, n)
}

func (m *Minimizer) number(name string) *tensor.Variable { return m.scope.Number(m.name + " " + name) }

// compile makes the programs that all methods share; set is nil where y is free, else bound to the executor's device.
// also are updates at a new point.
func (m *Minimizer) compile(f objective, set problem.Set, also ...tensor.Update) (*Minimizer, error) {
	sc, y := m.scope, m.y.Node()
	atPoint := func(g *tensor.Node) []tensor.Update {
		norm := linear.Norm(g)
		if set != nil {
			norm = linear.Norm(set.Project(y.Sub(g), problem.Batch{}).Sub(y))
		}
		return append([]tensor.Update{{Var: m.down, Value: g.Neg()}, {Var: m.norm, Value: norm}}, also...)
	}
	trial := func() *tensor.Node {
		t := y.Add(m.step.Node().Mul(m.along.Node()))
		if set != nil {
			t = set.Project(t, problem.Batch{})
		}
		return t
	}
	atTrial := func(t *tensor.Node) []tensor.Update {
		return []tensor.Update{
			{Var: m.trial, Value: t}, {Var: m.progress, Value: tensor.Dot(m.down.Node(), t.Sub(y)).Neg()},
		}
	}
	if f.whole != nil {
		m.point.after = sc.Compile(m.name+" point", func() []tensor.Update {
			v := f.whole(y)
			return append([]tensor.Update{{Var: m.value, Value: v.Reshape()}}, atPoint(tensor.Grad(v, y)[0])...)
		})
		m.probe.after = sc.Compile(m.name+" probe", func() []tensor.Update {
			t := trial()
			return append(atTrial(t), tensor.Update{Var: m.trialValue, Value: f.whole(t).Reshape()})
		})
	} else {
		g := m.vector("gradient", m.y.Size())
		m.point.sums = f.sweep(sc, m.name+" point", func(rows problem.Batch) []problem.Sum {
			v := f.piece(y, rows)
			return []problem.Sum{{Var: m.value, Value: v.Reshape()}, {Var: g, Value: tensor.Grad(v, y)[0]}}
		})
		m.point.after = sc.Compile(m.name+" gradient", func() []tensor.Update { return atPoint(g.Node()) })
		m.probe.before = sc.Compile(m.name+" trial", func() []tensor.Update { return atTrial(trial()) })
		m.probe.sums = f.sweep(sc, m.name+" probe", func(rows problem.Batch) []problem.Sum {
			return []problem.Sum{{Var: m.trialValue, Value: f.piece(m.trial.Node(), rows).Reshape()}}
		})
	}
	m.accept = sc.Compile(m.name+" accept", func() []tensor.Update {
		return []tensor.Update{{Var: m.y, Value: m.trial.Node()}}
	})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return m, nil
}

// Y is the variable [n] that Run starts from and leaves the minimizer in.
func (m *Minimizer) Y() *tensor.Variable { return m.y }

// Run minimizes from what Y holds, and returns between two steps, or two pieces of rows, when ctx ends. It ends
// Stagnated where round-off keeps value and gradient from falling further: that is convergence to what the arithmetic
// allows.
func (m *Minimizer) Run(ctx context.Context) (Minimum, error) {
	out, err := m.run(ctx)
	if err == nil && m.end != nil {
		err = m.end(&out)
	}
	return out, err
}

// RunTo is Run until |∇f(y)| <= norm, whatever the gradient is at the start.
func (m *Minimizer) RunTo(ctx context.Context, norm float64) (Minimum, error) {
	m.absolute = norm
	defer func() { m.absolute = 0 }()
	return m.Run(ctx)
}

func (m *Minimizer) run(ctx context.Context) (Minimum, error) {
	var out Minimum
	target, best, lowest, stale, last := 0.0, math.Inf(1), math.Inf(1), 0, 0.0
	for {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if err := m.point.run(ctx); err != nil {
			return out, err
		}
		value, err1 := m.value.Number()
		norm, err2 := m.norm.Number()
		if err := cmp.Or(err1, err2); err != nil {
			return out, err
		}
		out.Values++
		out.Value, out.GradientNorm = value, norm
		if out.Steps == 0 {
			target = m.tol * max(1, norm)
			if m.absolute > 0 {
				target = m.absolute
			}
		}
		stale++
		if norm < 0.9*best {
			best, stale = norm, 0
		}
		if value < lowest-m.slack(value) {
			lowest, stale = value, 0
		}
		switch {
		case !(math.Abs(value) <= math.MaxFloat64 && norm <= math.MaxFloat64):
			out.Status = NotFinite
			return out, nil
		case norm <= target:
			out.Status = Converged
			return out, nil
		case stale >= m.patience:
			out.Status = Stagnated
			return out, nil
		case out.Steps >= m.maxSteps:
			out.Status = MaxSteps
			return out, nil
		}
		status, ok, err := m.direction(ctx, &out)
		if err != nil || !ok {
			out.Status = status
			return out, err
		}
		if last, err = m.search(ctx, &out, m.first(last, &out)); err != nil {
			return out, err
		}
		if last == 0 {
			out.Status = Stagnated
			return out, nil
		}
		out.Steps++
	}
}

// search halves the step until the value falls by a small part of what the slope promises, up to round-off in the
// value. It gives the step, 0 where there is none.
func (m *Minimizer) search(ctx context.Context, out *Minimum, step float64) (float64, error) {
	const decrease, halvings = 1e-4, 60
	for range halvings {
		if err := errors.Join(m.step.Write([]float64{step}), m.probe.run(ctx)); err != nil {
			return 0, err
		}
		next, err1 := m.trialValue.Number()
		progress, err2 := m.progress.Number()
		if err := cmp.Or(err1, err2); err != nil {
			return 0, err
		}
		out.Values++
		if progress == 0 { // the step is below the spacing of the arithmetic
			return 0, nil
		}
		if progress < 0 && next <= out.Value+decrease*progress+m.slack(out.Value) {
			return step, m.accept.Run(1)
		}
		step /= 2
	}
	return 0, nil
}

// slack is what round-off may do to a value.
func (m *Minimizer) slack(value float64) float64 {
	info := m.ex.Info()
	return info.SumError(m.y.Size()) * info.UnitRoundoff() * math.Abs(value)
}

// Close frees the programs and vectors.
func (m *Minimizer) Close() error { return m.scope.Close() }
