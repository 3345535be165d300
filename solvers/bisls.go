package solvers

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BiSLS finds the steps of both levels by line searches on the minibatch at hand (Fan, Choné-Ducasse, Schmidt,
// Thrampoulidis, NeurIPS 2023, "BiSLS/SPS: auto-tune step sizes for stable bi-level optimization"):
//
//	T times:  y₊ = y - β g,  g = ∇yG(x,y;ξ),  for the longest β of 2β⁻, β⁻, β⁻/2, … with
//	          G(x,y₊;ξ) <= G(x,y;ξ) - c β |g|²
//	then:     v  by N conjugate gradients from 0 on ∇²yyG(x,y;ξ) v = ∇yF(x,y;ζ),  d = ∇xF(x,y;ζ) - ∇²xyG(x,y;ξ) v
//	          x₊ = P_X(x - α d)  for the longest α of 2α⁻, α⁻, α⁻/2, … with
//	          F(x₊,ŷ;ζ) <= F(x,y;ζ) - c ⟨d, x - x₊⟩,  ŷ = y - ∇²yyG⁻¹∇²yxG (x₊ - x)  by N conjugate gradients
//
// where β⁻ and α⁻ are the last steps that were taken, and ten lengths are tried. Where none will do, there is no move
// and the next search begins with shorter ones. The search for x looks at F where y has answered the move, which is the
// paper's idea; those steps of y are not taken. The paper lets y answer by one step of its own; the change of F is then
// not what d promises, and on quadratic problems that search refused nearly every length, which is why y answers to
// first order here. The paper begins its searches at bounds that fall over the iterations, an envelope whose constants
// could not be read, and has versions with Polyak's step and for Adam; doubling the last step is the rule here.
// Conditions allow for four units of round-off of the values; a step whose progress is below that says nothing about
// lengths, and is not remembered.
//
// G must be smooth and strongly convex in y. Searches on minibatches are biased towards steps that suit them; without
// an envelope noise does not die out. The state is x, y, v, and the last steps of both levels. Running statistics are
// not taken. An iteration costs T gradients and 11T values of G, one gradient and 11 values of F, N products with H
// and one with C, and as many again for the answer of y, ten times as many where x is in a set.
type BiSLS struct {
	Step       float64 `json:"step"`        // β⁻ in the first iteration; 0: chosen at the start values
	OuterStep  float64 `json:"outer_step"`  // α⁻ in the first iteration; 0: chosen at the start values
	InnerSteps int     `json:"inner_steps"` // T; 0: 10
	CGSteps    int     `json:"cg_steps"`    // N; 0: 10
	Decrease   float64 `json:"decrease"`    // c; 0: 0.1
}

// trials is how many lengths a line search tries.
const trials = 10

func (BiSLS) Name() string { return "bisls" }

func (BiSLS) Needs() Needs { return Needs{Usable: problem.UpperSet, Why: solvesWhy} }

func (a BiSLS) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(checkSteps("bisls", "", field{"step", a.Step}, field{"outer_step", a.OuterStep}),
		checkCounts("bisls", count{"inner_steps", a.InnerSteps}, count{"cg_steps", a.CGSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	if !(a.Decrease > 0 && a.Decrease < 1) {
		return engine.Spec{}, fmt.Errorf("bisls: decrease is %g: wants a number above 0 and below 1", a.Decrease)
	}
	bounded := b.Set(problem.Upper) != nil
	slack := 4 * b.Executor.Info().UnitRoundoff()
	// search is the step to remember, the longest that enough accepts, and the point it leads to.
	search := func(last, stay *tensor.Node, to func(step *tensor.Node) *tensor.Node,
		value *tensor.Node, enough func(length, there *tensor.Node) (value, progress *tensor.Node),
	) (step, there *tensor.Node) {
		there = stay
		remembered := last.Scale(math.Pow(2, 1-trials))
		limit := value.Add(value.Abs().Scale(slack))
		for i := trials - 1; i >= 0; i-- { // the longest that will do is chosen last
			length := last.Scale(math.Pow(2, float64(1-i)))
			trial := to(length).StopGradient()
			at, progress := enough(length, trial)
			good := at.Le(limit.Sub(progress.Scale(a.Decrease)))
			seen := value.Abs().Scale(slack).Lt(progress.Scale(a.Decrease))
			remembered = tensor.Where(good, tensor.Where(seen, length, last), remembered)
			there = tensor.Where(good, trial, there)
		}
		return remembered, there
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y, xi := s.Get("x"), s.Get("y"), it.Batch("lower")
		at := it.Lower(x, y, xi)
		g := at.GradY().StopGradient()
		step, there := search(s.Get("inner").Reshape(), y,
			func(step *tensor.Node) *tensor.Node { return y.Sub(step.Mul(g)) }, at.Value().Reshape(),
			func(_, there *tensor.Node) (value, progress *tensor.Node) {
				return it.Lower(x, there, xi).Value().Reshape(), tensor.Dot(g, y.Sub(there))
			})
		s.Set("y", there)
		s.Set("inner", step)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, xi, zeta := s.Get("x"), s.Get("y"), it.Batch("lower"), it.Batch("upper")
		g, f := it.Lower(x, y, xi), it.Upper(x, y, zeta)
		v := conjugateGradients(g.HVP, f.GradY(), nil, a.CGSteps)
		d := f.GradX().Sub(g.Cross(v)).StopGradient()
		// answer is how y follows a move of x, to first order.
		answer := func(move *tensor.Node) *tensor.Node {
			return conjugateGradients(g.HVP, g.CrossT(move).Neg(), nil, a.CGSteps)
		}
		along := answer(d)
		step, there := search(s.Get("outer").Reshape(), x,
			func(step *tensor.Node) *tensor.Node { return it.Project(problem.Upper, x.Sub(step.Mul(d)), zeta) },
			f.Value().Reshape(),
			func(length, there *tensor.Node) (value, progress *tensor.Node) {
				follow := length.Neg().Mul(along)
				if bounded {
					follow = answer(there.Sub(x).StopGradient())
				}
				at := it.Upper(there, y.Add(follow).StopGradient(), zeta)
				return at.Value().Reshape(), tensor.Dot(d, x.Sub(there))
			})
		s.Set("x", there)
		s.Set("v", v)
		s.Set("outer", step)
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b, "v"), engine.Array{Name: "inner", Values: []float64{a.Step}},
			engine.Array{Name: "outer", Values: []float64{a.OuterStep}}),
		Phases: []engine.Phase{
			{Name: "bisls inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{lower}, Build: inner},
			{Name: "bisls outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}

func (a BiSLS) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.CGSteps = cmp.Or(a.InnerSteps, 10), cmp.Or(a.CGSteps, 10)
	a.Decrease = cmp.Or(a.Decrease, 0.1)
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}
