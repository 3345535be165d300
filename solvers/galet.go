package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// GALET is for lower levels that satisfy the condition of Polyak and Łojasiewicz, whose Hessian may be singular: v is
// the least-squares solution of the linear system, by gradient descent on ½|Hv - ∇yF|² (Xiao, Lu, Chen, NeurIPS 2023,
// "An alternating optimization method for bilevel problems under the Polyak-Łojasiewicz condition", algorithm 1, named
// generalized alternating method elsewhere):
//
//	N times:  y₊ = y - β ∇yG(x,y)
//	T times:  v₊ = v - ρ H (H v - ∇yF(x,y)),  from v = 0,  H = ∇²yyG(x,y)
//	then:     x₊ = P_X(x - α (∇xF(x,y) - ∇²xyG(x,y) v))
//
// From 0 the v stay in the range of H, so that they tend to the solution of least norm, H⁺∇yF, where H is singular. ρ
// must be below 2/L², and what is missing of v along an eigenvector of the eigenvalue l is (1-ρl²)^T: the square of the
// condition number counts. The paper's w is -v. Its method is deterministic. On minibatches each inner step has a new
// one, and one new pair serves the rest, which biases v. The state is x, y and v, which is kept for inspection. An
// iteration costs N gradients of G, one of F, 2T-1 products with H and one with C.
type GALET struct {
	Step       float64         `json:"step"`        // β; 0: chosen at the start values, see Defaults
	VStep      float64         `json:"v_step"`      // ρ; 0: β²
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // N; 0: 1
	VSteps     int             `json:"v_steps"`     // T; 0: 10
	Schedule   engine.Schedule `json:"schedule"`    // of α and β
}

func (GALET) Name() string { return "galet" }

func (GALET) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet,
		Why: "its linear system needs one smooth lower level without constraints, whose variable lasts and whose " +
			"objective satisfies the condition of Polyak and Łojasiewicz, and its steps an x that is free or in a set",
	}
}

func (a GALET) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("galet", a.Schedule, field{"step", a.Step}, field{"v_step", a.VStep},
			field{"outer_step", a.OuterStep}),
		checkCounts("galet", count{"inner_steps", a.InnerSteps}, count{"v_steps", a.VSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	leastSquares := func(g, f *problem.Point, _ *tensor.Node) *tensor.Node {
		b := f.GradY()
		v := g.HVP(b).Scale(a.VStep)
		for range a.VSteps - 1 {
			v = v.Sub(g.HVP(g.HVP(v).Sub(b)).Scale(a.VStep))
		}
		return v
	}
	return engine.Spec{
		State:  start(b, "v"),
		Rates:  twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{descent("galet", always(a.InnerSteps)), implicitStep("galet", leastSquares)},
	}, nil
}

func (a GALET) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.VSteps = cmp.Or(a.InnerSteps, 1), cmp.Or(a.VSteps, 10)
	chosen := a.Step == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	longest := neumannStep(a.Step, chosen) // 1/L
	a.VStep = cmp.Or(a.VStep, longest*longest)
	return a, err
}
