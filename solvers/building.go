package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Reasons of refusals that several algorithms share.
const (
	solvesWhy = "its linear system needs one lower level with a smooth, strongly convex objective, without " +
		"constraints, whose variable lasts, and its steps an x that is free or in a set"
	gradientsWhy = "it takes gradient steps on two smooth objectives, of variables that last and are free or in a set"
)

// descent is a phase of stochastic gradient steps on y at the rate "inner", each with a new lower minibatch. Running
// statistics move with each.
func descent(name string, repeat func(k int) int) engine.Phase {
	return engine.Phase{
		Name: name + " inner", Repeat: repeat, Draws: []engine.Draw{{Of: problem.Lower}},
		Build: func(it *engine.Iteration, s *engine.State) {
			y := s.Get("y")
			g := it.Lower(s.Get("x"), y, it.Batch("lower"))
			s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY())))
			it.Commit(g)
		},
	}
}

// implicitStep is a phase that computes v at (x, y) on one pair of minibatches and moves x along ∇xF - C v at the rate
// "outer".
func implicitStep(name string, adjoint func(g, f *problem.Point, v *tensor.Node) *tensor.Node) engine.Phase {
	return engine.Phase{
		Name: name + " outer", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
		Build: func(it *engine.Iteration, s *engine.State) {
			x, y, zeta := s.Get("x"), s.Get("y"), it.Batch("upper")
			g, f := it.Lower(x, y, it.Batch("lower")), it.Upper(x, y, zeta)
			v := adjoint(g, f, s.Get("v"))
			moveX(it, s, f.GradX().Sub(g.Cross(v)), zeta)
			s.Set("v", v)
		},
	}
}

// moveX takes a step of x at the rate "outer", and back into its set.
func moveX(it *engine.Iteration, s *engine.State, slope *tensor.Node, zeta problem.Batch) {
	s.Set("x", it.Project(problem.Upper, s.Get("x").Sub(it.Rate("outer").Mul(slope)), zeta))
}

// twoRates are the rates "inner" and "outer" of steps that follow one schedule.
func twoRates(r Run, inner, outer float64, s engine.Schedule) []engine.Rate {
	return []engine.Rate{r.rate("inner", inner, s), r.rate("outer", outer, s)}
}

// growingLoop are the settings of a descent whose number of steps grows over the iterations, and of the step of x after
// it.
type growingLoop struct {
	step, outer float64
	steps       int
	exponent    float64
	schedule    engine.Schedule
}

// check refuses steps and a growing loop that cannot be.
func (g growingLoop) check(name string) error {
	return cmp.Or(checkSteps(name, g.schedule, field{"step", g.step}, field{"outer_step", g.outer}),
		checkCounts(name, count{"inner_steps", g.steps}), checkGrowth(name, g.exponent))
}

func (g growingLoop) rates(r Run) []engine.Rate { return twoRates(r, g.step, g.outer, g.schedule) }

func (g growingLoop) descent(name string) engine.Phase {
	return descent(name, growingSteps(g.steps, max(0, g.exponent)))
}

// implicit is BA and BSG-H: a growing loop of descent, and a step of x with v by so many steps of conjugate gradients
// from 0.
func (g growingLoop) implicit(name string, b *problem.Bound, r Run, cgSteps int) (engine.Spec, error) {
	if err := cmp.Or(g.check(name), checkCounts(name, count{"cg_steps", cgSteps})); err != nil {
		return engine.Spec{}, err
	}
	solve := func(g, f *problem.Point, _ *tensor.Node) *tensor.Node {
		return conjugateGradients(g.HVP, f.GradY(), nil, cgSteps)
	}
	return engine.Spec{
		State: start(b, "v"), Rates: g.rates(r),
		Phases: []engine.Phase{g.descent(name), implicitStep(name, solve)},
	}, nil
}

// checkGrowth refuses exponents by which a loop cannot grow.
func checkGrowth(algorithm string, exponent float64) error {
	if exponent != -1 && !(exponent >= 0 && exponent <= 1) {
		return fmt.Errorf("%s: inner_exponent is %g: wants a number from 0 to 1, or -1 for loops of one length",
			algorithm, exponent)
	}
	return nil
}
