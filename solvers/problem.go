package solvers

import (
	"fmt"
	"math"

	"bilevel/tensor"
)

// Batch is the rows of a level's data that an objective sees: a minibatch, or all rows in order.
type Batch struct {
	Index *tensor.Node // Int [Rows]; nil means all rows
	Rows  int
}

// Of picks the batch's rows from an array [n, …].
func (b Batch) Of(table *tensor.Node) *tensor.Node {
	if b.Index == nil {
		return table
	}
	return tensor.Gather(table, b.Index)
}

// Objective builds a scalar: the mean over the batch of a loss, plus whatever does not depend on data.
// For the minibatch gradients to be unbiased it must be linear in the mean over rows.
type Objective func(x, y *tensor.Node, b Batch) *tensor.Node

// Sampler gives the minibatches of a level: Fill draws the rows of iterations step, step+1, … into dst [k, size], each a
// function of its number alone, so that a run can be resumed anywhere.
type Sampler interface {
	Fill(dst []int32, step uint32) error
}

// Level is one of the two objectives with its data.
type Level struct {
	Value Objective
	Rows  int     // of data; 0 where the objective has no rows and is deterministic
	Batch Sampler // nil: the algorithm always sees all rows
	Size  int     // rows per minibatch
}

// Problem is a bi-level problem. Its objectives read data from variables of the executor it is solved on.
type Problem struct {
	Name         string
	Upper, Lower Level
	X0, Y0       []float64 // start values
	XSet         Set       // constraint on x, nil where there is none

	// Declared structure. Zero values mean "not known".
	Mu        float64    // G(x, ·) is strongly convex with this modulus for all x
	Constants *Constants // what an error bound needs beside Mu
}

// Constants are bounds that hold wherever the hypergradient is asked for: Lipschitz constants in y of ∇xF, ∇yF, C and
// H, and the norm of C (methods: error bound of the implicit hypergradient, Ghadimi and Wang 2018, lemma 2.2).
type Constants struct {
	GradXF, GradYF, Cross, Hessian float64 // L_Fx, L_Fy, L_C, L_H
	CrossNorm                      float64 // ‖C‖
}

// Set is a closed convex set with a projection.
type Set interface {
	Project(x *tensor.Node) *tensor.Node
	Contains(x []float64) bool
	String() string
}

// Box is {x : Lo <= x_i <= Hi}.
type Box struct{ Lo, Hi float64 }

func (b Box) Project(x *tensor.Node) *tensor.Node {
	return x.Max(tensor.Const(b.Lo)).Min(tensor.Const(b.Hi))
}

func (b Box) Contains(x []float64) bool {
	for _, v := range x {
		if !(v >= b.Lo && v <= b.Hi) {
			return false
		}
	}
	return true
}

func (b Box) String() string { return fmt.Sprintf("box [%g, %g]", b.Lo, b.Hi) }

// Check refuses problems that no algorithm can mean.
func (p *Problem) Check() error {
	for _, l := range []struct {
		name string
		of   *Level
	}{{"upper", &p.Upper}, {"lower", &p.Lower}} {
		switch {
		case l.of.Value == nil:
			return fmt.Errorf("solvers: problem %s has no %s objective", p.Name, l.name)
		case l.of.Rows < 0 || l.of.Size < 0 || l.of.Batch != nil && (l.of.Rows == 0 || l.of.Size == 0):
			return fmt.Errorf("solvers: problem %s: the %s level draws minibatches of %d from %d rows", p.Name, l.name, l.of.Size, l.of.Rows)
		}
	}
	if len(p.X0) == 0 || len(p.Y0) == 0 {
		return fmt.Errorf("solvers: problem %s has %d upper and %d lower start values", p.Name, len(p.X0), len(p.Y0))
	}
	for _, s := range [2][]float64{p.X0, p.Y0} {
		for i, v := range s {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("solvers: problem %s: start value %d is %g", p.Name, i, v)
			}
		}
	}
	if p.XSet != nil && !p.XSet.Contains(p.X0) {
		return fmt.Errorf("solvers: problem %s starts outside its %s", p.Name, p.XSet)
	}
	return nil
}

// refuseSet is for algorithms whose steps take x out of any set.
func refuseSet(algorithm string, p *Problem) error {
	if p.XSet == nil {
		return nil
	}
	return fmt.Errorf("%s: the problem keeps x in a %s, but the analysis and the steps of %s need x unconstrained", algorithm, p.XSet, algorithm)
}

// positive says whether all numbers are positive and finite.
func positive(values ...float64) bool {
	for _, v := range values {
		if !(v > 0) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}
