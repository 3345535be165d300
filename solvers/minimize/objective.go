package minimize

import (
	"errors"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// RowsObjective is a function of y that is a mean over the rows of a problem's lower level, plus terms that do not
// depend on the rows. The methods compute it, its gradient and its products in pieces of at most Rows rows, so that the
// memory for intermediate values is that of one piece, however many rows there are.
//
// A function that is no such mean must not be given: on pieces of n_1, …, n_k of the n rows the methods compute
// Σ n_i/n · Value(y, piece i).
type RowsObjective struct {
	Bound *problem.Bound
	Rows  int // of a piece; 0: all rows in one
	Value func(y *tensor.Node, rows problem.Batch) *tensor.Node
}

// objective is a function as one graph, or as a mean over rows.
type objective struct {
	whole func(y *tensor.Node) *tensor.Node // nil: in pieces

	bound *problem.Bound
	rows  int
	piece func(y *tensor.Node, rows problem.Batch) *tensor.Node
}

// wholly is a function as one graph, which checkObjective looks at.
func wholly(f func(y *tensor.Node) *tensor.Node) objective {
	if f == nil {
		return objective{}
	}
	return objective{whole: func(y *tensor.Node) *tensor.Node { return given(f(y)) }}
}

// given is the node of an objective, which is there.
func given(value *tensor.Node) *tensor.Node {
	if value == nil {
		tensor.Fail("objective", "the function to be minimized gives no node (nil)")
	}
	return value
}

// objective checks what was given. Where one piece holds all rows, it is one graph.
func (o RowsObjective) objective(method string) (objective, error) {
	switch {
	case o.Bound == nil || o.Value == nil:
		return objective{}, fmt.Errorf("minimize: %s: an objective without a problem or without a value", method)
	case o.Rows < 0:
		return objective{}, fmt.Errorf(
			"minimize: %s: pieces of %d rows: wants at least one, or 0 for all rows together", method, o.Rows,
		)
	}
	all := o.Bound.All(problem.Lower)
	if o.Rows == 0 || all.Rows <= o.Rows {
		return wholly(func(y *tensor.Node) *tensor.Node { return o.Value(y, all) }), nil
	}
	return objective{bound: o.Bound, rows: o.Rows, piece: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
		return given(o.Value(y, rows))
	}}, nil
}

func (f objective) sweep(sc *tensor.Scope, name string, build func(problem.Batch) []problem.Sum) *problem.Sweep {
	return f.bound.NewSweep(sc, name, problem.Lower, f.rows, build)
}

// hessian prepares a solver for H v = b, H the Hessian of f at y. The system belongs to the minimizer's scope.
func (m *Minimizer) hessian(f objective, solver linear.Solver) (system linear.System, err error) {
	n, y := m.y.Size(), m.y.Node()
	product := func(value, v *tensor.Node) *tensor.Node {
		return tensor.HVP(value, []*tensor.Node{y}, []*tensor.Node{v})[0]
	}
	if f.whole != nil {
		hv := func(v *tensor.Node) *tensor.Node { return product(f.whole(y), v) }
		system, err = solver.Prepare(m.ex, linear.Matrix{N: n, Apply: hv})
	} else {
		in, out := m.vector("d", n), m.vector("H d", n)
		sweep := f.sweep(m.scope, m.name+" product", func(rows problem.Batch) []problem.Sum {
			return []problem.Sum{{Var: out, Value: product(f.piece(y, rows), in.Node())}}
		})
		if err = m.scope.Err(); err == nil {
			hv := &linear.Product{In: in, Out: out, Run: sweep.Run}
			system, err = solver.Prepare(m.ex, linear.Matrix{N: n, Product: hv})
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.scope.Close())
	}
	m.scope.Own(system.Close)
	return system, nil
}
