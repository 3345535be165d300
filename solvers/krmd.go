package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// KRMD takes gradient steps on y and moves x along the derivative of F through the last few of them (Shaban, Cheng,
// Hatch, Boots, AISTATS 2019, "Truncated back-propagation for bilevel optimization"):
//
//	y_0 = y;  y_{t+1} = y_t - α ∇yG(x,y_t),  t = 0, …, D-1
//	x₊ = P_X(x - β g_K),  g_K = dF(x,y_D(x))/dx with y_{D-K} counted as a constant;  y₊ = y_D
//
// With K = D it is ITDBiO, with K = 1 the one-step hypergradient. What the truncation leaves out is up to (1-αμ)^K/μ
// times the norms of C and ∇yF. The steps start from the last y, with Cold from the start values in every iteration.
//
// The paper's method is deterministic, for a smooth lower level that is strongly convex in y near its minimizer, with α
// at most 1/L; minibatches and the schedule are as in ITDBiO. The state is x and y, with Cold also the start values of
// y; the passes of K steps are kept while an iteration goes on, and the memory for them grows with K. Running
// statistics move with the inner steps. An iteration costs D gradients of G, one of F, K-1 products with H and K with
// C.
type KRMD struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // β; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // D; 0: 10
	Last       int             `json:"last"`        // K, at most D; 0: half of D
	Cold       bool            `json:"cold"`        // the inner steps start at the start values in every iteration
	Schedule   engine.Schedule `json:"schedule"`    // of β
}

func (KRMD) Name() string { return "k-rmd" }

func (KRMD) Needs() Needs { return ITDBiO{}.Needs() }

func (a KRMD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("k-rmd", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("k-rmd", count{"inner_steps", a.InnerSteps}, count{"last", a.Last}))
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Last > a.InnerSteps {
		return engine.Spec{}, fmt.Errorf("k-rmd: last is %d of %d inner_steps: wants at most all of them", a.Last,
			a.InnerSteps)
	}
	return unrolling{"k-rmd", a.Step, a.OuterStep, a.InnerSteps, a.Last, a.Cold, a.Schedule}.spec(b, r), nil
}

func (a KRMD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 10)
	a.Last = cmp.Or(a.Last, (a.InnerSteps+1)/2)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
