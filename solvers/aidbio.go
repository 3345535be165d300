package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// AIDBiO solves the lower level by a few gradient steps and the linear system by a few steps of conjugate gradients
// (Ji, Yang, Liang, ICML 2021, "Bilevel optimization: convergence analysis and enhanced design", algorithm 1 with
// approximate implicit differentiation):
//
//	D times:  y₊ = y - α ∇yG(x,y)
//	then:     v  by N steps of CG on ∇²yyG(x,y) v = ∇yF(x,y), from the v of the last iteration
//	          x₊ = P_X(x - β (∇xF(x,y) - ∇²xyG(x,y) v))
//
// With Cold each solve starts at v = 0, which is one product cheaper and forgets what was known. CG stops where it
// meets a direction of no positive curvature, and v stays. The paper's method is deterministic, with D = O(κ) and
// N = O(√κ) for the condition number κ of a smooth lower level that is strongly convex in y, and α at most 1/L. Where a
// level draws minibatches, each inner step has a new one, and one new pair (ξ, ζ) serves the whole of the rest, because
// directions of CG are conjugate in one matrix only; v is then biased, as CG is not linear in its right-hand side. The
// state is x, y and v. Running statistics move with the inner steps. An iteration costs D gradients of G, one of F, N+1
// products with H (N with Cold) and one with C.
type AIDBiO struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // β; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // D; 0: 10
	CGSteps    int             `json:"cg_steps"`    // N; 0: 10
	Cold       bool            `json:"cold"`        // v starts at 0 in every iteration
	Schedule   engine.Schedule `json:"schedule"`    // of α and β
}

func (AIDBiO) Name() string { return "aid-bio" }

func (AIDBiO) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, Why: solvesWhy}
}

func (a AIDBiO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("aid-bio", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("aid-bio", count{"inner_steps", a.InnerSteps}, count{"cg_steps", a.CGSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	solve := func(g, f *problem.Point, v *tensor.Node) *tensor.Node {
		if a.Cold {
			v = nil
		}
		return conjugateGradients(g.HVP, f.GradY(), v, a.CGSteps)
	}
	return engine.Spec{
		State:  start(b, "v"),
		Rates:  twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{descent("aid-bio", always(a.InnerSteps)), implicitStep("aid-bio", solve)},
	}, nil
}

// conjugateGradients takes n steps of CG on A v = b from v (nil: 0), as a graph. From the first direction d with
// dᵀA d <= 0 on, and from a residual of 0 on, v stays.
func conjugateGradients(apply func(*tensor.Node) *tensor.Node, b, v *tensor.Node, n int) *tensor.Node {
	zero := tensor.Const(0)
	r := b
	if v == nil {
		v = tensor.Zeros(b.Size())
	} else {
		r = b.Sub(apply(v))
	}
	d, rho, going := r, tensor.Dot(r, r), tensor.Const(1)
	for i := range n {
		s := apply(d)
		curvature := tensor.Dot(d, s)
		going = going.Mul(zero.Lt(curvature))
		alpha := tensor.Where(going, rho.Div(curvature), zero)
		v = v.Add(alpha.Mul(d))
		if i == n-1 {
			break
		}
		r = r.Sub(alpha.Mul(s))
		next := tensor.Dot(r, r)
		d = r.Add(tensor.Where(going, next.Div(rho), zero).Mul(d))
		rho = next
	}
	return v
}
