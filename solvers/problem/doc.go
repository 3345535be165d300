// Package problem holds what every algorithm is told about a bi-level problem:
//
//	min over x of h(x) = F(x, y*(x)),   y*(x) = argmin over y of G(x, y)
//
// x [p] is the upper, y [q] the lower variable. F and G are functions that build graph nodes (package tensor), from
// named variables and a Batch of named rows of data. Beyond the two objectives a problem may have sets and constraints
// on either level, a lower level given by a residual or with a proximal map, many lower levels beside each other
// (BlockPerRow), an upper objective that is maximized over a further variable (Saddle), lower variables that live for
// one batch (PerBatch), and running statistics of a model (State). Problem.Check refuses
// problems that make no sense for any algorithm. An algorithm declares which Features it can use; Problem.Refuse gives
// the reason why it cannot use the others.
//
// Bind puts a problem on a device. Its Oracle builds gradients and products at a point and counts what was asked for:
// with H = ∇²yy G (q×q), C = ∇²xy G (p×q) and H v = ∇yF the hypergradient is ∇h = ∇xF - C v. Papers that write v with
// the other sign are translated.
package problem
