package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
)

// SHINE is HOAG without its linear system: v is what the quasi-Newton method that solves the lower level has learned of
// the inverse Hessian (Ramzi, Mannel, Bai, Starck, Ciuciu, Moreau, ICLR 2022, "SHINE: sharing the inverse estimate from
// the forward pass for bi-level optimization and implicit models"):
//
//	y  until |∇yG(x,y)| <= ε_k,  by L-BFGS from the last y, whose pairs stand for an inverse B
//	v  = B ∇yF(x,y),   x₊ = P_X(x - α_k (∇xF(x,y) - ∇²xyG(x,y) v))
//
// with HOAG's rules of tolerances. As in the authors' program the pairs are carried from one iteration to the next, so
// that an iteration in which y needs few steps, or none, still has a B; they then come from other x, and are as good as
// H changes little. Before there are any, v is ∇yF. Nothing makes B good in the direction ∇yF: where L-BFGS has taken
// few steps, it is near a multiple of the identity. Three remedies of the paper: Refine steps of conjugate gradients
// from B ∇yF; ∇yF itself where |v| > Fallback |∇yF|; and outer problem awareness, an additional pair in the direction B
// ∇yF after every Every steps, for one gradient of each objective. Pairs without positive curvature are left out, which
// the authors' program does not look at. With Every the program of the authors spaces the additional pairs by a rule of
// its own; here their distance is constant.
//
// The method is deterministic: it always takes all rows. G must be smooth and strongly convex in y. The state is x, y,
// v, which is kept for inspection, and the pairs, 2q+1 numbers each. An iteration costs what the tolerance asks for,
// one product with H, by which the residual is known, two gradients of F and one product with C.
type SHINE struct {
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values, see Defaults
	Tolerance  float64         `json:"tolerance"`   // ε₀; 0: 0.001
	Rule       string          `json:"rule"`        // of the tolerances; "": exponential
	InnerSteps int             `json:"inner_steps"` // of L-BFGS at most; 0: 100
	Pairs      int             `json:"pairs"`       // that L-BFGS keeps; 0: 30
	Every      int             `json:"every"`       // steps between two pairs towards ∇yF; 0: none
	Refine     int             `json:"refine"`      // steps of conjugate gradients from B ∇yF; 0: none
	Fallback   float64         `json:"fallback"`    // 0: none; the paper has 1.3
	Schedule   engine.Schedule `json:"schedule"`    // of α
}

func (SHINE) Name() string { return "shine" }

func (SHINE) Needs() Needs { return HOAG{}.Needs() }

func (a SHINE) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	t := &toSolve{tolerance: a.Tolerance, rule: a.Rule, steps: a.InnerSteps, memory: a.Pairs, every: a.Every,
		inverse: &linear.LBFGSInverse{Refine: a.Refine, Fallback: a.Fallback}}
	err := cmp.Or(checkSteps("shine", a.Schedule, field{"outer_step", a.OuterStep}), t.check("shine"),
		checkNonNegative("shine", field{"fallback", a.Fallback}))
	if err != nil {
		return engine.Spec{}, err
	}
	for _, n := range []count{{"every", a.Every}, {"refine", a.Refine}} {
		if n.value < 0 {
			return engine.Spec{}, fmt.Errorf("shine: %s is %d: wants a number from 0 on", n.name, n.value)
		}
	}
	return t.spec("shine", b, r.rate("outer", a.OuterStep, a.Schedule)), nil
}

func (a SHINE) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Tolerance, a.Rule = cmp.Or(a.Tolerance, 1e-3), cmp.Or(a.Rule, "exponential")
	a.InnerSteps = cmp.Or(a.InnerSteps, 100)
	a.Pairs = cmp.Or(a.Pairs, 30)
	inner := 1.0 // is not asked for
	err := steps(scale, &inner, &a.OuterStep)
	return a, err
}
