package solvers

import (
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// series is a Neumann series of randomized length (Ghadimi, Wang, arXiv 1802.02246, 2018, algorithm 3): with a length k
// drawn uniformly from 0, …, Q-1 and a new lower minibatch for each factor
//
//	v = Qη (I - η∇²yyG(x,y;ξ_k)) ··· (I - η∇²yyG(x,y;ξ_1)) b
//
// Its mean over lengths and minibatches is η Σ_{j<Q} (I - ηH)^j b, the series of fixed length with Q terms, whose bias
// v - H⁻¹b = -(I - ηH)^Q H⁻¹b falls with Q for η below 2/L. It costs (Q-1)/2 products with H on average and Q-1 at
// most; its variance grows like (Qη)².
type series struct {
	step  float64 // η
	terms int     // Q
}

// factors are what a series multiplies: the state's vector u, which holds b before the first factor, at the point
// (x, y), all three by their names in the state.
type factors struct{ x, y, u string }

// check refuses settings of a series that make no sense.
func (s series) check(algorithm string) error {
	if s.terms < 1 || s.terms > math.MaxInt32 {
		return fmt.Errorf("%s: terms is %d: wants at least 1", algorithm, s.terms)
	}
	return nil
}

// phase multiplies by one factor as often as the iteration's length says. Where there are several places, as
// differences of estimates at two points need them, they have the same length and the same minibatches.
func (s series) phase(name string, r Run, places ...factors) engine.Phase {
	return engine.Phase{
		Name:   name,
		Repeat: func(k int) int { return r.draw(k, s.terms) },
		Draws:  []engine.Draw{{Of: problem.Lower}},
		Build: func(it *engine.Iteration, state *engine.State) {
			xi := it.Batch("lower")
			for _, at := range places {
				u := state.Get(at.u)
				g := it.Lower(state.Get(at.x), state.Get(at.y), xi)
				state.Set(at.u, u.Sub(g.HVP(u).Scale(s.step)))
			}
		},
	}
}

// iteration is the phases of an iteration that takes inner steps on y, each with a new lower minibatch, estimates v at
// the new y by the series on b = ∇yF(x,y;ζ), and moves x by ∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v. They use the state's vectors
// x, y, v, which holds b and its products meanwhile, and what u keeps of ∇xF until x moves, and the rates "inner" and
// "outer". Running statistics move with the inner steps.
func (s series) iteration(name string, r Run, innerSteps func(k int) int, u upperSlope) []engine.Phase {
	lower, upper := []engine.Draw{{Of: problem.Lower}}, []engine.Draw{{Of: problem.Upper}}
	inner := func(it *engine.Iteration, s *engine.State) {
		y := s.Get("y")
		g := it.Lower(s.Get("x"), y, it.Batch("lower"))
		s.Set("y", y.Sub(it.Rate("inner").Mul(g.GradY())))
		it.Commit(g)
	}
	begin := func(it *engine.Iteration, s *engine.State) {
		f := it.Upper(s.Get("x"), s.Get("y"), it.Batch("upper"))
		s.Set("v", f.GradY())
		u.keep(s, f)
	}
	outer := func(it *engine.Iteration, state *engine.State) {
		v := s.sum(state.Get("v"))
		cv := it.Lower(state.Get("x"), state.Get("y"), it.Batch("lower")).Cross(v)
		state.Set("x", it.Project(problem.Upper, u.step(state, it.Rate("outer"), cv), it.All(problem.Upper)))
		state.Set("v", v)
	}
	return []engine.Phase{
		{Name: name + " inner", Repeat: innerSteps, Draws: lower, Build: inner},
		{Name: name + " gradient", Draws: upper, Build: begin},
		s.phase(name+" series", r, factors{"x", "y", "v"}),
		{Name: name + " outer", Draws: lower, Build: outer},
	}
}

// sum is v, of what the factors have left in u.
func (s series) sum(u *tensor.Node) *tensor.Node { return u.Scale(float64(s.terms) * s.step) }
