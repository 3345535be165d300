package minimize

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/tensor"
)

// LBFGS minimizes a smooth function on all its data by the limited-memory quasi-Newton method of Broyden, Fletcher,
// Goldfarb and Shanno (Nocedal, Wright, Numerical Optimization, 2nd ed., algorithms 7.4 and 7.5, with the scaling of
// their equation 7.20), with step lengths by halving from 1. Pairs s = y₊ - y, d = g₊ - g with a curvature sᵀd below
// 1e-10 |s||d| are left out, so that directions descend where the function is not convex too.
type LBFGS struct {
	Tol      float64 `json:"tol"`       // stop at |g| <= Tol · max(1, |g at the start|)
	MaxSteps int     `json:"max_steps"` // steps
	Memory   int     `json:"memory"`    // pairs that are remembered; 0: 10
	// Warm begins a run with the pairs of the run before, as a sequence of similar functions allows. What Pairs hold
	// may also be written between two runs; a Scale of 0 says that there are none.
	Warm bool `json:"warm"`
}

// leastCurvature is the least sᵀd/(|s||d|) of a pair that is remembered.
const leastCurvature = 1e-10

// Prepare compiles the method for f on vectors of n elements.
func (m LBFGS) Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*Minimizer, error) {
	return m.prepare(ex, wholly(f), n, nil)
}

// Towards adds pairs in the direction in which the inverse Hessian is wanted: outer problem awareness (OPA; Ramzi,
// Mannel, Bai, Starck, Ciuciu, Moreau, ICLR 2022). After every Every steps, with the current inverse B,
//
//	e = B ∇F(y), scaled to the length of the last step;  the pair is e, ∇f(y + e) - ∇f(y)
//
// which costs one gradient of f and one of F.
type Towards struct {
	F     func(y *tensor.Node) *tensor.Node // the upper objective, a scalar
	Every int                               // 0: 1
}

// PrepareTowards is Prepare with additional pairs.
func (m LBFGS) PrepareTowards(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int, o Towards) (
	*Minimizer, error) {
	o.Every = cmp.Or(o.Every, 1)
	if o.F == nil || o.Every < 1 {
		return nil, fmt.Errorf("minimize: L-BFGS: additional pairs every %d steps: wants an upper objective F and at "+
			"least one step between them", o.Every)
	}
	return m.prepare(ex, wholly(f), n, &o)
}

// PrepareRows compiles the method for a mean over rows, in pieces.
func (m LBFGS) PrepareRows(o RowsObjective) (*Minimizer, error) {
	f, err := o.objective("L-BFGS")
	if err != nil {
		return nil, err
	}
	return m.prepare(o.Bound.Executor, f, o.Bound.Lower.Start.Size(), nil)
}

func (m LBFGS) prepare(ex *tensor.Executor, f objective, n int, o *Towards) (*Minimizer, error) {
	m.Memory = cmp.Or(m.Memory, 10)
	if !(m.Tol >= 0) || m.MaxSteps < 1 || m.Memory < 1 {
		return nil, fmt.Errorf("minimize: L-BFGS: tolerance %g, %d steps, a memory of %d: wants a tolerance from 0 "+
			"on, at least one step and one pair",
			m.Tol, m.MaxSteps, m.Memory)
	}
	s, err := newMinimizer(ex, settings{"l-bfgs", m.Tol, m.MaxSteps, 10}, f, n)
	if err != nil {
		return nil, err
	}
	s.down, s.along = s.vector("down", n), s.vector("direction", n)
	h := newHistory(s, m.Memory, n)
	h.warm = m.Warm
	if o != nil {
		h.compileTowards(f.whole, *o)
	}
	s.pairs = &h.Pairs
	s.direction = func(_ context.Context, out *Minimum) (Status, bool, error) {
		return 0, true, h.update(out)
	}
	s.end = func(out *Minimum) error {
		if out.Steps == 0 {
			return nil
		}
		return h.take()
	}
	return s.compile(f, nil)
}

// history is the pairs on the device, newest last. Places without a pair have weight 0, so that one program serves.
type history struct {
	linear.Pairs
	s                       *Minimizer
	warm                    bool
	y, down                 *tensor.Variable // at the last point
	figures                 *tensor.Variable // sᵀd, |s|, |d|
	begin, pair, push, next *tensor.Function

	// What Towards adds; every is 0 without it.
	every                      int
	toward, change             *tensor.Variable // the additional pair
	aim, tryToward, keepToward *tensor.Function
}

func newHistory(s *Minimizer, memory, n int) *history {
	sc := s.scope
	h := &history{
		Pairs: linear.Pairs{
			Steps:   sc.Variable("l-bfgs steps", tensor.Real, memory, n),
			Changes: sc.Variable("l-bfgs changes", tensor.Real, memory, n),
			Weights: s.vector("weights", memory), Scale: s.number("scale"),
		},
		s: s, figures: s.vector("figures", 3), y: s.vector("last y", n), down: s.vector("last down", n),
	}
	step := func() *tensor.Node { return s.y.Node().Sub(h.y.Node()) }
	change := func() *tensor.Node { return h.down.Node().Sub(s.down.Node()) }
	h.begin = sc.Compile("l-bfgs begin", func() []tensor.Update {
		return []tensor.Update{
			{Var: h.Steps, Value: tensor.Zeros(memory, n)}, {Var: h.Changes, Value: tensor.Zeros(memory, n)},
			{Var: h.Weights, Value: tensor.Zeros(memory)}, {Var: h.Scale, Value: tensor.Const(1).Div(s.norm.Node())},
		}
	})
	h.pair = sc.Compile("l-bfgs pair", func() []tensor.Update {
		d, c := step(), change()
		return []tensor.Update{{Var: h.figures, Value: figures(d, c)}}
	})
	h.push = sc.Compile("l-bfgs push", func() []tensor.Update {
		curvature, size := h.figures.Node().Slice(0, 0, 1).Reshape(), h.figures.Node().Slice(0, 2, 3).Reshape()
		return append(h.shifted(step(), change()),
			tensor.Update{Var: h.Scale, Value: curvature.Div(size).Div(size)}) // size² may be no number
	})
	h.next = sc.Compile("l-bfgs direction", func() []tensor.Update {
		return []tensor.Update{{Var: s.along, Value: h.Apply(s.down.Node())}, {Var: h.y, Value: s.y.Node()},
			{Var: h.down, Value: s.down.Node()}}
	})
	return h
}

// shifted appends a pair whose figures have been computed, and drops the oldest.
func (h *history) shifted(step, change *tensor.Node) []tensor.Update {
	memory, n := h.Weights.Size(), step.Size()
	shift := func(v *tensor.Variable, row *tensor.Node) tensor.Update {
		return tensor.Update{Var: v, Value: tensor.Concat(0, v.Node().Slice(0, 1, memory), row)}
	}
	return []tensor.Update{
		shift(h.Steps, step.Reshape(1, n)), shift(h.Changes, change.Reshape(1, n)),
		shift(h.Weights, tensor.Const(1).Div(h.figures.Node().Slice(0, 0, 1))),
	}
}

// compileTowards compiles the additional pairs.
func (h *history) compileTowards(f func(y *tensor.Node) *tensor.Node, o Towards) {
	sc, n := h.s.scope, h.s.y.Size()
	h.every, h.toward, h.change = o.Every, h.s.vector("toward", n), h.s.vector("toward change", n)
	h.aim = sc.Compile("l-bfgs aim", func() []tensor.Update {
		y := h.s.y.Node()
		e := h.Apply(tensor.Grad(o.F(y), y)[0])
		size := linear.Norm(e)
		length := linear.Norm(y.Sub(h.y.Node())).Div(tensor.Where(tensor.Const(0).Lt(size), size, tensor.Const(1)))
		return []tensor.Update{{Var: h.toward, Value: e.Mul(length)}}
	})
	h.tryToward = sc.Compile("l-bfgs toward", func() []tensor.Update {
		e := h.toward.Node()
		there := h.s.y.Node().Add(e)
		c := tensor.Grad(f(there), there)[0].Add(h.s.down.Node())
		return []tensor.Update{{Var: h.change, Value: c}, {Var: h.figures, Value: figures(e, c)}}
	})
	h.keepToward = sc.Compile("l-bfgs keep toward", func() []tensor.Update {
		return h.shifted(h.toward.Node(), h.change.Node())
	})
}

// figures are those of a pair that decide whether it is kept.
func figures(step, change *tensor.Node) *tensor.Node {
	return tensor.Concat(0, tensor.Dot(step, change).Reshape(1), linear.Norm(step).Reshape(1),
		linear.Norm(change).Reshape(1))
}

// Pairs are what L-BFGS has kept after Run, the last step included: an estimate of the inverse Hessian at the
// minimizer, see linear.LBFGSInverse. They are nil for other methods, and change with the next Run.
func (m *Minimizer) Pairs() *linear.Pairs { return m.pairs }

// update takes in the pair of the last step, where there was one, and computes the direction.
func (h *history) update(out *Minimum) error {
	if out.Steps == 0 {
		if h.warm {
			scale, err := h.Scale.Number()
			if err != nil || scale != 0 {
				return cmp.Or(err, h.next.Run(1))
			}
		}
		return errors.Join(h.begin.Run(1), h.next.Run(1))
	}
	if err := h.take(); err != nil {
		return err
	}
	if h.every > 0 && out.Steps%h.every == 0 {
		out.Values++
		out.Towards++
		if err := h.aim.Run(1); err != nil {
			return err
		}
		if err := h.keep(h.tryToward, h.keepToward); err != nil {
			return err
		}
	}
	return h.next.Run(1)
}

// take takes in the pair of the last step.
func (h *history) take() error { return h.keep(h.pair, h.push) }

// keep computes the figures of a pair, and pushes it where its curvature is positive.
func (h *history) keep(pair, push *tensor.Function) error {
	if err := pair.Run(1); err != nil {
		return err
	}
	f, err := h.figures.Read()
	if err == nil && f[0] > leastCurvature*f[1]*f[2] {
		err = push.Run(1)
	}
	return err
}
