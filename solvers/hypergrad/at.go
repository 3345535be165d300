package hypergrad

import (
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// certify is how At solves: loose enough for float32, and where both levels have minibatches, whose objectives are
// means over rows, in pieces that fit into memory.
var certify = Implicit{Solver: linear.CG{RTol: 1e-3, MaxSteps: 200, FromZero: true}, Rows: 4096}

// At is the hypergradient of a problem at (x, y) with its error, on the best device of the machine: what a run ended
// with, certified in one call. The linear system is solved by conjugate gradients to a relative residual of 1e-3 in at
// most 200 steps, without damping; OnExecutor takes any other method. Where both levels have samplers, rows are looked
// at 4096 at a time, else all together, since an objective that never meets a minibatch need not be a mean over rows.
// Objectives that read running statistics see those of p.State.
func At(ctx context.Context, p *problem.Problem, x, y problem.Values) (*Hypergradient, error) {
	own, err := problem.OpenDevice("auto")
	if err != nil {
		return nil, err
	}
	m := certify
	if p != nil && (p.Lower.Sampler == nil || p.Upper.Sampler == nil) {
		m.Rows = 0
	}
	h, err := OnExecutor(ctx, own.Executor, p, m, x, y)
	return h, errors.Join(err, own.Close())
}

// OnExecutor is At by a method and on an executor of the caller's, where data may be on a device already.
func OnExecutor(ctx context.Context, ex *tensor.Executor, p *problem.Problem, m Method, x, y problem.Values) (
	_ *Hypergradient, err error) {
	if ex == nil || p == nil || m == nil {
		return nil, errors.New("hypergrad: wants an executor, a problem and a method, and one of them is nil")
	}
	if x.Size() != p.Upper.Start.Size() || y.Size() != p.Lower.Start.Size() {
		return nil, fmt.Errorf("hypergrad: the point has %d upper and %d lower variables, the problem %s has %d and %d",
			x.Size(), y.Size(), p.Name, p.Upper.Start.Size(), p.Lower.Start.Size())
	}
	b, err := p.Bind(ex)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	xv, yv := sc.Variable("x", tensor.Real, x.Size()), sc.Variable("y", tensor.Real, y.Size())
	if err := errors.Join(xv.Write(x.Flat), yv.Write(y.Flat)); err != nil {
		return nil, err
	}
	e, err := m.Prepare(b, xv, yv)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return e.Compute(ctx)
}
