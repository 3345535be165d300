package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// ITDBiO takes a few gradient steps on y and moves x along the derivative of F through all of them (Ji, Yang, Liang,
// ICML 2021, "Bilevel optimization: convergence analysis and enhanced design", algorithm 1 with iterative
// differentiation):
//
//	y_0 = y;  y_{t+1} = y_t - α ∇yG(x,y_t),  t = 0, …, D-1
//	x₊ = P_X(x - β dF(x,y_D(x))/dx),  with y_0 counted as a constant;  y₊ = y_D
//
// and the derivative backwards through the steps: a = ∇yF(x,y_D) and g = ∇xF(x,y_D), then for t = D-1, …, 0
//
//	g ← g - α ∇²xyG(x,y_t) a;  a ← a - α ∇²yyG(x,y_t) a
//
// The steps start from the last y, with Cold from the start values in every iteration; then the derivative is that of
// x ↦ F(x,y_D(x)) itself. Where y is near y*(x) the steps make of a what a Neumann series of D terms makes of ∇yF: the
// direction misses up to (1-αμ)^D of the implicit term, and the point that it comes to is off accordingly, so that D
// must grow with the accuracy that is wanted. α does not follow the schedule, because shorter steps would miss more.
//
// The paper's method is deterministic, for a smooth lower level that is strongly convex in y, with α at most 1/L. Where
// a level draws minibatches, each inner step has a new one, which is also that of its derivative, so that the direction
// is the exact derivative of the steps that were taken; it is biased for ∇h, because a minibatch serves in y_D and in
// the derivative. The state is x and y, with Cold also the start values of y; the device holds the D iterates and what
// their passes need while an iteration goes on, so that its memory grows with D. Running statistics move with the inner
// steps. An iteration costs D gradients of G, one of F, D-1 products with H and D with C.
type ITDBiO struct {
	Step       float64         `json:"step"`        // α; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // β; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // D; 0: 10
	Cold       bool            `json:"cold"`        // the inner steps start at the start values in every iteration
	Schedule   engine.Schedule `json:"schedule"`    // of β
}

func (ITDBiO) Name() string { return "itd-bio" }

func (ITDBiO) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "it differentiates gradient steps on one smooth lower level without constraints, whose variable lasts, " +
			"and needs it strongly convex for these steps to come near its minimizer, and an x that is free or in a " +
			"set",
	}
}

func (a ITDBiO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("itd-bio", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("itd-bio", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	return unrolling{"itd-bio", a.Step, a.OuterStep, a.InnerSteps, a.InnerSteps, a.Cold, a.Schedule}.spec(b, r), nil
}

// unrolling is gradient steps on y of which the last few are differentiated.
type unrolling struct {
	name            string
	step, outerStep float64
	steps, last     int
	cold            bool
	schedule        engine.Schedule
}

func (a unrolling) spec(b *problem.Bound, r Run) engine.Spec {
	draws := []engine.Draw{{Of: problem.Upper}}
	for t := range a.steps {
		draws = append(draws, engine.Draw{Name: fmt.Sprint("lower ", t+1), Of: problem.Lower})
	}
	state, from := start(b), "y"
	if a.cold {
		from = "y0"
		state = append(state, engine.Array{Name: from, Values: b.Lower.Start.Flat, Unwatched: true})
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, step, zeta := s.Get("x"), s.Get(from), it.Rate("inner"), it.Batch("upper")
		points := make([]*problem.Point, a.steps)
		for t := range points {
			// The derivatives at a point must not go on through y to x: that is what the recursion below does.
			points[t] = it.Lower(x, y.StopGradient(), it.Batch(draws[t+1].Name))
			y = y.Sub(step.Mul(points[t].GradY()))
			it.Commit(points[t])
		}
		f := it.Upper(x, y.StopGradient(), zeta)
		slope, adjoint := f.Grad()
		first := a.steps - a.last
		for t := a.steps - 1; t >= first; t-- {
			slope = slope.Sub(step.Mul(points[t].Cross(adjoint)))
			if t > first {
				adjoint = adjoint.Sub(step.Mul(points[t].HVP(adjoint)))
			}
		}
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(slope)), zeta))
		s.Set("y", y)
	}
	return engine.Spec{
		State:  state,
		Rates:  []engine.Rate{r.rate("inner", a.step, "constant"), r.rate("outer", a.outerStep, a.schedule)},
		Phases: []engine.Phase{{Name: a.name, Draws: draws, Build: build}},
	}
}
