package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// SVRB follows every quantity of the hypergradient by an estimate with the momentum of STORM, the lower Hessian and the
// mixed derivative among them (Guo, Hu, Zhang, Yang, arXiv 2105.02266, 2021, "Randomized stochastic variance-reduced
// methods for multi-task stochastic bilevel optimization", for one task). For each of the quantities ∇yG, ∇²yyG and
// ∇²xyG on a lower minibatch ξ, and ∇xF and ∇yF on an upper one ζ,
//
//	q̂₊ = q(x,y) + (1 - c_k)(q̂ - q(x⁻,y⁻)),  on the same minibatch, with the point (x⁻, y⁻) of the iteration before
//	x₊ = P_X(x - α_k (f̂x - Ĉ Ĥ⁻¹ f̂y)),  y₊ = y - β_k ĝy
//
// α_k and β_k are α and β over (k+1)^e and c_k is c over (k+1)^2e, with e = ⅓. The first estimates are those of the
// first point. What could be read of the paper does not settle the order of its updates and its projections: here both
// variables move at once, and Ĥ, which the paper keeps positive definite by a projection, is applied by conjugate
// gradients to the end, which stop where it shows no positive curvature. The version for many tasks, RSVRB, is not
// here.
//
// It needs a smooth lower level that is strongly convex in y, with at most 256 variables: the state is x, y, v, which
// is kept for inspection, the point before, three estimates of gradients and q² + pq numbers of matrices. Running
// statistics are not taken. An iteration costs two gradients of each objective,
// 2q products with H and 2q with C.
type SVRB struct {
	Step      float64         `json:"step"`       // β; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // α; 0: chosen at the start values
	Momentum  float64         `json:"momentum"`   // c; 0: 0.5
	Exponent  float64         `json:"exponent"`   // e; 0: 1/3, -1: exactly 0
	Schedule  engine.Schedule `json:"schedule"`   // a further factor on α_k and β_k
}

func (SVRB) Name() string { return "svrb" }

func (SVRB) Needs() Needs { return STABLE{}.Needs() }

func (a SVRB) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	memory := memories{momentum: a.Momentum, exponent: a.Exponent}
	t, tooLarge := trackedOf("svrb", b)
	err := cmp.Or(checkSteps("svrb", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		memory.check("svrb"), tooLarge)
	if err != nil {
		return engine.Spec{}, err
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, xBefore, yBefore, keep := s.Get("x"), s.Get("y"), s.Get("x before"), s.Get("y before"), it.Rate("keep")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		g, gBefore := it.Lower(x, y, xi), it.Lower(xBefore, yBefore, xi)
		fx, fy := it.Upper(x, y, zeta).Grad()
		fxBefore, fyBefore := it.Upper(xBefore, yBefore, zeta).Grad()
		h, c := t.at(g)
		hBefore, cBefore := t.at(gBefore)
		h, c = storming(s.Get("hessian"), keep, h, hBefore), storming(s.Get("mixed"), keep, c, cBefore)
		fx, fy = storming(s.Get("fx"), keep, fx, fxBefore), storming(s.Get("fy"), keep, fy, fyBefore)
		gy := storming(s.Get("gy"), keep, g.GradY(), gBefore.GradY())
		v := t.solve(h, fy)
		moveX(it, s, fx.Sub(t.cross(c, v)), zeta)
		s.Set("y", y.Sub(it.Rate("inner").Mul(gy)))
		s.Set("v", v)
		s.Set("hessian", h)
		s.Set("mixed", c)
		s.Set("fx", fx)
		s.Set("fy", fy)
		s.Set("gy", gy)
		remember(s, x, y)
	}
	e := max(0, a.Exponent)
	return engine.Spec{
		State: append(append(append(start(b, "v", "gy", "fy"), ofX(b, "fx")), memory.before(b)...), t.state()...),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, e, a.Schedule),
			memory.keep(r, 2*e),
		},
		Phases: []engine.Phase{{
			Name: "svrb", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}, Build: build,
		}},
	}, nil
}

// Defaults leaves the schedule alone: the steps fall by a power.
func (a SVRB) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Momentum, a.Exponent = cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 1.0/3)
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}
