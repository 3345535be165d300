// Package linear solves A v = b for a symmetric A that is known by its products, as the Hessian of a lower-level
// objective is: conjugate gradients (CG) and the Neumann series.
//
// A solver is a value with named fields. Prepare compiles its programs for one operator; the System it returns solves
// for as many right-hand sides as needed, with all vectors and numbers of the iteration on the device.
package linear

import (
	"context"
	"fmt"
	"math"

	"bilevel/tensor"
)

// Operator builds the product A·v [n] for a node v [n]; A is symmetric. What in it does not depend on v is
// computed once per Solve.
type Operator func(v *tensor.Node) *tensor.Node

// Product is an operator that is not one graph, because it would not fit into memory: a sum over pieces of the data,
// say. Run computes Out = A·In, two different variables [n].
type Product struct {
	In, Out *tensor.Variable
	Run     func(ctx context.Context) error
}

// of computes A·v into Out; it does nothing where there is no product of its own.
func (p *Product) of(ctx context.Context, v *tensor.Variable) error {
	if p == nil {
		return nil
	}
	if err := p.In.CopyFrom(v); err != nil {
		return err
	}
	return p.Run(ctx)
}

// clear is an update for the programs that begin a loop: it makes Out one of the variables that the loop changes, so
// that what is computed from it is not taken for something that stays the same. They read Out before it is cleared.
func (p *Product) clear() []tensor.Update {
	if p == nil {
		return nil
	}
	return []tensor.Update{{Var: p.Out, Value: tensor.Zeros(p.Out.Size())}}
}

// Solver is a way to solve; CG and Neumann are.
type Solver interface {
	// Prepare compiles the solver for an operator on vectors of n elements.
	Prepare(ex *tensor.Executor, a Operator, n int) (System, error)
	// PrepareProduct compiles it for an operator that is computed by programs of its own.
	PrepareProduct(ex *tensor.Executor, a Product) (System, error)
	// String describes the solver with its settings.
	String() string
}

// System is a solver prepared for one operator.
type System interface {
	// RHS is b and Solution is v, both [n]. Solve starts from what Solution holds (CG) and leaves the result there.
	RHS() *tensor.Variable
	Solution() *tensor.Variable
	// Solve solves at the point where the operator's variables stand now.
	Solve(ctx context.Context) (Stats, error)
	Close() error
}

// Stats tells how a solve went.
type Stats struct {
	Status   Status
	Steps    int
	Products int     // operator applications
	Residual float64 // |b - A v|, computed anew at the end (with the damping, where there is one)
	RHSNorm  float64 // |b|
	// SmallestEigenvalue is the smallest Ritz value: an upper bound of A's smallest eigenvalue (damping subtracted)
	// that gets tight as the solve converges. NaN where the method gives none.
	SmallestEigenvalue float64
}

// Status is the numerical outcome of a solve.
type Status uint8

const (
	// Converged: the residual is within the tolerance.
	Converged Status = iota
	// MaxSteps: the steps were used up first.
	MaxSteps
	// NegativeCurvature: a direction d with d'A d <= 0 up to round-off was met, so A is not positive definite;
	// Solution holds the last iterate before it.
	NegativeCurvature
	// NotFinite: a NaN or an infinity came up.
	NotFinite
	// Stagnated: round-off keeps the true residual above the tolerance; more steps do not help in this arithmetic.
	Stagnated
	// Diverged: the residual grew instead of shrinking (Neumann).
	Diverged
)

var statusText = [...]struct{ name, advice string }{
	Converged:         {"converged", ""},
	MaxSteps:          {"max steps", "allow more steps, loosen the tolerance, or add damping"},
	NegativeCurvature: {"negative curvature", "the lower objective is not convex here: solve the lower level further, or add damping"},
	NotFinite:         {"not finite", "look for NaN in the data, or steps that are too large"},
	Stagnated:         {"stagnated", "loosen the tolerance, or compute in float64 (--device ref)"},
	Diverged:          {"diverged", "use a step below 2 over the largest eigenvalue; a matrix that is not positive definite needs another method"},
}

func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s].name
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Advice says what to try; it is empty for Converged.
func (s Status) Advice() string {
	if int(s) < len(statusText) {
		return statusText[s].advice
	}
	return ""
}

// isFinite is 1 for a finite number and 0 for NaN and infinities.
func isFinite(n *tensor.Node) *tensor.Node { return n.Sub(n).Eq(tensor.Const(0)) }

// checkTolerance refuses settings that no solve can mean.
func checkTolerance(solver string, rtol, atol float64, steps int) error {
	if !(rtol >= 0) || !(atol >= 0) || math.IsInf(rtol, 0) || math.IsInf(atol, 0) || steps < 1 {
		return fmt.Errorf("linear: %s: tolerances %g and %g with %d steps: wants finite tolerances from 0 on and at least one step", solver, rtol, atol, steps)
	}
	return nil
}
