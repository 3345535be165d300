package hypergrad

import (
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// certify is how At solves: loose enough for float32, in pieces that fit into memory.
var certify = Implicit{Solver: linear.CG{RTol: 1e-3, MaxSteps: 200, FromZero: true}, Rows: 4096}

// At is the hypergradient of a problem at (x, y) with its error, on the best device of the machine: what a run ended
// with, certified in one call. OnExecutor does the same where data are on a device already. The linear system is solved
// by conjugate gradients to a relative residual of 1e-3 in at most 200 steps, without damping; for another solver
// prepare an Implicit. Objectives that read running statistics see those of p.State.
func At(ctx context.Context, p *problem.Problem, x, y problem.Values) (*Hypergradient, error) {
	own, err := problem.OpenDevice("auto")
	if err != nil {
		return nil, err
	}
	h, err := OnExecutor(ctx, own.Executor, p, x, y)
	return h, errors.Join(err, own.Close())
}

// OnExecutor is At on an executor of the caller's.
func OnExecutor(ctx context.Context, ex *tensor.Executor, p *problem.Problem, x, y problem.Values) (
	_ *Hypergradient, err error) {
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
	e, err := certify.Prepare(b, xv, yv)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return e.Compute(ctx)
}

// Advice says in one sentence what to do where the hypergradient cannot be trusted; it is empty where it can.
func (h *Hypergradient) Advice() string {
	switch {
	case h.Status != linear.Converged:
		return fmt.Sprintf("The linear system of the hypergradient ended with %q: %s.", h.Status, h.Status.Advice())
	case !(h.Error <= h.Norm()):
		return fmt.Sprintf("The error is larger than the hypergradient itself: solve the lower level further, its "+
			"gradient still has the norm %.3g.", h.Stationarity)
	}
	return ""
}

// String is the certificate in words, with the advice where there is one.
func (h *Hypergradient) String() string {
	about := "about"
	if h.Kind == Bound {
		about = "at most"
	}
	s := fmt.Sprintf("hypergradient of norm %.4g, error %s %.2g (linear residual %.2g, lower-level gradient %.2g, "+
		"implicit term %.0f %% of it)", h.Norm(), about, h.Error, h.Residual, h.Stationarity, 100*h.Share())
	if a := h.Advice(); a != "" {
		s += "\n" + a
	}
	return s
}

// Share is |C v| / |g|: how much of the hypergradient is the implicit term.
func (h *Hypergradient) Share() float64 { return ratio(h.Implicit, h.Norm()) }
