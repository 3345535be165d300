package problem

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// Vars are a level's variables as nodes by name, x["decay"]; Values are their numbers. See package params.
type (
	Vars   = params.Vars
	Values = params.Values
	Mode   = params.Mode
)

// Vector is a vector without names, a start value of a small problem.
func Vector(values ...float64) Values { return params.Vector(values...) }

// Problem is a bi-level problem. It says nothing about how it is solved.
type Problem struct {
	Name         string
	Upper, Lower Level
	// State is the start value of what a model carries besides its parameters, such as the running statistics of batch
	// normalization. Both levels' objectives may read it; objectives given as Loss may move it.
	State Values

	PerBatch *PerBatch // a lower variable that is made anew for every batch; nil: one that lasts

	// Declared structure. Zero values mean "not known".

	// WeightPerRow says that x has an entry for each row of the lower level, and that the loss of row i depends on x
	// through x_i alone, as weights of rows do. C v of a minibatch of different rows is then zero outside their
	// entries.
	WeightPerRow bool

	// BlockPerRow says that y is made of blocks, one for each row of both levels, and that the loss of row i depends on
	// y through block i alone: many lower levels, y_i for G_i, one beside the other. Each array of y then has the rows
	// as its first dimension, a vector without names has the blocks one after the other, and so has the variable of a
	// Saddle. An objective picks the blocks of its minibatch as it picks rows, b.Of(y["w"]). The Hessian of G is zero
	// outside the blocks, so that an algorithm may draw blocks and leave the others as they are.
	BlockPerRow bool

	Mu        float64    // G(x, ·) is strongly convex with this modulus for all x
	Constants *Constants // what an error bound needs beside Mu
	MinMin    bool       // F and G are one function, so that h(x) = min over y of G(x, y)
}

// Level is one of the two objectives with its variable and its data.
type Level struct {
	// Start is the start value of the level's own variable (x of the upper, y of the lower level), with its names.
	Start Values

	// Exactly one of the following five is set. Value, Composite and Loss are minimized; only a lower level may be a
	// Residual, and only an upper one a Saddle.
	Value     Function   // a scalar to be minimized
	Composite *Composite // a Value given by its parts
	Loss      Objective
	Residual  Function // [q]: y*(x) is its root, Residual(x, y*(x)) = 0
	Saddle    *Saddle  // a scalar that is maximized over a further variable beside

	// Prox, on a lower level, is the proximal map of a term r that is added to Value and need not be smooth:
	// Prox(x, z, s) = argmin over u of r(x, u) + |u - z|²/(2s). It must be one node for each of z's elements.
	Prox func(x Vars, z, step *tensor.Node) *tensor.Node
	// Set holds the level's own variable; nil: all of space.
	Set Set
	// Inequality <= 0 and Equality = 0 are constraints of the level, vectors of any length.
	Inequality, Equality Function

	Rows    Rows    // data by name; empty where the objective has no rows and is deterministic
	Sampler Sampler // of minibatches; nil: the algorithm always sees all rows
}

// Function builds a node from both levels' variables and a batch of the level's rows. As an objective it is a scalar:
// the mean over the batch of a loss, plus whatever does not depend on data. For gradients of minibatches to be unbiased
// it must be linear in the mean over rows.
type Function func(x, y Vars, b Batch) *tensor.Node

// Objective is a Function that sees the mode and the running statistics, and may give their next values.
type Objective func(x, y Vars, b Batch, p Pass) Loss

// Pass says how an objective is evaluated.
type Pass struct {
	Mode  Mode
	State Vars // running statistics; Flat() is nil for a problem without
}

// Loss is what an Objective builds.
type Loss struct {
	Value *tensor.Node // scalar
	State *tensor.Node // the next running statistics as a flat vector; nil: unchanged
}

// Flat makes a Function of one that takes both levels' variables as flat vectors, for problems without names.
func Flat(f func(x, y *tensor.Node, b Batch) *tensor.Node) Function {
	return func(x, y Vars, b Batch) *tensor.Node { return f(x.Flat(), y.Flat(), b) }
}

// Constants are bounds that hold wherever the hypergradient is asked for: Lipschitz constants in y of ∇xF, ∇yF, C and
// H, and the norm of C (error bound of the implicit hypergradient, Ghadimi and Wang 2018, lemma 2.2).
type Constants struct {
	GradXF, GradYF, Cross, Hessian float64 // L_Fx, L_Fy, L_C, L_H
	CrossNorm                      float64 // ‖C‖
}

// PerBatch is a lower variable that lives for one batch: a perturbation per image, say. Size is the number of its
// elements in a batch of so many rows; Start builds its start value, from x and random numbers where it wants them.
type PerBatch struct {
	Size  func(rows int) int
	Start func(x Vars, b Batch, r *Random) *tensor.Node
}

// Side names a level.
type Side uint8

const (
	Lower Side = iota
	Upper
)

func (s Side) String() string { return [...]string{"lower", "upper"}[s] }

// Level is the level of a side.
func (p *Problem) Level(s Side) *Level {
	if s == Lower {
		return &p.Lower
	}
	return &p.Upper
}
