// Package tensor is the expression graph of the project: building, differentiating, compiling and running it.
//
// # Nodes
//
// A Node is an immutable value of a known shape and type, built by methods and functions that read like the formula:
//
//	h := x.MatMul(w).Add(b).Relu()
//	loss := tensor.CrossEntropy(h, labels).Mean()
//	g := tensor.Grad(loss, w)[0]
//
// There is no graph object: a graph is what can be reached from a node. Arrays are row-major; a shape of no
// dimensions is a scalar. Elementwise operations broadcast as NumPy does: shapes are aligned at their last axes and an
// axis of length 1 repeats.
//
// # Derivatives
//
// Grad (reverse mode), JVP (forward mode) and Linearize build more nodes of the same kind, so they compose to any
// order. Rules.go holds one row per operation, fnrules.go one row per elementwise function; the piecewise rules are
// relu'(0) = 0, abs'(0) = 0, sqrt'(0) = 0 (so that the norm's derivative at 0 is 0), clamp' = 1 strictly inside, and
// ties of maximum and arg-max take the first.
//
// # State and execution
//
// An Executor owns a device. State lives in its Variables; a Function is a set of updates Variable ← Node, compiled
// once by small passes (fold, cse, scatter, fuse, epilogue, plan) into a device.Program. Within one run every read of
// a variable sees the value it had before the run. Inputs are variables that the host writes, outputs variables that
// it reads.
//
// # Errors
//
// Wrong shapes while building are the caller's bug: they panic with a *BuildError that names the operation, the
// shapes and the caller's line. Compile runs the building function and returns that panic as an error.
package tensor
