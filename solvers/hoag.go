package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// HOAG solves both the lower level and the linear system to tolerances that fall over the iterations and have a finite
// sum (Pedregosa, ICML 2016, "Hyperparameter optimization with approximate gradient", algorithm 1):
//
//	y  until |∇yG(x,y)| <= ε_k,  by L-BFGS from the last y
//	v  until |∇²yyG(x,y) v - ∇yF(x,y)| <= ε_k,  by conjugate gradients from the last v
//	x₊ = P_X(x - α_k (∇xF(x,y) - ∇²xyG(x,y) v))
//
// The rule of tolerances is one of
//
//	exponential  ε_k = ε₀ 0.9^k       with the sum 10 ε₀
//	quadratic    ε_k = ε₀ / (k+1)²    with the sum ε₀ π²/6
//	cubic        ε_k = ε₀ / (k+1)³    with the sum 1.202… ε₀
//
// which do not fall below 1e-12, nor below ten units of round-off of |∇yG| at the start values, or of |∇yF| for v. α_k
// follows the schedule; the paper has 1/L for a constant of h, its program a rule that changes L by the values of F.
// With Adaptive the steps are found on the way by a rule of that kind: the first move has the root mean square
// OuterStep, a step is followed by one half as long again, and where F at the solution is then above the value before
// by more than the error |v| ε_k that the tolerance allows it, x goes back and α is halved. The method is
// deterministic: it always takes all rows. G must be smooth and strongly convex in y. The state is x, y and v, with
// Adaptive also α and the point before the last move. The memory for the pairs of L-BFGS is that of 2·10 vectors of y's
// size. An iteration costs what the tolerances ask for, beside one gradient of F for v, one for x and one product with
// C.
type HOAG struct {
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values, see Defaults
	Tolerance  float64         `json:"tolerance"`   // ε₀; 0: 0.001
	Rule       string          `json:"rule"`        // of the tolerances; "": exponential
	InnerSteps int             `json:"inner_steps"` // of L-BFGS at most; 0: 100
	Schedule   engine.Schedule `json:"schedule"`    // of α
	Adaptive   bool            `json:"adaptive"`    // α is found on the way; OuterStep is 1 where it is 0
}

// rememberedPairs is how many pairs L-BFGS keeps.
const rememberedPairs = 10

func (HOAG) Name() string { return "hoag" }

func (HOAG) Needs() Needs { return Needs{Usable: problem.UpperSet, Why: solvesWhy} }

func (a HOAG) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	t := &toSolve{tolerance: a.Tolerance, rule: a.Rule, steps: a.InnerSteps, memory: rememberedPairs,
		adaptive: a.Adaptive}
	err := cmp.Or(checkSteps("hoag", a.Schedule, field{"outer_step", a.OuterStep}), t.check("hoag"))
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Adaptive && a.Schedule != "" {
		return engine.Spec{}, fmt.Errorf("hoag: schedule is %s and adaptive true: steps that are found on the way "+
			"follow no schedule; leave one of them out", a.Schedule)
	}
	return t.spec("hoag", b, r.rate("outer", a.OuterStep, a.Schedule)), nil
}

// Defaults takes half of the step of algorithms whose y follows x, the double of what curvature alone asks for.
func (a HOAG) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Tolerance, a.Rule = cmp.Or(a.Tolerance, 1e-3), cmp.Or(a.Rule, "exponential")
	a.InnerSteps = cmp.Or(a.InnerSteps, 100)
	if a.Adaptive {
		a.OuterStep = cmp.Or(a.OuterStep, 1)
	}
	inner := 1.0 // is not asked for
	err := steps(scale, &inner, &a.OuterStep)
	return a, err
}
