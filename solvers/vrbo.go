package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// VRBO estimates the lower gradient and the hypergradient by recursive differences (SPIDER), with a loop over y in each
// iteration (Yang, Ji, Liang, NeurIPS 2021, "Provably faster algorithms for bilevel optimization", algorithm 2). With
//
//	D(x,y;ξ,ζ) = ∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v,   v = η Σ_{q=0}^{Q} (I - η∇²yyG(x,y;ξ))^q ∇yF(x,y;ζ)
//
// an iteration is
//
//	every period iterations:  h = ∇yG(x,y), d = D(x,y) over all rows
//	x₊ = P_X(x - α d);  h += ∇yG(x₊,y;ξ) - ∇yG(x,y;ξ);    d += D(x₊,y;ξ,ζ) - D(x,y;ξ,ζ)
//	n times:  y₊ = y - β h;  h += ∇yG(x₊,y₊;ξ) - ∇yG(x₊,y;ξ);  d += D(x₊,y₊;ξ,ζ) - D(x₊,y;ξ,ζ)
//
// where each difference draws new minibatches, the same for both of its points. One lower minibatch serves all factors
// of a series and C, so that the mean of D over minibatches is not that of all rows unless Q = 0. After every line h
// and d belong to the point (x, y) of the time, on full batches exactly. That is the paper's range of indices: its
// inner loop begins with the difference by which x moved, y at rest, and the step of y after the last difference is not
// taken; n is its m+1. The paper's large batch is all rows here.
//
// Variant "benchmark" is what the public benchmark of bi-level methods runs instead, for comparisons with it: both
// points of every difference have the new x, so that what h and d change by the move of x is lost, and the first
// difference of an iteration is that of the last step of y before it, also where a full pass has just taken it into
// account:
//
//	every period iterations:  h = ∇yG(x,y), d = D(x,y) over all rows
//	x₊ = P_X(x - α d)
//	n times:  h += ∇yG(x₊,y;ξ) - ∇yG(x₊,y⁻;ξ), d likewise;  y⁻ = y;  y₊ = y - β h
//
// On full batches its h is off by up to half of ∇yG. Objectives must be means over rows, so that running statistics
// cannot be used: those of a pass over all rows are not those of minibatches.
//
// The state is x, y, h and d, and y⁻ in the variant. An iteration costs 2(n+1) gradients of each objective and products
// with C and 2(n+1)Q products with H (2n and 2nQ in the variant); once a period one of each more and Q products, over
// all rows.
type VRBO struct {
	Step        float64         `json:"step"`         // β; 0: chosen at the start values, see Defaults
	OuterStep   float64         `json:"outer_step"`   // α; 0: chosen at the start values
	NeumannStep float64         `json:"neumann_step"` // η; 0: β
	Terms       int             `json:"terms"`        // Q; 0: 10, -1: none
	InnerSteps  int             `json:"inner_steps"`  // n; 0: 3
	Period      int             `json:"period"`       // 0: half a pass over the rows, as of SRBA
	Schedule    engine.Schedule `json:"schedule"`     // of α and β
	Variant     string          `json:"variant"`      // paper or benchmark; "": paper
}

func (VRBO) Name() string { return "vrbo" }

func (VRBO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet,
		Why: "its Neumann series needs one lower level with a smooth, strongly convex objective, without " +
			"constraints, whose variable lasts, its steps an x that is free or in a set, and its differences " +
			"objectives that are means over rows",
	}
}

func (a VRBO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("vrbo", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"neumann_step", a.NeumannStep})
	if err != nil {
		return engine.Spec{}, err
	}
	switch {
	case a.Terms < -1 || a.InnerSteps < 1 || a.Period < 0:
		return engine.Spec{}, fmt.Errorf("vrbo: %d terms, %d inner_steps and period %d: wants terms from 0 on, at "+
			"least one step, and a period of at least 1, or 0 for one chosen by the number of rows", a.Terms,
			a.InnerSteps, a.Period)
	case a.Variant != "" && a.Variant != "paper" && a.Variant != "benchmark":
		return engine.Spec{}, fmt.Errorf("vrbo: variant is %q: wants paper or benchmark", a.Variant)
	}
	period := a.Period
	if period == 0 {
		period = halfPass(b)
	}
	spec := engine.Spec{
		State: append(start(b, "h"), engine.Array{Name: "d", Zeros: b.Upper.Start.Size(), Unwatched: true}),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{{
			Name: "vrbo full pass", Repeat: every(period), Build: a.full,
			Draws: []engine.Draw{{Of: problem.Lower, Full: true}, {Of: problem.Upper, Full: true}},
		}},
	}
	draws := []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}
	moveX := engine.Phase{Name: "vrbo x", Build: a.moveX, Draws: draws}
	moveY := engine.Phase{Name: "vrbo y", Build: a.moveY, Draws: draws}
	if a.Variant == "benchmark" {
		moveX.Build, moveX.Draws, moveY.Build = a.moveXAlone, nil, a.moveYLate
		spec.State = append(spec.State, engine.Array{Name: "y before", Values: b.Lower.Start.Flat})
	}
	earlier := moveY // the last step ends the iteration, so that it is a phase of its own
	earlier.Repeat = func(int) int { return a.InnerSteps - 1 }
	spec.Phases = append(spec.Phases, moveX, earlier, moveY)
	return spec, nil
}

// estimate is ∇yG, and D in its two parts ∇xF and C v, at a point.
func (a VRBO) estimate(it *engine.Iteration, x, y *tensor.Node, xi, zeta problem.Batch) (gy, fx, cv *tensor.Node) {
	g, f := it.Lower(x, y, xi), it.Upper(x, y, zeta)
	return g.GradY(), f.GradX(), g.Cross(neumann(g, f.GradY(), a.NeumannStep, a.Terms))
}

// neumann is η Σ_{q=0}^{Q} (I - ηH)^q b with the Hessian of one point.
func neumann(g *problem.Point, b *tensor.Node, step float64, terms int) *tensor.Node {
	term, sum := b, b
	for range terms {
		term = term.Sub(g.HVP(term).Scale(step))
		sum = sum.Add(term)
	}
	return sum.Scale(step)
}

// follow adds to h and d what they change by from one point to another, on one pair of minibatches. The parts of d are
// added one by one: a product with C that is zero in most entries then touches few of d.
func (a VRBO) follow(it *engine.Iteration, s *engine.State, x, y, xNext, yNext *tensor.Node) (h *tensor.Node) {
	xi, zeta := it.Batch("lower"), it.Batch("upper")
	gy, fx, cv := a.estimate(it, x, y, xi, zeta)
	gyNext, fxNext, cvNext := a.estimate(it, xNext, yNext, xi, zeta)
	h = s.Get("h").Add(gyNext.Sub(gy))
	s.Set("h", h)
	s.Set("d", s.Get("d").Add(fxNext).Sub(fx).Add(cv).Sub(cvNext))
	return h
}

func (a VRBO) full(it *engine.Iteration, s *engine.State) {
	gy, fx, cv := a.estimate(it, s.Get("x"), s.Get("y"), it.Batch("lower"), it.Batch("upper"))
	s.Set("h", gy)
	s.Set("d", fx.Sub(cv))
}

func (a VRBO) stepX(it *engine.Iteration, s *engine.State) *tensor.Node {
	next := s.Get("x").Sub(it.Rate("outer").Mul(s.Get("d")))
	return it.Project(problem.Upper, next, it.All(problem.Upper))
}

func (a VRBO) moveX(it *engine.Iteration, s *engine.State) {
	y, next := s.Get("y"), a.stepX(it, s)
	a.follow(it, s, s.Get("x"), y, next, y)
	s.Set("x", next)
}

func (a VRBO) moveY(it *engine.Iteration, s *engine.State) {
	x, y := s.Get("x"), s.Get("y")
	next := y.Sub(it.Rate("inner").Mul(s.Get("h")))
	a.follow(it, s, x, y, x, next)
	s.Set("y", next)
}

func (a VRBO) moveXAlone(it *engine.Iteration, s *engine.State) { s.Set("x", a.stepX(it, s)) }

func (a VRBO) moveYLate(it *engine.Iteration, s *engine.State) {
	x, y := s.Get("x"), s.Get("y")
	h := a.follow(it, s, x, s.Get("y before"), x, y)
	s.Set("y before", y)
	s.Set("y", y.Sub(it.Rate("inner").Mul(h)))
}
