package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// StocBiO solves the lower level by a few stochastic gradient steps from where it stood, and the linear system by a
// Neumann series of fixed length (Ji, Yang, Liang, ICML 2021, "Bilevel optimization: convergence analysis and enhanced
// design", algorithm 2):
//
//	D times:  y₊ = y - α ∇yG(x,y;ξ)
//	then:     v = η Σ_{q=0}^{Q} (I - η∇²yyG(x,y;ξ))^q ∇yF(x,y;ζ)
//	          x₊ = P_X(x - β (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v))
//
// with a new lower minibatch for each inner step, and one new pair (ξ, ζ) for the rest: as in the authors' code one
// lower minibatch serves all factors of the series and C; unlike it the series carries its factor η and its term q = 0.
// v is kept for inspection; the next iteration does not read it. Running statistics move with the inner steps, D times
// an iteration. An iteration costs D gradients of G, one of F, Q products with H and one with C. α and η at most 1/L.
type StocBiO struct {
	Step        float64         `json:"step"`         // α; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // β; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: α
	Terms       int             `json:"terms"`        // Q; 0: 10, -1: none
	InnerSteps  int             `json:"inner_steps"`  // D; 0: 10
	Schedule    engine.Schedule `json:"schedule"`     // of α and β
}

func (StocBiO) Name() string { return "stocbio" }

func (StocBiO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a StocBiO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("stocbio", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep})
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Terms < -1 || a.InnerSteps < 1 {
		return engine.Spec{}, fmt.Errorf("stocbio: %d terms and %d inner_steps: wants terms from 0 on and at least "+
			"one step", a.Terms, a.InnerSteps)
	}
	series := func(g, f *problem.Point, _ *tensor.Node) *tensor.Node {
		return neumann(g, f.GradY(), a.NeumannStep, a.Terms)
	}
	return engine.Spec{
		State:  start(b, "v"),
		Rates:  twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{descent("stocbio", always(a.InnerSteps)), implicitStep("stocbio", series)},
	}, nil
}
