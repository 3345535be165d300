package solvers

import (
	"cmp"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// VPBGD descends on F with the lower level's value-function gap as a penalty, F(x,y) + γ (G(x,y) - min over z of
// G(x,z)), in x and y together (Shen, Chen, ICML 2023, "On penalty-based bilevel gradient descent method", V-PBGD,
// algorithm 1):
//
//	T times:  z₊ = P_Y(z - β ∇yG(x,z;ξ))
//	then:     x₊ = P_X(x - s_k ξ_x (∇xF(x,y;ζ) + γ_k (∇xG(x,y;ξ) - ∇xG(x,z;ξ))))
//	          y₊ = P_Y(y - s_k ξ_y (∇yF(x,y;ζ) + γ_k ∇yG(x,y;ξ)))
//
// z is kept between iterations. γ_k grows evenly from Begin to Penalty in the first Ramp iterations and stays there.
// s_k = min(1, 1/(γ_k + 1e-8)), as in the authors' code, keeps the steps below 1/L while γ_k grows, because the penalty
// function is as curved as γ_k L. The point that it comes to is off by O(1/γ). It uses gradients only, keeps x and y in
// their sets, and asks of the lower level a condition of Polyak and Łojasiewicz instead of convexity. Minibatches, with
// a new one in each inner step and a new pair (ξ, ζ) for the rest, leave the direction unbiased at given z. The state
// is x, y and z. Running statistics move with the passes at z: T+1 times an iteration. An iteration costs T+2 gradients
// of G and one of F.
type VPBGD struct {
	YStep      float64         `json:"y_step"`      // ξ_y; 0: the step of z
	ZStep      float64         `json:"z_step"`      // β; 0: chosen at the start values, see Defaults
	OuterStep  float64         `json:"outer_step"`  // ξ_x; 0: chosen at the start values, times γ
	Penalty    float64         `json:"penalty"`     // γ at the end of the ramp; 0: 10
	Begin      float64         `json:"begin"`       // γ_0, where there is a ramp
	Ramp       int             `json:"ramp"`        // iterations in which γ grows; 0: it does not
	InnerSteps int             `json:"inner_steps"` // T; 0: 1
	Schedule   engine.Schedule `json:"schedule"`    // of the three steps
}

func (VPBGD) Name() string { return "v-pbgd" }

func (VPBGD) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.LowerSet | problem.ModelState,
		Why: "it takes gradient steps on two smooth objectives, of variables that last and are free or in a set; the " +
			"lower level must satisfy the condition of Polyak and Łojasiewicz",
	}
}

// penalty is γ_k.
func (a VPBGD) penalty(k int) float64 {
	if k >= a.Ramp {
		return a.Penalty
	}
	return a.Begin + float64(k)*(a.Penalty-a.Begin)/float64(a.Ramp)
}

// scaled is a step size times s_k.
func (a VPBGD) scaled(r Run, name string, step float64, s engine.Schedule) engine.Rate {
	whole := r.rate(name, step, s)
	return engine.Rate{Name: name, At: func(k int) float64 { return whole.At(k) * min(1, 1/(a.penalty(k)+1e-8)) }}
}

func (a VPBGD) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("v-pbgd", a.Schedule, field{"y_step", a.YStep}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"penalty", a.Penalty}),
		checkNonNegative("v-pbgd", field{"begin", a.Begin}, field{"ramp", float64(a.Ramp)}),
		checkCounts("v-pbgd", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	inner := func(it *engine.Iteration, s *engine.State) {
		z, xi := s.Get("z"), it.Batch("lower")
		g := it.Lower(s.Get("x"), z, xi)
		s.Set("z", it.Project(problem.Lower, z.Sub(it.Rate("z").Mul(g.GradY())), xi))
		it.Commit(g)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, gamma := s.Get("x"), s.Get("y"), it.Rate("penalty")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ, atY, f := it.Lower(x, s.Get("z"), xi), it.Lower(x, y, xi), it.Upper(x, y, zeta)
		slope := f.GradX().Add(gamma.Mul(atY.GradX().Sub(atZ.GradX())))
		s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(slope)), zeta))
		slope = f.GradY().Add(gamma.Mul(atY.GradY()))
		s.Set("y", it.Project(problem.Lower, y.Sub(it.Rate("y").Mul(slope)), xi))
		it.Commit(atZ)
	}
	lower, upper := engine.Draw{Of: problem.Lower}, engine.Draw{Of: problem.Upper}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat}),
		Rates: []engine.Rate{
			a.scaled(r, "y", a.YStep, a.Schedule), r.rate("z", a.ZStep, a.Schedule),
			a.scaled(r, "outer", a.OuterStep, a.Schedule),
			{Name: "penalty", At: a.penalty},
		},
		Phases: []engine.Phase{
			{Name: "v-pbgd inner", Repeat: func(int) int { return a.InnerSteps }, Draws: []engine.Draw{lower},
				Build: inner},
			{Name: "v-pbgd outer", Draws: []engine.Draw{lower, upper}, Build: outer},
		},
	}, nil
}
