package prune

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// unrolledSpec is bip-unrolled: g is the derivative in m of F(m ⊙ θ_K), where θ_K is what K = LowerSteps steps on the
// weights make of θ, with their momentum, each on a minibatch of its own. The steps are those that the iteration takes,
// so that an iteration goes on with θ_K. It costs K lower gradients, an upper one, and K products with the Hessian of
// G.
func (m BiP) unrolledSpec(t Task, b *problem.Bound, k Kept) engine.Spec {
	draws := []engine.Draw{{Of: problem.Upper}}
	for i := range m.LowerSteps {
		draws = append(draws, engine.Draw{Name: lowerDraw(i), Of: problem.Lower})
	}
	return engine.Spec{Phases: []engine.Phase{{
		Name: "unrolled", Draws: draws,
		Build: func(it *engine.Iteration, s *engine.State) {
			mask, theta := s.Get("x"), s.Get("y")
			step := func(i int, z *tensor.Node) *tensor.Node {
				p := at(it, problem.Lower, z, it.Batch(lowerDraw(i)))
				it.Commit(p)
				return gradient(p)
			}
			last, v := m.unroll(mask, theta, s.Get(momentumName), it.Rate("weight step"), step)
			upper := it.Upper(mask, last, it.Batch("upper"))
			g := tensor.Grad(upper.Value(), mask)[0]
			direct := tensor.Grad(upper.Value(), mask, last)[0] // with θ_K fixed
			s.Set("y", last)
			s.Set(momentumName, v)
			m.score(it, s, t, g, g.Sub(direct), k)
		},
	}}}
}

func lowerDraw(i int) string { return fmt.Sprint("lower ", i+1) }

// unroll takes the steps as a graph: gradient gives ∇z G(z) for step i. The derivative of a masked weight in its own
// mask is left out, since the loss does not see that weight.
func (m BiP) unroll(mask, theta, v, rate *tensor.Node, gradient func(i int, z *tensor.Node) *tensor.Node) (
	last, velocity *tensor.Node) {
	for i := range m.LowerSteps {
		g := mask.Mul(gradient(i, mask.Mul(theta))).Add(theta.Scale(m.WeightDecay))
		next := v.Scale(m.WeightMomentum).Add(g)
		v = tensor.Where(mask, next, v)
		theta = tensor.Where(mask, theta.Sub(rate.Mul(next)), theta)
	}
	return theta, v
}
