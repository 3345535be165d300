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
// dimensions is a scalar. Elementwise operations broadcast as NumPy does: shapes are aligned at their last axes and
// an axis of length 1 repeats.
//
// Images are [n,h,w,c], the channels of a pixel side by side, and kernels [r,s,c,k]: graph_conv.go has convolutions and
// pools.
//
// # Derivatives
//
// Grad and VJP (reverse mode), JVP (forward mode) and HVP build more nodes of the same kind, so they compose to any
// order. graph_rules.go holds one row per operation, graph_fnrules.go one per elementwise function; the piecewise
// rules are relu'(0) = 0, abs'(0) = 0, sqrt'(0) = 0 (so that the norm's derivative at 0 is 0), clamp' = 1 strictly
// inside, and ties of maximum and arg-max take the first.
//
// # State and execution
//
// An Executor owns a device. State lives in its Variables; a Function is a set of updates Variable ← Node, compiled
// once into a device.Program. Within one run every read of a variable sees the value it had before the run. Inputs
// are variables that the host writes, outputs variables that it reads.
//
// # Files
//
// graph_*.go are the graph and its derivatives; view.go and rewrite.go serve them and the compiler. normalize.go and
// augment.go compose more of it: normalizations, dropout, random crops of images. compile_*.go are the compiler, one
// pass a file, in this order:
//
//	centre         what is known of deviations from a mean, so that batch normalizations take few sums
//	fold           constants, and what changes nothing
//	cse            equal nodes become one
//	sparse         a dense update by a sparse gradient becomes a sparse update
//	masks          views of m ⊙ w become products of views, which matrix products compute (with fuse)
//	layout         copies where strides cannot say what is asked
//	fuse           groups of elementwise operations and reductions (with rematerialize, contract and neighbours)
//	lower          instructions (with express, which writes a group as one expression)
//	plan           where each value lies (with arena; and order, which lists instructions so that less memory serves)
//
// split divides a loop into what is computed once and what is repeated. The longer passes open with an essay: fuse,
// contract, rematerialize, order and plan. The rest runs what was compiled: exec.go, loop.go, variable.go, scope.go.
//
// # Errors
//
// Wrong shapes while building are the caller's bug: they panic with a *BuildError that names the operation, the
// shapes and the caller's line. Compile runs the building function and returns that panic as an error.
package tensor
