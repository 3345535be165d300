package check

import (
	"fmt"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
)

// Estimators is what is checked where nothing is said: every method, with settings that suit the eigenvalues of H at
// y*.
func Estimators(p *problem.Problem, s Spectrum) []Candidate {
	var all []Candidate
	add := func(label string, m hypergrad.Method) { all = append(all, Candidate{Label: label, Method: m}) }
	implicit := func(name string, solver linear.Solver) {
		add("implicit, "+name, hypergrad.Implicit{Solver: solver})
	}
	step := 1 / max(s.largest, 1e-12)
	implicit("CG to 1e-10", linear.CG{RTol: 1e-10})
	implicit("CG to 1e-3", linear.CG{RTol: 1e-3})
	implicit("3 steps of CG", linear.CG{MaxSteps: 3})
	for _, q := range []int{5, 50} {
		implicit(fmt.Sprintf("Neumann, %d terms", q), linear.Neumann{Step: step, Terms: q})
	}
	return all
}
