package minimize

import (
	"cmp"
	"context"
	"errors"
	"fmt"

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
}

// leastCurvature is the least sᵀd/(|s||d|) of a pair that is remembered.
const leastCurvature = 1e-10

// Prepare compiles the method for f on vectors of n elements.
func (m LBFGS) Prepare(ex *tensor.Executor, f func(y *tensor.Node) *tensor.Node, n int) (*Minimizer, error) {
	return m.prepare(ex, objective{whole: f}, n)
}

// PrepareRows compiles the method for a mean over rows, in pieces.
func (m LBFGS) PrepareRows(o RowsObjective) (*Minimizer, error) {
	f, err := o.objective("L-BFGS")
	if err != nil {
		return nil, err
	}
	return m.prepare(o.Bound.Executor, f, o.Bound.Lower.Start.Size())
}

func (m LBFGS) prepare(ex *tensor.Executor, f objective, n int) (*Minimizer, error) {
	m.Memory = cmp.Or(m.Memory, 10)
	if !(m.Tol >= 0) || m.MaxSteps < 1 || m.Memory < 1 {
		return nil, fmt.Errorf("minimize: L-BFGS: tolerance %g, %d steps, a memory of %d: wants a tolerance from 0 "+
			"on, at least one step and one pair",
			m.Tol, m.MaxSteps, m.Memory)
	}
	s := newMinimizer(ex, settings{"l-bfgs", m.Tol, m.MaxSteps, 10}, n)
	s.down, s.along = s.vector("down", n), s.vector("direction", n)
	h := newHistory(s, m.Memory, n)
	s.direction = func(_ context.Context, out *Minimum) (Status, bool, error) {
		return 0, true, h.update(out.Steps == 0)
	}
	return s.compile(f, nil)
}

// history is the pairs on the device, newest last. Places without a pair have weight 0, so that one program serves.
type history struct {
	s                       *Minimizer
	steps, changes          *tensor.Variable // [memory, n]
	weights                 *tensor.Variable // [memory]: 1/(sᵀd), 0 where there is no pair
	scale                   *tensor.Variable // γ of the first estimate γI of the inverse Hessian
	y, down                 *tensor.Variable // at the last point
	figures                 *tensor.Variable // sᵀd, |s|, |d|
	begin, pair, push, next *tensor.Function
}

func newHistory(s *Minimizer, memory, n int) *history {
	sc := s.scope
	h := &history{
		s: s, steps: sc.Variable("l-bfgs steps", tensor.Real, memory, n),
		changes: sc.Variable("l-bfgs changes", tensor.Real, memory, n),
		weights: s.vector("weights", memory), scale: s.number("scale"), figures: s.vector("figures", 3),
		y: s.vector("last y", n), down: s.vector("last down", n),
	}
	step := func() *tensor.Node { return s.y.Node().Sub(h.y.Node()) }
	change := func() *tensor.Node { return h.down.Node().Sub(s.down.Node()) }
	h.begin = sc.Compile("l-bfgs begin", func() []tensor.Update {
		return []tensor.Update{
			{Var: h.steps, Value: tensor.Zeros(memory, n)}, {Var: h.changes, Value: tensor.Zeros(memory, n)},
			{Var: h.weights, Value: tensor.Zeros(memory)}, {Var: h.scale, Value: tensor.Const(1).Div(s.norm.Node())},
		}
	})
	h.pair = sc.Compile("l-bfgs pair", func() []tensor.Update {
		d, c := step(), change()
		return []tensor.Update{{Var: h.figures,
			Value: tensor.Concat(0, tensor.Dot(d, c).Reshape(1), d.Norm().Reshape(1), c.Norm().Reshape(1))}}
	})
	h.push = sc.Compile("l-bfgs push", func() []tensor.Update {
		d, c, sd := step(), change(), h.figures.Node().Slice(0, 0, 1)
		shift := func(v *tensor.Variable, row *tensor.Node) tensor.Update {
			return tensor.Update{Var: v, Value: tensor.Concat(0, v.Node().Slice(0, 1, memory), row)}
		}
		return []tensor.Update{
			shift(h.steps, d.Reshape(1, n)), shift(h.changes, c.Reshape(1, n)),
			shift(h.weights, tensor.Const(1).Div(sd)),
			{Var: h.scale, Value: sd.Reshape().Div(tensor.Dot(c, c))},
		}
	})
	h.next = sc.Compile("l-bfgs direction", func() []tensor.Update {
		row := func(v *tensor.Variable, i int) *tensor.Node { return v.Node().Slice(0, i, i+1).Flatten() }
		weight := func(i int) *tensor.Node { return h.weights.Node().Slice(0, i, i+1).Reshape() }
		q, alpha := s.down.Node(), make([]*tensor.Node, memory)
		for i := memory - 1; i >= 0; i-- {
			alpha[i] = weight(i).Mul(tensor.Dot(row(h.steps, i), q))
			q = q.Sub(row(h.changes, i).Mul(alpha[i]))
		}
		q = q.Mul(h.scale.Node())
		for i := range memory {
			beta := weight(i).Mul(tensor.Dot(row(h.changes, i), q))
			q = q.Add(row(h.steps, i).Mul(alpha[i].Sub(beta)))
		}
		return []tensor.Update{{Var: s.along, Value: q}, {Var: h.y, Value: s.y.Node()},
			{Var: h.down, Value: s.down.Node()}}
	})
	return h
}

// update takes in the pair of the last step, where there was one, and computes the direction.
func (h *history) update(first bool) error {
	if first {
		return errors.Join(h.begin.Run(1), h.next.Run(1))
	}
	if err := h.pair.Run(1); err != nil {
		return err
	}
	f, err := h.figures.Read()
	if err != nil {
		return err
	}
	if f[0] > leastCurvature*f[1]*f[2] {
		if err := h.push.Run(1); err != nil {
			return err
		}
	}
	return h.next.Run(1)
}
