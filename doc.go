// Package bilevel is the root of a module for bi-level optimization in machine learning,
//
//	min over x of F(x, y*(x))   where   y*(x) minimizes G(x, ·),
//
// with x the upper variable, y the lower variable, F the upper and G the lower objective, h(x) = F(x, y*(x)),
// H = ∇²yy G, C = ∇²xy G, and the hypergradient ∇h = ∇xF - C v with H v = ∇yF.
//
// The module is a command (cmd/bilevel) and a set of packages; ARCHITECTURE.md says how they fit together.
package bilevel
