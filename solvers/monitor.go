package solvers

import (
	"context"
	"errors"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// monitor is the upper objective on all rows, by which the best iterate is kept.
type monitor struct {
	scope *tensor.Scope
	x, y  *tensor.Variable
	state *tensor.Variable
	sum   *tensor.Variable
	sweep *problem.Sweep
}

// monitorRows is the most rows of the upper level that are looked at together.
const monitorRows = 4096

func upperValue(b *problem.Bound) (*monitor, error) {
	sc := b.Executor.Scope()
	m := &monitor{scope: sc, sum: sc.Number("monitor"),
		x: sc.Variable("monitor x", tensor.Real, b.Upper.Start.Size()),
		y: sc.Variable("monitor y", tensor.Real, b.Lower.Start.Size())}
	var state *tensor.Node
	if n := b.State.Size(); n > 0 {
		m.state = sc.Variable("monitor model state", tensor.Real, n)
		state = m.state.Node()
	}
	o := b.Oracle()
	m.sweep = b.NewSweep(sc, "monitor", problem.Upper, monitorRows, func(rows problem.Batch) []problem.Sum {
		return []problem.Sum{{Var: m.sum,
			Value: o.At(problem.Upper, m.x.Node(), m.y.Node(), rows, params.Eval, state).Value().Reshape()}}
	})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return m, nil
}

// value is the upper objective where a run stands. A model with running statistics is evaluated with them.
func (m *monitor) value(p engine.Progress) (float64, error) {
	err := errors.Join(m.x.CopyFrom(p.Engine.Variable("x")), m.y.CopyFrom(p.Engine.Variable("y")))
	if m.state != nil {
		err = errors.Join(err, m.state.CopyFrom(p.Engine.Variable(engine.StateName)))
	}
	if err != nil {
		return 0, err
	}
	if err := m.sweep.Run(context.Background()); err != nil {
		return 0, err
	}
	return m.sum.Number()
}

func (m *monitor) Close() error { return m.scope.Close() }
