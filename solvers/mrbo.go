package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// MRBO estimates the lower gradient and the hypergradient with the momentum of STORM, the latter by a Neumann series of
// fixed length (Yang, Ji, Liang, NeurIPS 2021, "Provably faster algorithms for bilevel optimization", algorithm 1).
// With the points z = (x, y) of this iteration and z⁻ of the one before,
//
//	D(z) = ∇xF(z;ζ) - ∇²xyG(z;ξ) v,   v = η Σ_{q=0}^{Q} (I - η∇²yyG(z;ξ))^q ∇yF(z;ζ)
//	h₊ = ∇yG(z;ξ) + (1 - c_k)(h - ∇yG(z⁻;ξ))
//	d₊ = D(z) + (1 - c_k)(d - D(z⁻))
//	y₊ = y - β_k h₊,  x₊ = P_X(x - α_k d₊)
//
// One pair of minibatches (ξ, ζ) serves all of an iteration, so that the mean of D over minibatches is not that of all
// rows unless Q = 0. α_k and β_k are α and β over (k+1)^e, c_k is c over (k+1)^2e, with e = ⅓ in the paper, which has
// two momenta of one order for h and d; the Neumann step η is constant.
//
// Memory "true": the first estimates are those of z itself, so that on full batches h is ∇yG always and d is D. "zero"
// is what the public benchmark of bi-level methods does: h, d and the first z⁻ are zero vectors.
//
// It needs a smooth lower level that is strongly convex in y, and β_k and η at most 1/L. Running statistics move once
// an iteration, with the pass of ξ at z. The state is x, y, v, which is kept for inspection, h, d and z⁻. An iteration
// costs two gradients of each objective, 2Q products with H and two with C.
type MRBO struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β, or 1/L where β is chosen
	Terms       int             `json:"terms"`        // Q; 0: 10, -1: none
	Momentum    float64         `json:"momentum"`     // c; 0: 0.5
	Exponent    float64         `json:"exponent"`     // e; 0: 1/3, -1: exactly 0
	Schedule    engine.Schedule `json:"schedule"`     // a further factor on α_k and β_k
	Memory      string          `json:"memory"`       // true or zero; "": true
}

func (MRBO) Name() string { return "mrbo" }

func (MRBO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, and its steps an x that is free or in a set",
	}
}

func (a MRBO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	memory := memories{a.Momentum, a.Exponent, a.Memory}
	err := cmp.Or(checkSteps("mrbo", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep}), memory.check("mrbo"))
	if err != nil {
		return engine.Spec{}, err
	}
	if a.Terms < -1 {
		return engine.Spec{}, fmt.Errorf("mrbo: terms is %d: wants a number from 0 on, or -1 for none", a.Terms)
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, xBefore, yBefore := s.Get("x"), s.Get("y"), s.Get("x before"), s.Get("y before")
		xi, zeta, keep := it.Batch("lower"), it.Batch("upper"), it.Rate("keep")
		g, f := it.Lower(x, y, xi), it.Upper(x, y, zeta)
		gBefore, fBefore := it.Lower(xBefore, yBefore, xi), it.Upper(xBefore, yBefore, zeta)
		v := neumann(g, f.GradY(), a.NeumannStep, a.Terms)
		vBefore := neumann(gBefore, fBefore.GradY(), a.NeumannStep, a.Terms)
		h := storming(s.Get("h"), keep, g.GradY(), gBefore.GradY())
		d := storming(s.Get("d"), keep, f.GradX().Sub(g.Cross(v)), fBefore.GradX().Sub(gBefore.Cross(vBefore)))
		remember(s, x, y)
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(d)), zeta))
		s.Set("y", y.Sub(it.Rate("inner").Mul(h)))
		s.Set("v", v)
		s.Set("h", h)
		s.Set("d", d)
		it.Commit(g)
	}
	e := max(0, a.Exponent)
	return engine.Spec{
		State: append(append(start(b, "v", "h"), ofX(b, "d")), memory.before(b)...),
		Rates: []engine.Rate{
			r.falling("inner", a.Step, e, a.Schedule), r.falling("outer", a.OuterStep, e, a.Schedule),
			memory.keep(r, 2*e),
		},
		Phases: []engine.Phase{{
			Name: "mrbo", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}, Build: build,
		}},
	}, nil
}

// Defaults leaves the schedule alone: the steps fall by a power.
func (a MRBO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Memory = cmp.Or(a.Memory, "true")
	a.Terms, a.Momentum, a.Exponent = cmp.Or(a.Terms, 10), cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 1.0/3)
	chosen := a.Step == 0
	err := steps(scale, &a.Step, &a.OuterStep)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}
