package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// STABLE follows the lower Hessian and the mixed derivative by estimates with the momentum of STORM, and lets y move
// with y*(x) by its tangent (Chen, Sun, Xiao, Yin, AISTATS 2022, "A single-timescale method for stochastic bilevel
// optimization", algorithm 1):
//
//	Ĥ₊ = H(x,y;ξ) + (1 - c)(Ĥ - H(x⁻,y⁻;ξ)),   Ĉ₊ = C(x,y;ξ) + (1 - c)(Ĉ - C(x⁻,y⁻;ξ))
//	x₊ = P_X(x - α (∇xF(x,y;ζ) - Ĉ₊ Ĥ₊⁻¹ ∇yF(x,y;ζ)))
//	y₊ = y - β ∇yG(x,y;ξ') - Ĥ₊⁻¹ Ĉ₊ᵀ (x₊ - x)
//
// with the point (x⁻, y⁻) of the iteration before; the first estimates are those of the first point. α, β and c are of
// the order of 1/√K in a run of K iterations. The paper projects Ĥ onto the matrices with eigenvalues from μ on and Ĉ
// onto a ball, which is left out here, as in the code of some of its authors: Ĥ is applied by conjugate gradients to
// the end, which stop where Ĥ shows no positive curvature.
//
// It needs a smooth lower level that is strongly convex in y, with at most 256 variables: the state is x, y, v, which
// is kept for inspection, the point before, and the matrices, q² + pq numbers for p upper and q lower variables.
// Running statistics are not taken. An iteration costs one gradient of each objective, 2q
// products with H and 2q with C.
type STABLE struct {
	Step      float64         `json:"step"`       // β; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // α; 0: chosen at the start values
	Momentum  float64         `json:"momentum"`   // c; 0: 0.5
	Schedule  engine.Schedule `json:"schedule"`   // of α and β
}

func (STABLE) Name() string { return "stable" }

func (STABLE) Needs() Needs {
	return Needs{Usable: problem.UpperSet, Why: solvesWhy}
}

func (a STABLE) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	memory := memories{momentum: a.Momentum}
	t, tooLarge := trackedOf("stable", b)
	err := cmp.Or(checkSteps("stable", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		memory.check("stable"), tooLarge)
	if err != nil {
		return engine.Spec{}, err
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, xBefore, yBefore, keep := s.Get("x"), s.Get("y"), s.Get("x before"), s.Get("y before"), it.Rate("keep")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		h, c := t.at(it.Lower(x, y, xi))
		hBefore, cBefore := t.at(it.Lower(xBefore, yBefore, xi))
		h, c = storming(s.Get("hessian"), keep, h, hBefore), storming(s.Get("mixed"), keep, c, cBefore)
		fx, fy := it.Upper(x, y, zeta).Grad()
		v := t.solve(h, fy)
		next := it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(fx.Sub(t.cross(c, v)))), zeta)
		g := it.Lower(x, y, it.Batch("lower y"))
		tangent := t.solve(h, t.crossT(c, next.Sub(x)))
		s.Set("x", next)
		s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY())).Sub(tangent))
		s.Set("v", v)
		s.Set("hessian", h)
		s.Set("mixed", c)
		remember(s, x, y)
	}
	return engine.Spec{
		State: append(append(start(b, "v"), memory.before(b)...), t.state()...),
		Rates: append(twoRates(r, a.Step, a.OuterStep, a.Schedule), memory.keep(r, 0)),
		Phases: []engine.Phase{{
			Name: "stable",
			Draws: []engine.Draw{
				{Of: problem.Lower}, {Name: "lower y", Of: problem.Lower}, {Of: problem.Upper},
			},
			Build: build,
		}},
	}, nil
}

func (a STABLE) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Momentum = cmp.Or(a.Momentum, 0.5)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
