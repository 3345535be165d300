package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// BOME moves x and y together along a direction that descends on F as far as it can while the value-function gap q of
// the lower level falls (Liu, Ye, Wright, Stone, Liu, NeurIPS 2022, "BOME! Bilevel optimization made easy: a simple
// first-order approach", algorithm 1):
//
//	z  = y;  T times:  z₊ = z - α ∇yG(x,z;ξ)
//	q  = G(x,y;ξ) - G(x,z;ξ);  ∇q = (∇xG(x,y;ξ) - ∇xG(x,z;ξ), ∇yG(x,y;ξ)), with z counted as a constant
//	λ  = max(φ - ⟨∇F(x,y;ζ), ∇q⟩, 0) / (|∇q|² + ε),  φ = η|∇q|² ("grad_norm") or η q ("value")
//	x₊ = x - ξ_x (∇xF + λ ∇xq);  y₊ = y - ξ_y (∇yF + λ ∇yq)
//
// with a new lower minibatch for each inner step, and one new pair (ξ, ζ) for the rest. The paper has one step for x
// and y, and λ without ε. ε guards 0/0 where the gap has closed, which the paper and its code leave undefined; there
// ∇q = 0, and x and y go along -∇F. With "grad_norm" |λ∇q| is at most |∇F| + η|∇q|; with "value" λ may become large
// where |∇q| is small.
//
// It uses gradients only, and asks of the lower level a condition of Polyak and Łojasiewicz instead of convexity. λ
// keeps y near the lower level's minimizer only up to the length of a step, so that the steps of x and y should fall;
// those of z do not, or the gap would close by itself. T too small leaves a bias, because z is then no minimizer.
// Minibatches bias the direction, because λ is no linear function of gradients. A set of x is refused: λ counts on
// moves of x that a projection would take back, and y would then stay away from the lower level's minimizer.
//
// The state is x, y and z, which starts from y in every iteration. Running statistics move with the inner steps and the
// last pass at z: T+1 times an iteration. An iteration costs T+2 gradients of G and one of F, with "value" two values
// of G on top.
type BOME struct {
	Step       float64         `json:"step"`        // ξ_y; 0: chosen at the start values, see Defaults
	ZStep      float64         `json:"z_step"`      // α; 0: ξ_y
	OuterStep  float64         `json:"outer_step"`  // ξ_x; 0: chosen at the start values
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	Eta        float64         `json:"eta"`         // η; 0: 0.5
	Phi        string          `json:"phi"`         // grad_norm or value; empty: grad_norm
	Epsilon    float64         `json:"epsilon"`     // ε; 0: 1e-8, -1: exactly 0
	Schedule   engine.Schedule `json:"schedule"`    // of ξ_x and ξ_y
}

func (BOME) Name() string { return "bome" }

func (BOME) Needs() Needs {
	return Needs{
		Usable: problem.ModelState,
		Why: "it takes gradient steps on two smooth objectives, of variables that last and are free, because its " +
			"multiplier counts on their moves; the lower level must satisfy the condition of Polyak and Łojasiewicz",
	}
}

func (a BOME) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("bome", a.Schedule, field{"step", a.Step}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"eta", a.Eta}),
		checkCounts("bome", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	epsilon := a.Epsilon
	if epsilon == -1 {
		epsilon = 0
	}
	if err := checkNonNegative("bome", field{"epsilon", epsilon}); err != nil {
		return engine.Spec{}, err
	}
	if a.Phi != "grad_norm" && a.Phi != "value" {
		return engine.Spec{}, fmt.Errorf("bome: phi is %q: wants grad_norm or value", a.Phi)
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		z := s.Get("z")
		g := it.Lower(s.Get("x"), z, it.Batch("lower"))
		s.Set("z", z.Sub(it.Rate("z").Mul(g.GradY())))
		it.Commit(g)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y := s.Get("x"), s.Get("y")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ, atY, f := it.Lower(x, s.Get("z"), xi), it.Lower(x, y, xi), it.Upper(x, y, zeta)
		qx, qy := atY.GradX().Sub(atZ.GradX()), atY.GradY()
		square := tensor.Dot(qx, qx).Add(tensor.Dot(qy, qy))
		phi := square
		if a.Phi == "value" {
			phi = atY.Value().Sub(atZ.Value()).Reshape()
		}
		along := tensor.Dot(f.GradX(), qx).Add(tensor.Dot(f.GradY(), qy))
		lambda := phi.Scale(a.Eta).Sub(along).Max(tensor.Const(0)).Div(square.AddConst(epsilon))
		next := y.Sub(it.Rate("inner").Mul(f.GradY().Add(lambda.Mul(qy))))
		s.Set("x", x.Sub(it.Rate("outer").Mul(f.GradX().Add(lambda.Mul(qx)))))
		s.Set("y", next)
		s.Set("z", next)
		it.Commit(atZ)
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat}),
		Rates: []engine.Rate{
			r.rate("inner", a.Step, a.Schedule), r.rate("z", a.ZStep, "constant"),
			r.rate("outer", a.OuterStep, a.Schedule),
		},
		Phases: []engine.Phase{
			{Name: "bome inner", Repeat: func(int) int { return a.InnerSteps }, Draws: []engine.Draw{lower},
				Build: inner},
			{Name: "bome outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}
