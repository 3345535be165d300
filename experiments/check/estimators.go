package check

import (
	"fmt"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
)

// Estimators is what is checked where nothing is said: every method, with settings that suit the eigenvalues of H at y*
// and the unit round-off of the device. Of the methods that do not apply to the problem, one of each kind is in the
// list too, because the reason is worth reading.
func Estimators(p *problem.Problem, s Spectrum, unit float64) []Candidate {
	step := 1.0
	if s.largest > 0 {
		step = 1 / s.largest
	}
	l := &list{problem: p, tight: 1e-10}
	if unit > l.tight {
		l.tight = 1e-6
	}
	l.implicit(s, step)
	l.others()
	l.minMin(step)
	l.paths(step)
	l.add("value function, λ = 10", hypergrad.ValueFunction{Lambda: 10})
	l.add("value function, λ = 1000", hypergrad.ValueFunction{Lambda: 1000})
	return l.all
}

// list collects candidates.
type list struct {
	problem *problem.Problem
	tight   float64 // the tolerance of systems that are meant to be solved
	all     []Candidate
}

func (l *list) add(label string, m hypergrad.Method) {
	l.all = append(l.all, Candidate{Label: label, Method: m})
}

// to is the label of a system solved to the tolerance.
func (l *list) to(name string) string { return fmt.Sprintf("%s to %.0e", name, l.tight) }

// implicit adds what solves H v = ∇yF.
func (l *list) implicit(s Spectrum, step float64) {
	solve := func(name string, solver linear.Solver) { l.add("implicit, "+name, hypergrad.Implicit{Solver: solver}) }
	solve(l.to("CG"), linear.CG{RTol: l.tight})
	if l.problem.Features()&held != 0 {
		return // all of its kind are refused for the same reason
	}
	solve("CG to 1e-3", linear.CG{RTol: 1e-3})
	solve("3 steps of CG", linear.CG{MaxSteps: 3})
	solve("dense", linear.Dense{})
	solve(l.to("MINRES"), linear.MINRES{RTol: l.tight})
	for _, q := range []int{5, 50} {
		solve(fmt.Sprintf("Neumann, %d terms", q), linear.Neumann{Step: step, Terms: q})
	}
	solve("Neumann to a bias of 1e-3", linear.NeumannToBias{Bias: 1e-3})
	solve("Neumann of random length below 20", linear.RandomNeumann{Step: step, Terms: 20})
	solve("H = γI", linear.ScaledIdentity{Gamma: 1 / step})
	solve("WoodFisher", linear.WoodFisher{Damping: max(s.least, 1e-3/step)})
	solve("50 steps of SGD", linear.SGD{Step: step / 2, Steps: 50, Batch: 4})
	l.add("implicit, CG to 1e-6 by differences", hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}, Differences: true})
	if l.problem.Lower.Composite != nil {
		l.add("implicit, Gauss-Newton", hypergrad.Implicit{Solver: linear.CG{RTol: l.tight}, GaussNewton: true})
	}
	if n := l.problem.Lower.Start.Size(); n > 2 {
		solve(fmt.Sprintf("Nyström of rank %d", n/2), linear.Nystrom{Rank: n / 2, Rho: max(s.least, 1e-3/step)})
	}
}

// others adds the implicit methods of lower levels that are no free minimization.
func (l *list) others() {
	exact := linear.CG{RTol: l.tight}
	l.add(l.to("KKT, CG"), hypergrad.KKT{Solver: exact})
	l.add(l.to("prox, CG"), hypergrad.Prox{Solver: exact})
	l.add(l.to("root, GMRES"), hypergrad.Root{Solver: linear.GMRES{RTol: l.tight}})
	if l.problem.Lower.Residual != nil {
		l.add(l.to("root, BiCGSTAB"), hypergrad.Root{Solver: linear.BiCGSTAB{RTol: l.tight}})
		l.add("root, 3 steps of GMRES", hypergrad.Root{Solver: linear.GMRES{MaxSteps: 3}})
		l.add("root, Jacobian-free", hypergrad.Root{Solver: linear.ScaledIdentity{}})
		l.add("root, CG", hypergrad.Root{Solver: exact})
	}
}

// minMin adds the estimators for problems whose levels have one objective.
func (l *list) minMin(step float64) {
	l.add("min-min, analytic", hypergrad.MinMinAnalytic{})
	if l.problem.MinMin {
		inner := hypergrad.GradientSteps{Step: step}
		l.add("min-min, automatic, 10 steps", hypergrad.MinMinAutomatic{Inner: inner, Steps: 10})
		l.add("min-min, implicit", hypergrad.MinMinImplicit{Solver: linear.CG{RTol: l.tight}})
	}
}

// paths adds what differentiates steps: from y*, and from the start value of y.
func (l *list) paths(step float64) {
	gradient := hypergrad.GradientSteps{Step: step}
	l.add("unrolled, 10 steps", hypergrad.Unrolled{Inner: gradient, Steps: 10})
	if l.problem.Features()&(problem.LowerConstraints|problem.LowerResidual) != 0 {
		return
	}
	l.add("unrolled, 100 steps", hypergrad.Unrolled{Inner: gradient, Steps: 100})
	momentum := hypergrad.MomentumSteps{Step: step / 2, Beta: 0.8}
	l.add("unrolled, 100 momentum steps", hypergrad.Unrolled{Inner: momentum, Steps: 100})
	l.add("sign descent, 100 steps", hypergrad.SignDescent{
		Inner: hypergrad.SignSteps{Step: 0.01, Decay: 1}, Steps: 100,
	})
	l.add("forward, 10 steps", hypergrad.Forward{Inner: gradient, Steps: 10})
	l.add("reversible, 100 steps", hypergrad.Reversible{Inner: momentum, Steps: 100})
	l.add("truncated, 10 of 100 steps", hypergrad.Truncated{Inner: gradient, Steps: 100, Last: 10})
	l.add("one-step", hypergrad.OneStep{Inner: gradient})
	l.add("zeroth order, 20 directions", hypergrad.ZerothOrder{Inner: gradient, Steps: 100, Directions: 20})
	for _, t := range []int{10, 100, 1000} {
		l.all = append(l.all, Candidate{
			Label:  fmt.Sprintf("unrolled, %d steps from the start", t),
			Method: hypergrad.Unrolled{Inner: gradient, Steps: t}, FromStart: true,
		})
	}
}
