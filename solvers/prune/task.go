package prune

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Loss is a network's loss on a batch as a function of the parameters z [q] that it computes with.
type Loss func(z *tensor.Node, b problem.Batch, p problem.Pass) problem.Loss

// Level is one level's data and loss.
type Level struct {
	Loss    Loss
	Rows    problem.Rows
	Sampler problem.Sampler
}

// Task is a network to be pruned. The lower level trains weights, the upper one judges masks; both may have the same
// loss and rows.
type Task struct {
	Name         string
	Structure    Structure
	Lower, Upper Level
	State        params.Values // running statistics to start with
}

// Bind makes the bi-level problem with x the mask m [q], which starts at mask, and y the weights θ, which start at
// theta: both objectives are losses of z = x ⊙ y. Weight decay belongs to the methods and is not part of it. Vectors of
// another size than the network's are refused.
func (t Task) Bind(ex *tensor.Executor, theta, mask []float64) (*problem.Bound, error) {
	layout := t.Structure.Params
	if q := layout.Size(); len(theta) != q || len(mask) != q {
		return nil, fmt.Errorf("%s: %d weights and a mask of %d elements for a network of %d parameters: wants those "+
			"of the same network", t.Name, len(theta), len(mask), q)
	}
	level := func(l Level, start []float64) problem.Level {
		return problem.Level{
			Start: params.Values{Layout: layout, Flat: start}, Rows: l.Rows, Sampler: l.Sampler,
			Loss: func(x, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				return l.Loss(x.Flat().Mul(y.Flat()), b, p)
			},
		}
	}
	p := &problem.Problem{Name: t.Name, Upper: level(t.Upper, mask), Lower: level(t.Lower, theta), State: t.State}
	return p.Bind(ex)
}

// Ones is a mask that keeps everything.
func (t Task) Ones() []float64 {
	m := make([]float64, t.Structure.Params.Size())
	for i := range m {
		m[i] = 1
	}
	return m
}

// ones is the mask of all ones as a node. A point at (ones, z) is the loss as a function of z itself.
func ones(n int) *tensor.Node { return tensor.Full(1, n) }

func joined(errs ...error) error { return errors.Join(errs...) }

// values computes vectors on a device once: build gives the nodes, and what it returns are their numbers.
func values(ctx context.Context, ex *tensor.Executor, name string, build func() []*tensor.Node) (
	list [][]float64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sc := ex.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	var out []*tensor.Variable
	f := sc.Compile(name, func() (updates []tensor.Update) {
		for _, n := range build() {
			v := sc.Variable(name, tensor.Real, n.Shape()...)
			out = append(out, v)
			updates = append(updates, tensor.Update{Var: v, Value: n})
		}
		return updates
	})
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if err := f.Run(1); err != nil {
		return nil, err
	}
	for _, v := range out {
		a, err := v.Read()
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// positive refuses a number that is not positive and finite.
func positive(method, field string, v float64) error {
	if !(v > 0) || math.IsInf(v, 0) {
		return fmt.Errorf("%s: %s is %g: wants a positive, finite number", method, field, v)
	}
	return nil
}

// notNegative refuses a number that is below 0 or not finite.
func notNegative(method, field string, v float64) error {
	if !(v >= 0) || math.IsInf(v, 0) {
		return fmt.Errorf("%s: %s is %g: wants a finite number from 0 on", method, field, v)
	}
	return nil
}

// fraction refuses a number outside [0, 1).
func fraction(method, field string, v float64) error {
	if !(v >= 0 && v < 1) {
		return fmt.Errorf("%s: %s is %g: wants a number from 0 to below 1", method, field, v)
	}
	return nil
}
