// Package linear solves A v = b for a matrix A that is known by its products with vectors, as the Hessian of a
// lower-level objective is.
//
// A solver is a value with named fields. Prepare compiles its programs for one matrix; the System it returns solves
// for as many right-hand sides as needed, with all vectors and numbers of the iteration on the device.
package linear

import (
	"context"
	"fmt"
	"math"

	"bilevel/internal/outcome"
	"bilevel/tensor"
)

// Matrix is what is known about the matrix A [n, n] of a system. A solver takes what it needs, and its error names what
// is missing. Exactly one of Apply and Product is set.
type Matrix struct {
	N       int
	Apply   Operator // A·v as a graph
	Product *Product // A·v by programs of its own

	// What some solvers want beside products; nil and 0 where it is not known.
	Diagonal  func() *tensor.Node // A's diagonal [n], or what is near it: a preconditioner
	Modulus   float64             // A's smallest eigenvalue is at least so large
	Gradients *Gradients          // of single samples, whose second moment stands for A
	Sampled   *Sampled            // A as a mean over rows
	Pairs     *Pairs              // what a quasi-Newton method learned about A⁻¹
}

// Gradients are Count vectors g_i [n], the gradients of a loss on single samples: At builds the one of number i, an Int
// scalar.
type Gradients struct {
	Count int
	At    func(i *tensor.Node) *tensor.Node
}

// Sampled is A as a mean over Rows rows. Apply builds the product with the mean over the rows at an index Int [size];
// for uniform draws its expected value is A·v.
type Sampled struct {
	Rows  int
	Apply func(v, rows *tensor.Node) *tensor.Node
}

// Randomized is a system whose solves draw random numbers. What a solve draws is a function of the solver's seed and of
// a position, which each solve moves on: a run that is resumed writes the position back and goes on to the same bits.
type Randomized interface {
	System
	Position() uint32
	Seek(position uint32)
}

// Class is a kind of matrices. Each contains the ones before it.
type Class uint8

const (
	Definite  Class = iota // symmetric and positive definite
	Symmetric              // symmetric, perhaps indefinite or singular
	General                // any square matrix
)

func (c Class) String() string {
	return [...]string{"symmetric and positive definite", "symmetric", "square"}[c]
}

// Operator builds the product A·v [n] for a node v [n]. The parts of its graph that do not depend on v are computed
// once per Solve.
type Operator func(v *tensor.Node) *tensor.Node

// Product is an operator that programs of its own compute, for products whose graph would not fit into memory, such as
// sums over pieces of the data. Run computes Out = A·In; In and Out are two different variables [n].
type Product struct {
	In, Out *tensor.Variable
	Run     func(ctx context.Context) error
}

// graph is the product as a part of a loop's graph: built by Apply, or read from where a Product leaves it.
func (m Matrix) graph() Operator {
	if m.Product != nil {
		return func(*tensor.Node) *tensor.Node { return m.Product.Out.Node() }
	}
	return m.Apply
}

// check refuses a matrix whose products are not given, or given twice.
func (m Matrix) check(solver string) error {
	if m.N < 1 || (m.Apply == nil) == (m.Product == nil) {
		return fmt.Errorf("linear: %s: a matrix of size %d: wants at least 1, and one of Apply and Product",
			solver, m.N)
	}
	return nil
}

// apply computes Out = A·v. A nil Product means that the operator is part of the loop; then there is nothing to do.
func (p *Product) apply(ctx context.Context, v *tensor.Variable) error {
	if p == nil {
		return nil
	}
	if err := p.In.CopyFrom(v); err != nil {
		return err
	}
	return p.Run(ctx)
}

// then runs f once Out = A·v is computed.
func (p *Product) then(ctx context.Context, v *tensor.Variable, f interface{ Run(n int) error }) error {
	if err := p.apply(ctx, v); err != nil {
		return err
	}
	return f.Run(1)
}

// clear is an update of Out, carried by the program that starts a loop. Executor.CompileLoop computes once, before the
// loop, whatever depends only on variables that no body updates. Out changes outside of the loop; this update makes it
// a variable that a body updates, so that what is computed from it stays in the loop. The starting program itself
// reads the product and not the zeros, because all reads of a run see the values from before the run.
func (p *Product) clear() []tensor.Update {
	if p == nil {
		return nil
	}
	return []tensor.Update{{Var: p.Out, Value: tensor.Zeros(p.Out.Size())}}
}

// Solver is a method for A v = b with its settings.
type Solver interface {
	// Prepare compiles the solver for a matrix.
	Prepare(ex *tensor.Executor, a Matrix) (System, error)
	// Class is the largest class of matrices for which the method is meant.
	Class() Class
	// String describes the solver with its settings.
	String() string
}

// System is a solver prepared for one matrix.
type System interface {
	// RHS is b and Solution is v, both [n]. Solve leaves its result in Solution; CG also starts from its value.
	RHS() *tensor.Variable
	Solution() *tensor.Variable
	// Solve solves with the matrix at the current values of its variables.
	Solve(ctx context.Context) (Stats, error)
	Close() error
}

// Stats tells how a solve went.
type Stats struct {
	Status   Status
	Steps    int
	Products int     // applications of the matrix
	Residual float64 // |b - (A + Damping·I) v|, computed from v at the end (but see CG.Trust)
	RHSNorm  float64 // |b|
	Damping  float64 // what was used
	// Gradients is the number of gradients of single samples, Samples that of rows drawn or looked at one by one.
	Gradients, Samples int
	// SmallestEigenvalue is the smallest Ritz value, an upper bound of A's smallest eigenvalue (damping subtracted)
	// that gets tight as the solve converges. It is NaN where the method gives none.
	SmallestEigenvalue float64
}

// Status is the numerical outcome of a solve.
type Status uint8

const (
	// Converged: the residual is within the tolerance.
	Converged Status = iota
	// MaxSteps: the largest allowed number of steps was taken before the residual was within the tolerance.
	MaxSteps
	// NegativeCurvature: the solve met a direction d with d'A d <= 0 up to round-off, so A is not positive definite;
	// Solution holds the last iterate before that direction.
	NegativeCurvature
	// NotFinite: a NaN or an infinity turned up in the iteration.
	NotFinite
	// Stagnated: round-off keeps the true residual above the tolerance; more steps do not help in this arithmetic.
	Stagnated
	// Diverged: the residual grew instead of shrinking (Neumann).
	Diverged
	// Approximate: the method does not solve the system to a tolerance, and its residual is above the one that was set.
	Approximate
	// Breakdown: the method would divide by zero, and starting it again from where it stands does not help.
	Breakdown
)

var statusTexts = outcome.Texts{
	Converged: {"converged", ""},
	MaxSteps:  {"max steps", "allow more steps, loosen the tolerance, or add damping"},
	NegativeCurvature: {"negative curvature",
		"the lower objective is not convex here: solve the lower level further, or add damping"},
	NotFinite: {"not finite",
		"use smaller steps, or look in the data for NaN, very large values and labels outside the classes"},
	Stagnated: {"stagnated", "loosen the tolerance, or compute in float64 (--device ref)"},
	Approximate: {"approximate", "this method does not solve the system, its residual tells how far it is off: " +
		"use more terms, or CG"},
	Breakdown: {"breakdown", "the matrix may be singular: add damping, start elsewhere, or use GMRES or MINRES"},
	Diverged: {"diverged", "use a step below 2 over the largest eigenvalue; " +
		"a matrix that is not positive definite needs another method"},
}

func (s Status) String() string { return statusTexts.Name(uint8(s)) }

// Advice says what to try after such an outcome; it is empty for Converged.
func (s Status) Advice() string { return statusTexts.Advice(uint8(s)) }

// Norm is the Euclidean norm of a vector, also where the squares of its elements overflow or vanish: the elements are
// divided by a number of the size of the largest one first, which its derivative does not see.
func Norm(n *tensor.Node) *tensor.Node {
	scale := scaleOf(n).StopGradient()
	return n.Div(scale).Norm().Mul(scale)
}

// isFinite is 1 for a finite number and 0 for NaN and infinities.
func isFinite(n *tensor.Node) *tensor.Node { return n.Sub(n).Eq(tensor.Const(0)) }

// checkTolerance refuses tolerances and numbers of steps that make no sense for any solve, and a relative tolerance
// that the arithmetic cannot reach; 0 asks for what it can.
func checkTolerance(ex *tensor.Executor, solver string, rtol, atol float64, steps int) error {
	if !(rtol >= 0) || !(atol >= 0) || math.IsInf(rtol, 0) || math.IsInf(atol, 0) || steps < 1 {
		return fmt.Errorf("linear: %s: tolerances %g and %g with %d steps: "+
			"wants finite tolerances from 0 on and at least one step", solver, rtol, atol, steps)
	}
	if info := ex.Info(); rtol > 0 && rtol < info.UnitRoundoff() {
		return fmt.Errorf("linear: %s: rtol %g is below %.2g, the round-off of float%d: set a larger one, or 0 for "+
			"the least that it can reach, or compute in float64 (--device ref)", solver, rtol, info.UnitRoundoff(),
			info.RealBits)
	}
	return nil
}
