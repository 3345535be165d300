package solvers

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BVFIM keeps y where G is hardly above its least value by a barrier, so that neither convexity of the lower level nor
// one minimizer is wanted (Liu, Liu, Yuan, Zeng, Zhang, ICML 2021, "A value-function-based interior-point method for
// non-convex bi-level optimization"):
//
//	T_z times:  z₊ = P_Y(z - β (∇yG(x,z) + μ_k z)),   and then  g = G(x,z) + ½μ_k |z|² + ν_k
//	T_y times:  y₊ = P_Y(y - σ ∇φ(y)),  φ(y) = F(x,y) + ½θ_k |y|² - τ_k ln(g - G(x,y)),  for the longest σ of
//	            2σ⁻, σ⁻, σ⁻/2, … with G(x,y₊) < g and φ(y₊) <= φ(y) - c ⟨∇φ(y), y - y₊⟩
//	then:       x₊ = P_X(x - γ (∇xF(x,y) + τ_k (∇xG(x,y) - ∇xG(x,z)) / (g - G(x,y))))
//
// where σ⁻ is the last step that was taken, and ten lengths are tried; where none will do y stays, and the next search
// begins with shorter ones, unless the step would have brought less than round-off. A y outside the barrier's domain,
// as x and g move, is replaced by z, which is always inside. μ_k, ν_k, θ_k and τ_k fall as (k+1)^-p from the settings,
// the two of the barrier not below the root of the unit round-off; where they end, y may be off by what G may be above
// its least value. The faster they fall the stiffer φ gets, and the more steps on y it wants. The limit is the
// optimistic solution: of many lower minimizers the one where F is least.
//
// The search for σ is chosen here: the authors' public code for the later BVFSM (arXiv 2110.04974) takes fixed steps,
// and in the place of the slack g - G its value with the derivative of the slack, which is another function. It has 50
// steps on z and 25 on y, μ = θ = 0.01, τ = 0.001 and p = 1.1. Its norms are without the ½; its ν is the number of
// lower variables, where the paper has one that falls.
//
// Penalty "quadratic" takes BVFSM's way from outside instead, φ = F + ½θ_k |y|² + max(0, G(x,y) - g)²/(2τ_k) with ν =
// 0, which needs no point inside. The method is deterministic; on minibatches each step has new ones, one for both
// objectives at all lengths. The state is x, y, z and σ⁻. Running statistics are not taken. An iteration costs T_z +
// T_y + 2 gradients of G, T_y + 1 of F, and 13T_y + 3 values of G (12T_y + 2 for "quadratic") and 11T_y of F.
type BVFIM struct {
	Step         float64         `json:"step"`           // σ⁻ in the first iteration; 0: chosen at the start
	ZStep        float64         `json:"z_step"`         // β; 0: chosen at the start values
	OuterStep    float64         `json:"outer_step"`     // γ; 0: chosen at the start values
	InnerSteps   int             `json:"inner_steps"`    // T_z; 0: 50
	UpperSteps   int             `json:"upper_steps"`    // T_y; 0: 25
	Penalty      string          `json:"penalty"`        // "log" (chosen where it is empty) or "quadratic"
	Barrier      float64         `json:"barrier"`        // τ_0; 0: 0.1
	Slack        float64         `json:"slack"`          // ν_0; 0: 0.1
	Regularize   float64         `json:"regularization"` // μ_0; 0: 0.01, -1: exactly 0
	RegularizeUp float64         `json:"upper_decay"`    // θ_0; 0: 0.01, -1: exactly 0
	Exponent     float64         `json:"exponent"`       // p; 0: 0.5, -1: exactly 0
	Decrease     float64         `json:"decrease"`       // c; 0: 0.1
	Schedule     engine.Schedule `json:"schedule"`       // of γ
}

func (BVFIM) Name() string { return "bvfim" }

func (BVFIM) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.LowerSet, Why: gradientsWhy}
}

func (a BVFIM) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	none := func(v float64) float64 {
		if v == -1 {
			return 0
		}
		return v
	}
	mu, theta, power := none(a.Regularize), none(a.RegularizeUp), none(a.Exponent)
	err := cmp.Or(
		checkSteps("bvfim", a.Schedule, field{"step", a.Step}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"barrier", a.Barrier}, field{"slack", a.Slack}),
		checkNonNegative("bvfim", field{"regularization", mu}, field{"upper_decay", theta},
			field{"exponent", power}),
		checkCounts("bvfim", count{"inner_steps", a.InnerSteps}, count{"upper_steps", a.UpperSteps}))
	if err == nil && !(a.Decrease > 0 && a.Decrease < 1) {
		err = fmt.Errorf("bvfim: decrease is %g: wants a number above 0 and below 1", a.Decrease)
	}
	if err == nil && a.Penalty != "log" && a.Penalty != "quadratic" {
		err = fmt.Errorf("bvfim: unknown penalty %q (there are log, quadratic)", a.Penalty)
	}
	if err != nil {
		return engine.Spec{}, err
	}
	inside := a.Penalty == "log"
	// level is g, which the lower objective at y is compared with.
	level := func(it *engine.Iteration, z *tensor.Node, atZ *problem.Point) *tensor.Node {
		g := atZ.Value().Reshape().Add(it.Rate("mu").Mul(tensor.Dot(z, z)).Scale(0.5))
		if inside {
			g = g.Add(it.Rate("slack"))
		}
		return g.StopGradient()
	}
	// term is what the penalty adds to F where G is so much above g (below it where room is positive), and slope its
	// derivative by G.
	term := func(it *engine.Iteration, room *tensor.Node) (value, slope *tensor.Node) {
		tau := it.Rate("barrier")
		if inside {
			room = room.Max(tensor.Const(math.SmallestNonzeroFloat32 * 1e7)) // searches refuse what is not positive
			return room.Log().Mul(tau).Neg(), tau.Div(room)
		}
		over := room.Neg().Relu()
		return over.Square().Div(tau).Scale(0.5), over.Div(tau)
	}
	// within is y, or z where y lies outside the barrier's domain.
	within := func(it *engine.Iteration, x, y, z, g *tensor.Node, xi problem.Batch) *tensor.Node {
		if !inside {
			return y
		}
		return tensor.Where(it.Lower(x, y, xi).Value().Reshape().Lt(g), y, z).StopGradient()
	}
	lowerStep := func(it *engine.Iteration, s *engine.State) {
		z, xi := s.Get("z"), it.Batch("lower")
		slope := it.Lower(s.Get("x"), z, xi).GradY().Add(it.Rate("mu").Mul(z))
		s.Set("z", it.Project(problem.Lower, z.Sub(it.Rate("z").Mul(slope)), xi))
	}
	upperStep := func(it *engine.Iteration, s *engine.State) {
		x, z, xi, zeta := s.Get("x"), s.Get("z"), it.Batch("lower"), it.Batch("upper")
		g := level(it, z, it.Lower(x, z, xi))
		room := func(at *problem.Point) *tensor.Node { return g.Sub(at.Value().Reshape()) }
		y := within(it, x, s.Get("y"), z, g, xi)
		lower, upper := it.Lower(x, y, xi), it.Upper(x, y, zeta)
		phi := func(y *tensor.Node, f *problem.Point, room *tensor.Node) *tensor.Node {
			value, _ := term(it, room)
			return f.Value().Reshape().Add(it.Rate("theta").Mul(tensor.Dot(y, y)).Scale(0.5)).Add(value)
		}
		_, weight := term(it, room(lower))
		slope := upper.GradY().Add(it.Rate("theta").Mul(y)).Add(weight.Mul(lower.GradY())).StopGradient()
		here := phi(y, upper, room(lower))
		slack := here.Abs().Scale(4 * b.Executor.Info().UnitRoundoff())
		limit := here.Add(slack)
		last, next := s.Get("step").Reshape(), y
		step := last.Scale(math.Pow(2, 1-trials))
		for i := trials - 1; i >= 0; i-- { // the longest that will do is chosen last
			length := last.Scale(math.Pow(2, float64(1-i)))
			there := it.Project(problem.Lower, y.Sub(length.Mul(slope)), xi).StopGradient()
			left := room(it.Lower(x, there, xi))
			promise := tensor.Dot(slope, y.Sub(there)).Scale(a.Decrease)
			good := phi(there, it.Upper(x, there, zeta), left).Le(limit.Sub(promise))
			seen := slack.Lt(promise) // else round-off says nothing about lengths
			if i == trials-1 {
				step = tensor.Where(seen, step, last)
			}
			if inside {
				good = good.Mul(tensor.Const(0).Lt(left))
			}
			step, next = tensor.Where(good, tensor.Where(seen, length, last), step), tensor.Where(good, there, next)
		}
		s.Set("y", next)
		s.Set("step", step.Reshape(1))
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, z, xi, zeta := s.Get("x"), s.Get("z"), it.Batch("lower"), it.Batch("upper")
		atZ := it.Lower(x, z, xi)
		g := level(it, z, atZ)
		y := within(it, x, s.Get("y"), z, g, xi)
		atY := it.Lower(x, y, xi)
		_, weight := term(it, g.Sub(atY.Value().Reshape()))
		moveX(it, s, it.Upper(x, y, zeta).GradX().Add(weight.Mul(atY.GradX().Sub(atZ.GradX()))), zeta)
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	fall := func(name string, from, least float64) engine.Rate {
		whole := r.falling(name, from, power, "constant")
		return engine.Rate{Name: name, At: func(k int) float64 { return max(whole.At(k), min(from, least)) }}
	}
	least := math.Sqrt(b.Executor.Info().UnitRoundoff())
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat},
			engine.Array{Name: "step", Values: []float64{a.Step}}),
		Rates: []engine.Rate{r.rate("z", a.ZStep, "constant"), r.rate("outer", a.OuterStep, a.Schedule),
			fall("mu", mu, 0), fall("theta", theta, 0), fall("slack", a.Slack, least),
			fall("barrier", a.Barrier, least)},
		Phases: []engine.Phase{
			{Name: "bvfim lower", Repeat: always(a.InnerSteps), Draws: []engine.Draw{lower}, Build: lowerStep},
			{Name: "bvfim upper", Repeat: always(a.UpperSteps), Draws: []engine.Draw{lower, upper}, Build: upperStep},
			{Name: "bvfim outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}

// Defaults takes a step of x that the gap's curvature allows where the barrier's slope is of the order of 1.
func (a BVFIM) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.UpperSteps = cmp.Or(a.InnerSteps, 50), cmp.Or(a.UpperSteps, 25)
	a.Penalty, a.Barrier, a.Slack = cmp.Or(a.Penalty, "log"), cmp.Or(a.Barrier, 0.1), cmp.Or(a.Slack, 0.1)
	a.Regularize, a.RegularizeUp = cmp.Or(a.Regularize, 0.01), cmp.Or(a.RegularizeUp, 0.01)
	a.Exponent, a.Decrease = cmp.Or(a.Exponent, 0.5), cmp.Or(a.Decrease, 0.1)
	if a.ZStep == 0 || a.OuterStep == 0 || a.Step == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.ZStep, a.Step = cmp.Or(a.ZStep, s.Inner), cmp.Or(a.Step, s.Inner)
		a.OuterStep = cmp.Or(a.OuterStep, min(s.Outer, s.Gap))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	return a, nil
}
