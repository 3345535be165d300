package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// BA solves the lower level by a loop of gradient steps that grows over the iterations, and the linear system exactly
// (Ghadimi, Wang, arXiv 1802.02246, 2018, "Approximation methods for bilevel programming", algorithm 1):
//
//	t_k times:  y₊ = y - β ∇yG(x,y),   t_k = ⌈t (k+1)^r⌉
//	then:       v  = ∇²yyG(x,y)⁻¹ ∇yF(x,y),   x₊ = P_X(x - α (∇xF(x,y) - ∇²xyG(x,y) v))
//
// The paper has β = 2/(L+μ) and t_k = ⌈(k+1)^¼/2⌉; here t = 1 and r = ¼, and β is at most 1/L where it is chosen. The
// inverse is applied by as many conjugate gradients from 0 as there are lower variables, which is exact but for
// rounding, or by CGSteps of them, as a problem with many variables wants; CG stops where it meets a direction of no
// positive curvature, and v stays. The paper's method is deterministic, for a smooth lower level that is strongly
// convex in y; on minibatches each inner step has a new one, one new pair serves the rest, and v is biased. The state
// is x, y and v, which is kept for inspection. Running statistics move with the inner steps. An iteration costs t_k
// gradients of G, one of F, CGSteps products with H and one with C.
type BA struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	InnerSteps    int             `json:"inner_steps"`    // t; 0: 1
	InnerExponent float64         `json:"inner_exponent"` // r; 0: 1/4, -1: exactly 0
	CGSteps       int             `json:"cg_steps"`       // 0: the number of lower variables, at most 50
	Schedule      engine.Schedule `json:"schedule"`       // of α and β
}

// mostCGSteps is the length of an exact solve where none is given.
const mostCGSteps = 50

func (BA) Name() string { return "ba" }

func (BA) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, Why: solvesWhy}
}

func (a BA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	n := a.CGSteps
	if n == 0 {
		n = min(b.Lower.Start.Size(), mostCGSteps)
	}
	return growingLoop{a.Step, a.OuterStep, a.InnerSteps, a.InnerExponent, a.Schedule}.implicit("ba", b, r, n)
}

func (a BA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.InnerExponent = cmp.Or(a.InnerSteps, 1), cmp.Or(a.InnerExponent, 0.25)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
