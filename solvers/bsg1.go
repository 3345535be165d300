package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BSG1 replaces the second derivatives of G by outer products of its gradients, so that the linear system is solved by
// a quotient (Giovannelli, Kent, Vicente, arXiv 2110.00604, 2021, "Inexact bilevel stochastic gradient methods for
// constrained and unconstrained lower-level problems", BSG-1):
//
//	t_k times:  y₊ = y - β_k ∇yG(x,y;ξ),   t_k = ⌈t (k+1)^r⌉
//	then:       x₊ = P_X(x - α_k (∇xF(x,y;ζ) - ρ ∇xG(x,y;ξ))),   ρ = ⟨∇yG(x,y;ξ), ∇yF(x,y;ζ)⟩ / (|∇yG(x,y;ξ)|² + ε)
//
// The paper lets the loop grow by one where F has hardly changed; here it grows by a power of k. The direction is a
// heuristic: with one lower variable and G half the square of a linear function it is the hypergradient's formula at y,
// with more variables it is that of another matrix of rank one, and at y*(x), where ∇yG = 0, it is 0/0. ε guards that;
// there the implicit term is left out. It needs a smooth lower level that is strongly convex in y, without constraints.
// Minibatches bias the quotient. The state is x and y. Running statistics are not taken. An iteration costs t_k+1
// gradients of G and one of F.
type BSG1 struct {
	Step          float64         `json:"step"`           // β; 0: chosen at the start values, see Defaults
	OuterStep     float64         `json:"outer_step"`     // α; 0: chosen at the start values
	InnerSteps    int             `json:"inner_steps"`    // t; 0: 1
	InnerExponent float64         `json:"inner_exponent"` // r; 0: 1/2, -1: exactly 0
	Epsilon       float64         `json:"epsilon"`        // ε; 0: 1e-12, -1: exactly 0
	Schedule      engine.Schedule `json:"schedule"`       // of α and β
}

func (BSG1) Name() string { return "bsg-1" }

func (BSG1) Needs() Needs {
	return Needs{Usable: problem.UpperSet, Why: solvesWhy}
}

func (a BSG1) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	loop := growingLoop{a.Step, a.OuterStep, a.InnerSteps, a.InnerExponent, a.Schedule}
	if err := loop.check("bsg-1"); err != nil {
		return engine.Spec{}, err
	}
	epsilon := a.Epsilon
	if epsilon == -1 {
		epsilon = 0
	}
	if err := checkNonNegative("bsg-1", field{"epsilon", epsilon}); err != nil {
		return engine.Spec{}, err
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, zeta := s.Get("x"), s.Get("y"), it.Batch("upper")
		gx, gy := it.Lower(x, y, it.Batch("lower")).Grad()
		fx, fy := it.Upper(x, y, zeta).Grad()
		quotient := tensor.Dot(gy, fy).Div(tensor.Dot(gy, gy).AddConst(epsilon))
		moveX(it, s, fx.Sub(quotient.Mul(gx)), zeta)
	}
	return engine.Spec{
		State: start(b),
		Rates: loop.rates(r),
		Phases: []engine.Phase{
			loop.descent("bsg-1"),
			{Name: "bsg-1 outer", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}, Build: outer},
		},
	}, nil
}

func (a BSG1) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.InnerExponent = cmp.Or(a.InnerSteps, 1), cmp.Or(a.InnerExponent, 0.5)
	a.Epsilon = cmp.Or(a.Epsilon, 1e-12)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
