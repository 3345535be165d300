package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// BSGH solves the linear system by conjugate gradients with true Hessians (Giovannelli, Kent, Vicente, arXiv
// 2110.00604, 2021, BSG-H):
//
//	t_k times:  y₊ = y - β_k ∇yG(x,y;ξ),   t_k = ⌈t (k+1)^r⌉
//	then:       v  by N steps of CG from 0 on ∇²yyG(x,y;ξ) v = ∇yF(x,y;ζ)
//	            x₊ = P_X(x - α_k (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v))
//
// One pair of minibatches serves all but the inner steps, so that v is biased. The loop grows as in BSG1. It needs a
// smooth lower level that is strongly convex in y; the paper's constraints of the lower level are not here. The state
// is x, y and v, which is kept for inspection. Running statistics move with the inner steps. An iteration costs t_k
// gradients of G, one of F, N products with H and one with C.
type BSGH struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	InnerSteps    int             `json:"inner_steps"`    // t; 0: 1
	InnerExponent float64         `json:"inner_exponent"` // r; 0: 1/2, -1: exactly 0
	CGSteps       int             `json:"cg_steps"`       // N; 0: 10
	Schedule      engine.Schedule `json:"schedule"`       // of α and β
}

func (BSGH) Name() string { return "bsg-h" }

func (BSGH) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, Why: solvesWhy}
}

func (a BSGH) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	loop := growingLoop{a.Step, a.OuterStep, a.InnerSteps, a.InnerExponent, a.Schedule}
	return loop.implicit("bsg-h", b, r, a.CGSteps)
}

func (a BSGH) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.InnerExponent = cmp.Or(a.InnerSteps, 1), cmp.Or(a.InnerExponent, 0.5)
	a.CGSteps = cmp.Or(a.CGSteps, 10)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
