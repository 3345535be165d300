package prune

import (
	"bilevel/solvers/engine"
	"bilevel/tensor"
)

// termName is the state that sums up what the implicit term did in each iteration: its share, its cosine, and the
// number of iterations.
const termName = "implicit term"

// noteTerm adds an iteration in which the term is a part of the derivative g: |term| / |g|, and the cosine of the angle
// between the two. An iteration in which one of them is 0 adds 0 to what it cannot give.
func noteTerm(s *engine.State, g, term *tensor.Node) {
	a, b, ab := tensor.Dot(term, term).Reshape(1), tensor.Dot(g, g).Reshape(1), tensor.Dot(term, g).Reshape(1)
	over := func(x, y *tensor.Node) *tensor.Node {
		zero := y.Eq(tensor.Const(0))
		return tensor.Where(zero, tensor.Const(0), x.Div(tensor.Where(zero, tensor.Const(1), y)))
	}
	share, cosine := over(a, b).Sqrt(), over(ab, a.Sqrt().Mul(b.Sqrt()))
	s.Set(termName, s.Get(termName).Add(tensor.Concat(0, share, cosine, tensor.Full(1, 1))))
}

// Term is what the implicit term did in a search, on average over its iterations.
type Term struct {
	Share  float64 // |term| / |g|, where g is the derivative that scores move along
	Cosine float64 // between the two
}

// TermOf reads it from the state of a run; ok is false where the search has no such term.
func TermOf(state map[string][]float64) (t Term, ok bool) {
	a := state[termName]
	if len(a) != 3 || a[2] == 0 {
		return t, false
	}
	return Term{a[0] / a[2], a[1] / a[2]}, true
}
