package prune

import (
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// officialSpec is what the authors' public program computes (OPTML-Group/BiP). Its scores are made by giving them the
// weights' storage, so that there is one vector θ, which is both: m = topk(|θ|), and
//
//	v ← μ v + m ⊙ ∇z G(z) + λ θ,                 θ ← θ - α v    for all weights, masked ones too
//	u ← μ u + a - (1/γ) a ⊙ a + λ θ,             θ ← θ - α u,   a = sign(θ) ⊙ θ ⊙ ∇z F(z)
//
// with one rate α, and 1/γ = 1e-4 there. a is the derivative that the straight-through mask passes to the scores; the
// product of two of them stands in place of the two different gradients of the implicit term. Masked weights move: they
// are scores.
func (m BiP) officialSpec(t Task, b *problem.Bound, k Kept) engine.Spec {
	return engine.Spec{
		State: []engine.Array{{Name: scoresMomentumName, Zeros: b.Lower.Start.Size(), Unwatched: true}},
		Phases: []engine.Phase{{
			Name: "weights", Draws: []engine.Draw{{Of: problem.Lower}},
			Repeat: func(int) int { return m.LowerSteps },
			Build: func(it *engine.Iteration, s *engine.State) {
				mask, theta := s.Get("x"), s.Get("y")
				p := at(it, problem.Lower, mask.Mul(theta), it.Batch("lower"))
				g := mask.Mul(gradient(p)).Add(theta.Scale(m.WeightDecay))
				descend(s, "y", momentumName, m.WeightMomentum, it.Rate("weight step"), g)
				t.choose(s, s.Next("y"), k.nodes())
				it.Commit(p)
			},
		}, {
			Name: "scores", Draws: []engine.Draw{{Of: problem.Upper}},
			Build: func(it *engine.Iteration, s *engine.State) {
				mask, theta := s.Get("x"), s.Get("y")
				gu := gradient(at(it, problem.Upper, mask.Mul(theta), it.Batch("upper")))
				ranked := t.Structure.Params.Mask(t.Structure.isRanked)
				a := theta.Abs().Mul(gu).Mul(ranked)
				g := a.Sub(a.Square().Scale(m.InverseGamma)).Add(theta.Mul(ranked).Scale(m.WeightDecay))
				if m.InverseGamma > 0 {
					noteTerm(s, g, a.Square().Scale(-m.InverseGamma))
				}
				descend(s, "y", scoresMomentumName, m.ScoreMomentum, it.Rate("score step"), g)
				t.choose(s, s.Next("y"), k.nodes())
			},
		}},
	}
}
