// Package solvers holds the bi-level problem, the algorithms that solve it, and the one loop that runs them.
//
//	min over x of h(x) = F(x, y*(x)),   y*(x) = argmin over y of G(x, y)
//
// x [p] is the upper, y [q] the lower variable. With H = ∇²yy G (q×q), C = ∇²xy G (p×q) and H v = ∇yF, the
// hypergradient is ∇h = ∇xF - C v. Papers that write v with the other sign are translated.
//
// An algorithm is a value with named fields (SOBA, …), one file each, named as in its paper. Algorithms lists them.
// Solve runs any of them: it owns limits, cancellation, status, oracle counts and records.
package solvers
