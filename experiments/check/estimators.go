package check

import (
	"fmt"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
)

// Estimators is what is checked where nothing is said: every method, with settings that suit the eigenvalues of H at
// y*. What does not apply to the problem is in the list too, because the reason is worth reading.
func Estimators(p *problem.Problem, s Spectrum) []Candidate {
	step := 1.0
	if s.largest > 0 {
		step = 1 / s.largest
	}
	var all []Candidate
	add := func(label string, m hypergrad.Method) { all = append(all, Candidate{Label: label, Method: m}) }
	implicit := func(name string, solver linear.Solver) { add("implicit, "+name, hypergrad.Implicit{Solver: solver}) }
	implicit("CG to 1e-10", linear.CG{RTol: 1e-10})
	implicit("CG to 1e-3", linear.CG{RTol: 1e-3})
	implicit("3 steps of CG", linear.CG{MaxSteps: 3})
	implicit("MINRES to 1e-10", linear.MINRES{RTol: 1e-10})
	implicit("GMRES to 1e-10", linear.GMRES{RTol: 1e-10})
	for _, q := range []int{5, 50} {
		implicit(fmt.Sprintf("Neumann, %d terms", q), linear.Neumann{Step: step, Terms: q})
	}
	gradient := hypergrad.GradientSteps{Step: step}
	add("one-step", hypergrad.OneStep{Inner: gradient})
	add("unrolled, 10 steps", hypergrad.Unrolled{Inner: gradient, Steps: 10})
	add("unrolled, 100 steps", hypergrad.Unrolled{Inner: gradient, Steps: 100})
	add("unrolled, 100 momentum steps", hypergrad.Unrolled{
		Inner: hypergrad.MomentumSteps{Step: step / 2, Beta: 0.8}, Steps: 100})
	add("unrolled, 100 sign steps", hypergrad.Unrolled{Inner: hypergrad.SignSteps{Step: 0.01, Decay: 1}, Steps: 100})
	add("truncated, 10 of 100 steps", hypergrad.Truncated{Inner: gradient, Steps: 100, Last: 10})
	for _, t := range []int{10, 100, 1000} {
		all = append(all, Candidate{
			Label:  fmt.Sprintf("unrolled, %d steps from the start", t),
			Method: hypergrad.Unrolled{Inner: gradient, Steps: t}, FromStart: true,
		})
	}
	return all
}
