package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// FSLA takes one step on y, one on the linear system and one on x in each iteration, the last along an estimate with
// momentum (Li, Gu, Huang, AAAI 2022, "A fully single loop algorithm for bilevel optimization without Hessian inverse",
// algorithm 1):
//
//	y₊ = y - τ_k ∇yG(x,y;ξ₁)
//	v₊ = v - τ_k (∇²yyG(x,y₊;ξ₂) v - ∇yF(x,y₊;ζ₁))
//	D  = ∇xF(x,y₊;ζ₂) - ∇²xyG(x,y₊;ξ₃) v₊,   D⁻ the same at (x⁻, y, v), with the same minibatches
//	d₊ = D + (1 - η_k)(d - D⁻),   x₊ = P_X(x - γ_k d₊)
//
// where x⁻ is the x of the iteration before. τ_k, γ_k and η_k are their settings over (k+1)^e, with e = ½ in the paper.
// On full batches d is D always. Memory "zero" is what the public benchmark of bi-level methods does: d and the first
// x⁻ are zero vectors, and the first D⁻ is taken at a point where the iteration never was.
//
// It needs a smooth lower level that is strongly convex in y, and τ_k at most 1/L. The state is x, y, v, x⁻ and d.
// Running statistics move once an iteration, with the pass of ξ₁. An iteration costs one gradient of G, three of F, one
// product with H and two with C.
type FSLA struct {
	Step      float64         `json:"step"`       // τ; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	Momentum  float64         `json:"momentum"`   // η; 0: 0.5
	Exponent  float64         `json:"exponent"`   // e; 0: 1/2, -1: exactly 0
	Schedule  engine.Schedule `json:"schedule"`   // a further factor on τ_k and γ_k
	Memory    string          `json:"memory"`     // true or zero; "": true
}

func (FSLA) Name() string { return "fsla" }

func (FSLA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its steps need one lower level with a smooth, strongly convex objective, without constraints, whose " +
			"variable lasts, and an x that is free or in a set",
	}
}

func (a FSLA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("fsla", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep})
	if err != nil {
		return engine.Spec{}, err
	}
	memory := memories{a.Momentum, a.Exponent, a.Memory}
	if err := memory.check("fsla"); err != nil {
		return engine.Spec{}, err
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, v, before := s.Get("x"), s.Get("y"), s.Get("v"), s.Get("x before")
		step := it.Rate("inner")
		g := it.Lower(x, y, it.Batch("lower y"))
		next := y.Sub(step.Mul(g.GradY()))
		at := next.StopGradient() // the derivatives at a point must not go on through y to x
		slope := it.Lower(x, at, it.Batch("lower v")).HVP(v).Sub(it.Upper(x, at, it.Batch("upper v")).GradY())
		adjoint := v.Sub(step.Mul(slope))
		xi, zeta := it.Batch("lower x"), it.Batch("upper x")
		fresh := it.Upper(x, at, zeta).GradX().Sub(it.Lower(x, at, xi).Cross(adjoint))
		old := it.Upper(before, y, zeta).GradX().Sub(it.Lower(before, y, xi).Cross(v))
		d := storming(s.Get("d"), it.Rate("keep"), fresh, old)
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(d)), zeta))
		s.Set("y", next)
		s.Set("v", adjoint)
		s.Set("d", d)
		s.Set("x before", x)
		it.Commit(g)
	}
	e := max(0, a.Exponent)
	return engine.Spec{
		State: append(start(b, "v"), ofX(b, "d"), memory.before(b)[0]),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, e, a.Schedule),
			memory.keep(r, e),
		},
		Phases: []engine.Phase{{
			Name: "fsla",
			Draws: []engine.Draw{
				{Name: "lower y", Of: problem.Lower}, {Name: "lower v", Of: problem.Lower},
				{Name: "lower x", Of: problem.Lower},
				{Name: "upper v", Of: problem.Upper}, {Name: "upper x", Of: problem.Upper},
			},
			Build: build,
		}},
	}, nil
}

// Defaults leaves the schedule alone: the steps fall by a power.
func (a FSLA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Memory = cmp.Or(a.Memory, "true")
	a.Momentum, a.Exponent = cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 0.5)
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}
