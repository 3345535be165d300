package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// F3SA is F2SA with one inner step, in which every gradient is an estimate with the momentum of STORM (Kwon, Kwon,
// Wright, Nowak, ICML 2023, "A fully first-order method for stochastic bilevel optimization", algorithm 2):
//
//	z₊ = z - γ_k [∇yG(x,z;ξ)],   y₊ = y - α_k ([∇yF(x,y;ζ)] + λ_k [∇yG(x,y;ξ)])
//	x₊ = x - η_k ([∇xF(x,y₊;ζ')] + λ_k [∇xG(x,y₊;ξ') - ∇xG(x,z₊;ξ')]),   λ_{k+1} = λ_k + δ_k
//	[g(w;ξ)] = g(w;ξ) + (1 - c_k)([g]⁻ - g(w⁻;ξ))
//
// with the estimate [g]⁻ and the point w⁻ of the iteration before. The first estimates are those of the first point.
// The paper has an estimate for each of the two gradients ∇xG; they have one momentum and one minibatch here, so that
// their difference is one. Its exponents (steps of y and x over (k+1)^a, of z over (k+1)^c, with (a, c) = (3/5, 2/5)
// where both objectives are noisy and (1/2, 1/4) where only the upper one is, as far as they could be read) are
// settings that are 0 where none are given; c_k falls by the sum of those of y and z. x may be held in a set by
// projections.
//
// It uses gradients only, of a smooth lower level that is strongly convex in y. α_k λ_k must stay below about 1/L. The
// state is x, y, z, those of the iteration before and five estimates. Running statistics move once an iteration, with
// the pass at (x, z). An iteration costs eight gradients of G and four of F.
type F3SA struct {
	YStep      float64         `json:"y_step"`     // α; 0: the step of z over the multiplier
	ZStep      float64         `json:"z_step"`     // γ; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"` // η; 0: chosen at the start values
	Multiplier float64         `json:"multiplier"` // λ_0; 0: 10
	Growth     float64         `json:"growth"`     // δ_0
	Momentum   float64         `json:"momentum"`   // c; 0: 0.5
	Schedule   engine.Schedule `json:"schedule"`   // of the three steps

	YExponent      float64 `json:"y_exponent"` // of α
	ZExponent      float64 `json:"z_exponent"` // of γ
	OuterExponent  float64 `json:"outer_exponent"`
	GrowthExponent float64 `json:"growth_exponent"`
}

func (F3SA) Name() string { return "f3sa" }

func (F3SA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "it takes gradient steps on two smooth objectives, of a lower variable that lasts and is free and of an " +
			"x that is free or in a set",
	}
}

func (a F3SA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	memory := memories{momentum: a.Momentum}
	err := cmp.Or(
		checkSteps("f3sa", a.Schedule, field{"y_step", a.YStep}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"multiplier", a.Multiplier}),
		checkNonNegative("f3sa", field{"growth", a.Growth}, field{"y_exponent", a.YExponent},
			field{"z_exponent", a.ZExponent}, field{"outer_exponent", a.OuterExponent},
			field{"growth_exponent", a.GrowthExponent}), memory.check("f3sa"))
	if err != nil {
		return engine.Spec{}, err
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, z := s.Get("x"), s.Get("y"), s.Get("z")
		xBefore, yBefore, zBefore := s.Get("x before"), s.Get("y before"), s.Get("z before")
		keep, lambda := it.Rate("keep"), it.Rate("multiplier")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ := it.Lower(x, z, xi)
		gz := storming(s.Get("gz"), keep, atZ.GradY(), it.Lower(xBefore, zBefore, xi).GradY())
		gy := storming(s.Get("gy"), keep, it.Lower(x, y, xi).GradY(), it.Lower(xBefore, yBefore, xi).GradY())
		fy := storming(s.Get("fy"), keep, it.Upper(x, y, zeta).GradY(), it.Upper(xBefore, yBefore, zeta).GradY())
		nextZ := z.Sub(it.Rate("z").Mul(gz)).StopGradient()
		nextY := y.Sub(it.Rate("y").Mul(fy.Add(lambda.Mul(gy)))).StopGradient()

		xi, zeta = it.Batch("lower x"), it.Batch("upper x")
		now := it.Lower(x, nextY, xi).GradX().Sub(it.Lower(x, nextZ, xi).GradX())
		then := it.Lower(xBefore, y, xi).GradX().Sub(it.Lower(xBefore, z, xi).GradX())
		gx := storming(s.Get("gx"), keep, now, then)
		fx := storming(s.Get("fx"), keep, it.Upper(x, nextY, zeta).GradX(), it.Upper(xBefore, y, zeta).GradX())
		moveX(it, s, fx.Add(lambda.Mul(gx)), zeta)
		s.Set("y", nextY)
		s.Set("z", nextZ)
		s.Set("gz", gz)
		s.Set("gy", gy)
		s.Set("fy", fy)
		s.Set("gx", gx)
		s.Set("fx", fx)
		remember(s, x, y)
		s.Set("z before", z)
		it.Commit(atZ)
	}
	state := append(start(b, "gz", "gy", "fy"), ofX(b, "gx"), ofX(b, "fx"),
		engine.Array{Name: "z", Values: b.Lower.Start.Flat}, engine.Array{Name: "z before", Values: b.Lower.Start.Flat})
	return engine.Spec{
		State: append(state, memory.before(b)...),
		Rates: []engine.Rate{
			r.falling("y", a.YStep, a.YExponent, a.Schedule), r.falling("z", a.ZStep, a.ZExponent, a.Schedule),
			r.falling("outer", a.OuterStep, a.OuterExponent, a.Schedule),
			growing("multiplier", a.Multiplier, a.Growth, a.GrowthExponent),
			memory.keep(r, a.YExponent+a.ZExponent),
		},
		Phases: []engine.Phase{{
			Name: "f3sa",
			Draws: []engine.Draw{
				{Of: problem.Lower}, {Name: "lower x", Of: problem.Lower},
				{Of: problem.Upper}, {Name: "upper x", Of: problem.Upper},
			},
			Build: build,
		}},
	}, nil
}

// Defaults keeps the step of y such that y moves at the pace of z.
func (a F3SA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Multiplier, a.Momentum = cmp.Or(a.Multiplier, 10), cmp.Or(a.Momentum, 0.5)
	err := choose(scale, &a.ZStep, &a.OuterStep, &a.Schedule)
	a.YStep = cmp.Or(a.YStep, a.ZStep/a.Multiplier)
	return a, err
}
