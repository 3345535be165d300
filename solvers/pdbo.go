package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// PDBO is a primal-dual method on min F(x,y) subject to G(x,y) - min over z of (G(x,z) + ½α|z|²) <= δ, for lower levels
// that are convex and may have many minimizers (Sow, Ji, Guan, Liang, arXiv 2203.01123, 2022, "A primal-dual approach
// to bilevel optimization with multiple inner minima", algorithm 1):
//
//	N times:  z₊ = P_Y(z - β (∇yG(x,z) + α z))
//	c  = G(x,y) - G(x,z) - ½α|z|² - δ,   ∇c = (∇xG(x,y) - ∇xG(x,z), ∇yG(x,y)),  with z counted as a constant
//	λ₊ = min(Λ, max(0, λ + σ ((1+θ) c - θ c⁻)))
//	x₊ = P_X(x - ξ_x (∇xF + λ₊ ∇xc)),   y₊ = P_Y(y - ξ_y (∇yF + λ₊ ∇yc))
//
// with the c⁻ of the iteration before; c⁻ = c in the first one. The paper has one step 1/η for x and y, and its rules
// for η, σ and θ by iteration could not be read: they are settings here, and constant but for the schedule. Its
// proximal variant for objectives that are not convex is not here.
//
// It uses gradients only and keeps both variables in sets. The paper's method is deterministic; minibatches bias it,
// because λ multiplies values and gradients of one minibatch. The state is x, y, z, λ and c⁻. Running statistics move
// with the steps on z. An iteration costs N+2 gradients of G, one of F and two values of G.
type PDBO struct {
	Step       float64         `json:"step"`           // ξ_y; 0: chosen at the start values, see Defaults
	ZStep      float64         `json:"z_step"`         // β; 0: ξ_y
	OuterStep  float64         `json:"outer_step"`     // ξ_x; 0: chosen at the start values
	DualStep   float64         `json:"dual_step"`      // σ; 0: 10
	InnerSteps int             `json:"inner_steps"`    // N; 0: 10
	Slack      float64         `json:"slack"`          // δ; 0: 0.001
	Bound      float64         `json:"bound"`          // Λ; 0: 100
	Extra      float64         `json:"extrapolation"`  // θ; 0: 1, -1: exactly 0
	Regularize float64         `json:"regularization"` // α; 0: 0.0001, -1: exactly 0
	Schedule   engine.Schedule `json:"schedule"`       // of ξ_x and ξ_y
}

func (PDBO) Name() string { return "pdbo" }

func (PDBO) Needs() Needs {
	return Needs{Usable: problem.UpperSet | problem.LowerSet | problem.ModelState, Why: gradientsWhy}
}

func (a PDBO) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	theta, alpha := a.Extra, a.Regularize
	if theta == -1 {
		theta = 0
	}
	if alpha == -1 {
		alpha = 0
	}
	err := cmp.Or(
		checkSteps("pdbo", a.Schedule, field{"step", a.Step}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"dual_step", a.DualStep}, field{"slack", a.Slack},
			field{"bound", a.Bound}),
		checkNonNegative("pdbo", field{"extrapolation", theta}, field{"regularization", alpha}),
		checkCounts("pdbo", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		z, xi := s.Get("z"), it.Batch("lower")
		g := it.Lower(s.Get("x"), z, xi)
		s.Set("z", it.Project(problem.Lower, z.Sub(it.Rate("z").Mul(g.GradY().Add(z.Scale(alpha)))), xi))
		it.Commit(g)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, z, xi, zeta := s.Get("x"), s.Get("y"), s.Get("z"), it.Batch("lower"), it.Batch("upper")
		atY, atZ := it.Lower(x, y, xi), it.Lower(x, z, xi)
		fx, fy := it.Upper(x, y, zeta).Grad()
		c := atY.Value().Sub(atZ.Value()).Reshape().Sub(tensor.Dot(z, z).Scale(0.5 * alpha)).AddConst(-a.Slack)
		change := c.Sub(s.Get("gap before").Reshape())
		lambda := s.Get("multiplier").Reshape().Add(c.Add(it.Rate("extrapolation").Mul(change)).Scale(a.DualStep))
		lambda = lambda.Max(tensor.Const(0)).Min(tensor.Const(a.Bound))
		moveX(it, s, fx.Add(lambda.Mul(atY.GradX().Sub(atZ.GradX()))), zeta)
		s.Set("y", it.Project(problem.Lower, y.Sub(it.Rate("inner").Mul(fy.Add(lambda.Mul(atY.GradY())))), xi))
		s.Set("multiplier", lambda.Reshape(1))
		s.Set("gap before", c.Reshape(1))
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat},
			engine.Array{Name: "multiplier", Zeros: 1}, engine.Array{Name: "gap before", Zeros: 1}),
		Rates: append(twoRates(r, a.Step, a.OuterStep, a.Schedule), r.rate("z", a.ZStep, "constant"),
			engine.Rate{Name: "extrapolation", At: func(k int) float64 {
				if k == 0 {
					return 0
				}
				return theta
			}}),
		Phases: []engine.Phase{
			{Name: "pdbo inner", Repeat: always(a.InnerSteps), Draws: []engine.Draw{lower}, Build: inner},
			{Name: "pdbo outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}

func (a PDBO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.Slack, a.Bound = cmp.Or(a.InnerSteps, 10), cmp.Or(a.Slack, 0.001), cmp.Or(a.Bound, 100)
	a.DualStep, a.Extra, a.Regularize = cmp.Or(a.DualStep, 10), cmp.Or(a.Extra, 1), cmp.Or(a.Regularize, 0.0001)
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step, a.ZStep = cmp.Or(a.Step, s.Inner/10), cmp.Or(a.ZStep, s.Inner) // λ is of the order of 10
		a.OuterStep = cmp.Or(a.OuterStep, min(s.Outer, s.Gap/10))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.ZStep = cmp.Or(a.ZStep, a.Step)
	return a, nil
}
