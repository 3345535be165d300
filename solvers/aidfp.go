package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// AIDFP solves the lower level by a few gradient steps and the linear system by a few steps of the fixed-point method
// (Grazzi, Franceschi, Pontil, Salzo, ICML 2020, "On the iteration complexity of hypergradient computation", algorithm
// 1 with the fixed-point method):
//
//	D times:  y₊ = y - α ∇yG(x,y)
//	N times:  v₊ = v - η (∇²yyG(x,y) v - ∇yF(x,y)),  from the v of the last iteration
//	then:     x₊ = P_X(x - β (∇xF(x,y) - ∇²xyG(x,y) v))
//
// With Cold the fixed-point method begins at v = 0 in every iteration: v is then what a Neumann series of N terms
// gives, and misses (1-ημ)^N of it; from the last v the miss shrinks by that factor in each iteration. The map Φ(v) = v
// - η(Hv - b) contracts for η below 2/L. The paper's method is deterministic, for a smooth lower level that is strongly
// convex in y. Where a level draws minibatches, each inner step has a new one, and one new pair serves the rest; AmIGO
// draws a new one for each step on v. The state is x, y and v. Running statistics move with the inner steps. An
// iteration costs D gradients of G, one of F, N products with H (N-1 with Cold) and one with C.
type AIDFP struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	VStep      float64         `json:"v_step"`      // η; 0: α
	OuterStep  float64         `json:"outer_step"`  // β; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // D; 0: 10
	VSteps     int             `json:"v_steps"`     // N; 0: D
	Cold       bool            `json:"cold"`        // v starts at 0 in every iteration
	Schedule   engine.Schedule `json:"schedule"`    // of α and β
}

func (AIDFP) Name() string { return "aid-fp" }

func (AIDFP) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, Why: solvesWhy}
}

func (a AIDFP) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("aid-fp", a.Schedule, field{"step", a.Step}, field{"v_step", a.VStep},
			field{"outer_step", a.OuterStep}),
		checkCounts("aid-fp", count{"inner_steps", a.InnerSteps}, count{"v_steps", a.VSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	follow := func(g, f *problem.Point, v *tensor.Node) *tensor.Node {
		b, n := f.GradY(), a.VSteps
		if a.Cold {
			v, n = b.Scale(a.VStep), n-1
		}
		for range n {
			v = v.Sub(g.HVP(v).Sub(b).Scale(a.VStep))
		}
		return v
	}
	return engine.Spec{
		State:  start(b, "v"),
		Rates:  twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{descent("aid-fp", always(a.InnerSteps)), implicitStep("aid-fp", follow)},
	}, nil
}

func (a AIDFP) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 10)
	a.VSteps = cmp.Or(a.VSteps, a.InnerSteps)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.VStep = cmp.Or(a.VStep, a.Step)
	return a, err
}
