package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// Alternation takes steps on y for G and then a step on x for F, as if y did not depend on x: the plain alternation
// that tutorials on bi-level optimization show as the failure that they begin with. It is here to be compared with.
//
//	T times:  y₊ = y - β ∇yG(x,y;ξ)
//	then:     x₊ = P_X(x - α ∇xF(x,y;ζ))
//
// It leaves the implicit term C v out, and comes to a point where ∇xF = 0 and ∇yG = 0, which is none of h unless that
// term vanishes, or to none: on F = xy, G = -xy it goes round for ever on the ellipse βx² + αy² + αβxy, where
// αβ < 4. Where F does not depend on x itself x never moves, and the problem is refused unless Still says that this is
// meant. The state is x and y. Running statistics move with the inner steps. An iteration costs T gradients of G and
// one of F.
type Alternation struct {
	Step       float64         `json:"step"`        // β; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // α; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // T; 0: 1
	Schedule   engine.Schedule `json:"schedule"`    // of α and β
	// Still lets x stand still where F does not depend on it: the control of a comparison, which moves y alone.
	Still bool `json:"still"`
}

func (Alternation) Name() string { return "alternation" }

func (a Alternation) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.ModelState, WantsDirectX: !a.Still, Why: directWhy}
}

// directWhy is what algorithms need that know the direct part of the hypergradient only.
const directWhy = "it takes gradient steps on two smooth objectives, of a lower variable that lasts and is free and " +
	"of an x that is free or in a set, and moves x along ∇xF alone"

func (a Alternation) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("alternation", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("alternation", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	return engine.Spec{
		State: start(b),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{
			descent("alternation", always(a.InnerSteps)),
			{Name: "alternation outer", Draws: []engine.Draw{{Of: problem.Upper}}, Build: directStep},
		},
	}, nil
}

// directStep moves x along ∇xF.
func directStep(it *engine.Iteration, s *engine.State) {
	zeta := it.Batch("upper")
	moveX(it, s, it.Upper(s.Get("x"), s.Get("y"), zeta).GradX(), zeta)
}

func (a Alternation) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 1)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}
