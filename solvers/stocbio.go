package solvers

import (
	"fmt"

	"bilevel/tensor"
)

// StocBiO solves the lower level by a few stochastic gradient steps from where it stood, and the linear system by a
// Neumann series of fixed length (Ji, Yang, Liang, ICML 2021, "Bilevel optimization: convergence analysis and enhanced
// design", algorithm 2):
//
//	D times:  y₊ = y - α ∇yG(x,y;ξ)
//	then:     v = η Σ_{q=0}^{Q} (I - η∇²yyG(x,y;ξ))^q ∇yF(x,y;ζ)
//	          x₊ = x - β (∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v)
//
// with a new lower minibatch for each inner step, and one new pair (ξ, ζ) for the rest: as in the authors' code one
// lower minibatch serves all factors of the series and C; unlike it the series carries its factor η and its term q = 0.
// v is kept for inspection; the next iteration does not read it.
// An iteration costs D gradients of G, one of F, Q products with H and one with C. α and η at most 1/L.
type StocBiO struct {
	Step        float64  // α
	OuterStep   float64  // β
	NeumannStep float64  // η
	Terms       int      // Q
	InnerSteps  int      // D
	Schedule    Schedule // of α and β
}

func (StocBiO) Name() string { return "stocbio" }

// Init compiles the two phases for a run of n iterations.
func (a StocBiO) Init(ex *tensor.Executor, p *Problem, n int) (State, error) {
	if !positive(a.Step, a.OuterStep, a.NeumannStep) || a.Terms < 0 || a.InnerSteps < 1 {
		return nil, fmt.Errorf("stocbio: steps %g, %g and %g, %d terms, %d inner steps: wants positive, finite ones",
			a.Step, a.OuterStep, a.NeumannStep, a.Terms, a.InnerSteps)
	}
	if err := refuseSet("stocbio", p); err != nil {
		return nil, err
	}
	rate := func(to []float64, k int) []float64 {
		f := a.Schedule.at(k, n)
		return append(to, a.Step*f, a.OuterStep*f)
	}
	inner := func(it *iteration, s []*tensor.Node) []*tensor.Node {
		x, y := s[0], s[1]
		return []*tensor.Node{x, y.Sub(it.Rate(0).Mul(it.LowerGradient(x, y, it.Lower))), s[2]}
	}
	outer := func(it *iteration, s []*tensor.Node) []*tensor.Node {
		x, y := s[0], s[1]
		fx, term := it.UpperGradient(x, y, it.Upper)
		sum := term
		for range a.Terms {
			term = term.Sub(it.HVP(x, y, it.Lower, term).Scale(a.NeumannStep))
			sum = sum.Add(term)
		}
		v := sum.Scale(a.NeumannStep)
		cv := it.Cross(x, y, it.Lower, v)
		return []*tensor.Node{x.Sub(it.Rate(1).Mul(fx.Sub(cv))), y, v}
	}
	return newStochastic(ex, p, []namedStart{{"x", p.X0}, {"y", p.Y0}, {"v", make([]float64, len(p.Y0))}}, rate,
		phaseSpec{name: "stocbio inner", times: a.InnerSteps, lower: true, build: inner},
		phaseSpec{name: "stocbio outer", times: 1, lower: true, upper: true, build: outer})
}
