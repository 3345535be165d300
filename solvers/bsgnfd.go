package solvers

import (
	"cmp"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BSGNFD is BSGH with all second derivatives by finite differences of gradients (Giovannelli, Kent, Vicente, arXiv
// 2110.00604, 2021, BSG-N-FD):
//
//	t_k times:  y₊ = y - β_k ∇yG(x,y;ξ),   t_k = ⌈t (k+1)^r⌉
//	then:       v  by N steps of CG from 0 on H v = ∇yF(x,y;ζ)
//	            x₊ = P_X(x - α_k (∇xF(x,y;ζ) - C v))
//	H d ≈ (∇yG(x,y+δd;ξ) - ∇yG(x,y-δd;ξ)) / 2δ,   C v ≈ (∇xG(x,y+δv;ξ) - ∇xG(x,y-δv;ξ)) / 2δ,   δ = ε/|d|, ε/|v|
//
// with one pair of minibatches for all but the inner steps. The truncation error is O(ε²) and 0 where G is quadratic in
// y; the rounding error about u|∇G|/ε for the device's unit round-off u, so that ε near u^⅓ is best; a d of length zero
// has the product zero. No second derivative is asked for. The state is x, y and v, which is kept for inspection.
// Running statistics move with the inner steps. An iteration costs t_k+2N+2 gradients of G and one of F.
type BSGNFD struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	InnerSteps    int             `json:"inner_steps"`    // t; 0: 1
	InnerExponent float64         `json:"inner_exponent"` // r; 0: 1/2, -1: exactly 0
	CGSteps       int             `json:"cg_steps"`       // N; 0: 10
	Smoothing     float64         `json:"smoothing"`      // ε; 0: the device's u^(1/3)
	Schedule      engine.Schedule `json:"schedule"`       // of α and β
}

func (BSGNFD) Name() string { return "bsg-n-fd" }

func (BSGNFD) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, Why: solvesWhy}
}

func (a BSGNFD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	epsilon := a.Smoothing
	if epsilon == 0 {
		epsilon = math.Cbrt(b.Executor.Info().UnitRoundoff())
	}
	loop := growingLoop{a.Step, a.OuterStep, a.InnerSteps, a.InnerExponent, a.Schedule}
	err := cmp.Or(loop.check("bsg-n-fd"), checkSteps("bsg-n-fd", a.Schedule, field{"smoothing", epsilon}),
		checkCounts("bsg-n-fd", count{"cg_steps", a.CGSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, xi, zeta := s.Get("x"), s.Get("y"), it.Batch("lower"), it.Batch("upper")
		f := it.Upper(x, y, zeta)
		along := func(d *tensor.Node, of func(*problem.Point) *tensor.Node) *tensor.Node {
			size := linear.Norm(d)
			some := tensor.Const(0).Lt(size)
			e := tensor.Where(some, tensor.Const(epsilon).Div(size), tensor.Const(0))
			there := of(it.Lower(x, y.Add(e.Mul(d)).StopGradient(), xi))
			back := of(it.Lower(x, y.Sub(e.Mul(d)).StopGradient(), xi))
			return there.Sub(back).Mul(size.Scale(0.5 / epsilon))
		}
		hessian := func(d *tensor.Node) *tensor.Node { return along(d, (*problem.Point).GradY) }
		v := conjugateGradients(hessian, f.GradY(), nil, a.CGSteps)
		moveX(it, s, f.GradX().Sub(along(v, (*problem.Point).GradX)), zeta)
		s.Set("v", v)
	}
	return engine.Spec{
		State: start(b, "v"),
		Rates: loop.rates(r),
		Phases: []engine.Phase{
			loop.descent("bsg-n-fd"),
			{Name: "bsg-n-fd outer", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}, Build: outer},
		},
	}, nil
}

func (a BSGNFD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.InnerExponent = cmp.Or(a.InnerSteps, 1), cmp.Or(a.InnerExponent, 0.5)
	a.CGSteps = cmp.Or(a.CGSteps, 10)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
