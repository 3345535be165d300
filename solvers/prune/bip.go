package prune

import (
	"context"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BiP is bi-level pruning (Zhang, Yao, Ram, Zhao, Chen, Hong, Wang, Liu, NeurIPS 2022). The mask is m = topk(|s|), and
// an iteration takes LowerSteps steps on the weights, on minibatches of the lower level, and one on the scores:
//
//	v ← μ v + m ⊙ ∇z G(z) + λ θ,   θ ← θ - α v                    where m is 1; elsewhere θ and v stay
//	g = (θ - (1/γ) m ⊙ ∇z G(z)) ⊙ ∇z F(z),   z = m ⊙ θ            the total derivative of F(m ⊙ θ*(m))
//	u ← ν u + g,                   s ← s - β u
//
// The second factor of the implicit term is dθ*/dm = -(1/γ) diag(∇z G(z)), the implicit function theorem for
// G(m ⊙ θ) + γ/2 |θ|² without the Hessian of G. Scores start at |θ|, and g counts as a derivative in |s|, as in the
// paper; the public program multiplies it by sign(s) (ScoreSign). With units, g is summed over the parameters of each,
// and scores start at the units' magnitudes.
//
// Rows lists the variants. An iteration costs a lower gradient for each step on the weights, an upper one, and with the
// implicit term another lower one.
type BiP struct {
	Row            string          `json:"row"` // empty: bip
	WeightStep     float64         `json:"weight_step"`
	WeightMomentum float64         `json:"weight_momentum"`
	WeightSchedule engine.Schedule `json:"weight_schedule"`
	WeightDecay    float64         `json:"weight_decay"` // λ, in the step on the weights
	ScoreStep      float64         `json:"score_step"`   // β
	ScoreMomentum  float64         `json:"score_momentum"`
	ScoreSchedule  engine.Schedule `json:"score_schedule"`
	ScoreSign      bool            `json:"score_sign"`
	// InverseGamma is 1/γ of the implicit term, which need not be that of the weight decay λ.
	InverseGamma float64 `json:"inverse_gamma"`
	// Batches is from how many minibatches the implicit term takes its two factors: 2, and ∇z G is of a minibatch of
	// the lower level; or 1, and both are of that of the upper level. 0: 2.
	Batches    int `json:"batches"`
	LowerSteps int `json:"lower_steps"` // 0: 1
	// CGSteps and CGTolerance are of bip-exact; 0: 20 steps, to 1e-3 of the right-hand side.
	CGSteps     int     `json:"cg_steps"`
	CGTolerance float64 `json:"cg_tolerance"`
}

// The variants of BiP.
const (
	RowBiP        = "bip"             // as above
	RowNoImplicit = "bip-no-implicit" // g = θ ⊙ ∇z F(z): plain alternation
	// RowOfficial is the public program, see officialSpec.
	RowOfficial = "bip-official"
	// RowUnrolled differentiates through the LowerSteps steps on the weights that the iteration takes.
	RowUnrolled = "bip-unrolled"
	// RowExact has the implicit term with the Hessian of G, by conjugate gradients.
	RowExact = "bip-exact"
)

// Rows lists the variants of BiP with what is peculiar to each.
func Rows() []struct{ Name, About string } {
	return []struct{ Name, About string }{
		{RowBiP, "the implicit term without Hessians, -(1/γ) m ⊙ ∇G ⊙ ∇F"},
		{RowNoImplicit, "no implicit term: plain alternation"},
		{RowOfficial, "the public program: scores are the weights themselves, g = ∂F/∂s - 1/γ (∂F/∂s)²"},
		{RowUnrolled, "through the lower steps"},
		{RowExact, "the implicit term with the Hessian, by conjugate gradients"},
	}
}

// specs has the builder of each variant.
var specs = map[string]func(BiP, Task, *problem.Bound, Kept) engine.Spec{
	RowBiP: BiP.freeSpec, RowNoImplicit: BiP.freeSpec, RowOfficial: BiP.officialSpec, RowUnrolled: BiP.unrolledSpec,
	RowExact: BiP.exactSpec,
}

func (m BiP) Name() string {
	if m.Row == "" {
		return RowBiP
	}
	return m.Row
}

func (m BiP) Spec(ctx context.Context, t Task, b *problem.Bound, k Kept, n int) (spec engine.Spec, err error) {
	if err := m.Check(); err != nil {
		return spec, err
	}
	if m.LowerSteps == 0 {
		m.LowerSteps = 1
	}
	scores, official := []float64(nil), m.Name() == RowOfficial
	if official {
		if t.Structure.ByUnit() {
			return spec, fmt.Errorf("%s: its scores are the weights: it prunes single weights, not units", m.Name())
		}
		scores = b.Lower.Start.Flat
	} else if scores, err = Magnitude(ctx, b.Executor, t.Structure, b.Lower.Start.Flat); err != nil {
		return spec, err
	}
	states, err := t.states(b, k, scores, !official, true)
	if err != nil {
		return spec, err
	}
	spec = specs[m.Name()](m, t, b, k)
	if spec.State = append(states, spec.State...); m.InverseGamma > 0 || m.Name() == RowUnrolled {
		spec.State = append(spec.State, engine.Array{Name: termName, Zeros: 3, Unwatched: true})
	}
	spec.Rates = []engine.Rate{
		m.WeightSchedule.Scaled("weight step", m.WeightStep, n), m.ScoreSchedule.Scaled("score step", m.ScoreStep, n),
	}
	return spec, nil
}

// Check refuses settings that can never work.
func (m BiP) Check() error {
	name := m.Name()
	if specs[name] == nil {
		var names []string
		for _, row := range Rows() {
			names = append(names, row.Name)
		}
		return fmt.Errorf("row is %q: wants one of %v", m.Row, names)
	}
	err := joined(positive(name, "weight_step", m.WeightStep), positive(name, "score_step", m.ScoreStep),
		fraction(name, "weight_momentum", m.WeightMomentum), fraction(name, "score_momentum", m.ScoreMomentum),
		notNegative(name, "weight_decay", m.WeightDecay), notNegative(name, "inverse_gamma", m.InverseGamma),
		notNegative(name, "cg_tolerance", m.CGTolerance), m.WeightSchedule.Check(), m.ScoreSchedule.Check())
	switch {
	case err != nil:
		return err
	case (name == RowNoImplicit || name == RowUnrolled) && m.InverseGamma != 0:
		return fmt.Errorf("%s: inverse_gamma is %g: this row has no such term; wants 0", name, m.InverseGamma)
	case name == RowExact && m.InverseGamma == 0:
		return fmt.Errorf("%s: inverse_gamma is 0: wants 1/γ above 0", name)
	case m.Batches < 0 || m.Batches > 2:
		return fmt.Errorf("%s: batches is %d: wants 1 or 2 (0: 2)", name, m.Batches)
	case m.LowerSteps < 0 || m.LowerSteps > mostLowerSteps || m.CGSteps < 0:
		return fmt.Errorf("%s: lower_steps is %d and cg_steps is %d: wants 1 to %d (0: 1), and 0 or more", name,
			m.LowerSteps, m.CGSteps, mostLowerSteps)
	case name == RowOfficial && m.ScoreStep != m.WeightStep:
		return fmt.Errorf("%s: score_step is %g and weight_step %g: the public program has one rate for both", name,
			m.ScoreStep, m.WeightStep)
	}
	return nil
}

// mostLowerSteps bounds the steps of an iteration, which bip-unrolled has in one program.
const mostLowerSteps = 64

// weights is the phase of the steps on the weights.
func (m BiP) weights() engine.Phase {
	return engine.Phase{
		Name: "weights", Draws: []engine.Draw{{Of: problem.Lower}},
		Repeat: func(int) int { return m.LowerSteps },
		Build: func(it *engine.Iteration, s *engine.State) {
			mask, theta := s.Get("x"), s.Get("y")
			p := at(it, problem.Lower, mask.Mul(theta), it.Batch("lower"))
			g := mask.Mul(gradient(p))
			if m.WeightDecay > 0 {
				g = g.Add(theta.Scale(m.WeightDecay))
			}
			descend(s, "y", momentumName, m.WeightMomentum, it.Rate("weight step"), g)
			hold(s, mask, "y")
			if m.WeightMomentum > 0 {
				hold(s, mask, momentumName)
			}
			it.Commit(p)
		},
	}
}

// freeSpec is bip, or with 1/γ = 0 bip-no-implicit.
func (m BiP) freeSpec(t Task, b *problem.Bound, k Kept) engine.Spec {
	draws := []engine.Draw{{Of: problem.Upper}}
	if m.InverseGamma > 0 && m.Batches != 1 {
		draws = append(draws, engine.Draw{Of: problem.Lower})
	}
	return engine.Spec{Phases: []engine.Phase{m.weights(), {
		Name: "scores", Draws: draws,
		Build: func(it *engine.Iteration, s *engine.State) {
			mask, theta := s.Get("x"), s.Get("y")
			z, batch := mask.Mul(theta), it.Batch("upper")
			gu := gradient(at(it, problem.Upper, z, batch))
			var gl *tensor.Node
			switch {
			case m.InverseGamma == 0:
			case m.Batches == 1:
				gl = gradient(at(it, problem.Lower, z, batch))
			default:
				gl = gradient(at(it, problem.Lower, z, it.Batch("lower")))
			}
			var term *tensor.Node
			if m.InverseGamma > 0 {
				term = mask.Mul(gl).Mul(gu).Scale(-m.InverseGamma)
			}
			m.score(it, s, t, hessianFree(mask, theta, gl, gu, m.InverseGamma), term, k)
		},
	}}}
}

// hessianFree is (θ - (1/γ) m ⊙ ∇z G(z)) ⊙ ∇z F(z). gl and gu are the two gradients; gl is not looked at where 1/γ is
// 0.
func hessianFree(mask, theta, gl, gu *tensor.Node, inverseGamma float64) *tensor.Node {
	if inverseGamma == 0 {
		return theta.Mul(gu)
	}
	return theta.Sub(mask.Mul(gl).Scale(inverseGamma)).Mul(gu)
}

// score is the step on the scores along a derivative in the mask [q], and the mask that follows. term is the implicit
// part of the derivative, nil where there is none.
func (m BiP) score(it *engine.Iteration, s *engine.State, t Task, g, term *tensor.Node, k Kept) {
	g = t.Structure.Pool(t.marks(s), g)
	if term != nil {
		noteTerm(s, g, t.Structure.Pool(t.marks(s), term))
	}
	if m.ScoreSign {
		g = g.Mul(s.Get(scoresName).Sign())
	}
	descend(s, scoresName, scoresMomentumName, m.ScoreMomentum, it.Rate("score step"), g)
	t.choose(s, s.Next(scoresName), k.nodes())
}
