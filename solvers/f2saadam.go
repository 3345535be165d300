package solvers

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// F2SAAdam is F2SA with the steps of Adam in place of gradient steps (Yang, Jiang, Tatli, Xiao, "Enhancing bilevel
// optimization with single-level learning techniques", Rensselaer Polytechnic Institute, 2023):
//
//	T times:  z₊ = z - γ_k Adam(∇yG(x,z;ξ))
//	          y₊ = y - α_k Adam(∇yF(x,y;ζ) + λ_k ∇yG(x,y;ξ))
//	then:     x₊ = P_X(x - η_k Adam(∇xF(x,y;ζ) + λ_k (∇xG(x,y;ξ) - ∇xG(x,z;ξ))))
//	          λ_{k+1} = λ_k + δ
//
//	Adam(g):  m₊ = β₁ m + (1-β₁) g;  s₊ = β₂ s + (1-β₂) g²;  m̂ = m₊/(1-β₁^τ);  ŝ = s₊/(1-β₂^τ);  m̂/(√ŝ + ε)
//
// The moments m and s of y and z begin at 0 in every iteration, where τ = 1, …, T; those of x go on, with τ = k+1. This
// is Adam as usual (Kingma, Ba, ICLR 2015). The source's listing differs and cannot be meant: it feeds the corrected
// moments back into the averages, and its τ begins at 0, where the correction divides by zero. The last term of the x
// step is the gradient of G, as in the source's algorithm box; a formula of its text has F there.
//
// Minibatches, sets, running statistics and cost are those of F2SA: 2T+2 gradients of G and T+1 of F, no second
// derivatives. An element moves by about its step in each iteration, whatever the size of the gradients, so that steps
// need not fall when λ grows. They are lengths in units of the variables and cannot be measured at the start values:
// where none are given they are 0.01 and follow the schedule linear, and x can move by 0.01 · iterations/2 in all. A
// tolerance that ends a run is one of Adam's directions, not of gradients.
// It needs a smooth lower level that is strongly convex in y, and there is no analysis of it. The state is x, y, z, the
// two moments of each, and the powers of β₁ and β₂.
type F2SAAdam struct {
	YStep      float64         `json:"y_step"`      // α; 0: the step of z
	ZStep      float64         `json:"z_step"`      // γ; 0: 0.01
	OuterStep  float64         `json:"outer_step"`  // η (the source's ξα); 0: 0.01
	Multiplier float64         `json:"multiplier"`  // λ_0; 0: 10
	Growth     float64         `json:"growth"`      // δ
	InnerSteps int             `json:"inner_steps"` // T; 0: 10
	Beta1      float64         `json:"beta1"`       // β₁; 0: 0.9
	Beta2      float64         `json:"beta2"`       // β₂; 0: 0.99
	Epsilon    float64         `json:"epsilon"`     // ε; 0: 1e-8
	Schedule   engine.Schedule `json:"schedule"`    // of the three steps
}

func (F2SAAdam) Name() string { return "f2sa-adam" }

func (F2SAAdam) Needs() Needs { return F2SA{}.Needs() }

func (a F2SAAdam) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := cmp.Or(
		checkSteps("f2sa-adam", a.Schedule, field{"y_step", a.YStep}, field{"z_step", a.ZStep},
			field{"outer_step", a.OuterStep}, field{"multiplier", a.Multiplier}, field{"epsilon", a.Epsilon}),
		checkNonNegative("f2sa-adam", field{"growth", a.Growth}),
		checkCounts("f2sa-adam", count{"inner_steps", a.InnerSteps}))
	if err != nil {
		return engine.Spec{}, err
	}
	for _, beta := range []field{{"beta1", a.Beta1}, {"beta2", a.Beta2}} {
		if !(beta.value >= 0 && beta.value < 1) {
			return engine.Spec{}, fmt.Errorf("f2sa-adam: %s is %g: wants a number from 0 to below 1", beta.name,
				beta.value)
		}
	}
	draws := []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}
	inner := func(it *engine.Iteration, s *engine.State) {
		x, y, z := s.Get("x"), s.Get("y"), s.Get("z")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		power1, power2 := s.Get("power1").Scale(a.Beta1), s.Get("power2").Scale(a.Beta2)
		s.Set("power1", power1)
		s.Set("power2", power2)
		bias1, bias2 := tensor.Const(1).Sub(power1), tensor.Const(1).Sub(power2)
		atZ, atY := it.Lower(x, z, xi), it.Lower(x, y, xi)
		slope := it.Upper(x, y, zeta).GradY().Add(it.Rate("multiplier").Mul(atY.GradY()))
		y = y.Sub(it.Rate("y").Mul(a.adam(s, "y", slope, bias1, bias2)))
		z = z.Sub(it.Rate("z").Mul(a.adam(s, "z", atZ.GradY(), bias1, bias2)))
		s.Set("y", it.Project(problem.Lower, y, xi))
		s.Set("z", it.Project(problem.Lower, z, xi))
		it.Commit(atZ)
	}
	outer := func(it *engine.Iteration, s *engine.State) {
		x, y, z := s.Get("x"), s.Get("y"), s.Get("z")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ := it.Lower(x, z, xi)
		difference := it.Lower(x, y, xi).GradX().Sub(atZ.GradX())
		slope := it.Upper(x, y, zeta).GradX().Add(it.Rate("multiplier").Mul(difference))
		x = x.Sub(it.Rate("outer").Mul(a.adam(s, "x", slope, it.Rate("bias1"), it.Rate("bias2"))))
		s.Set("x", it.Project(problem.Upper, x, zeta))
		for _, name := range []string{"y m", "y s", "z m", "z s"} {
			s.Set(name, tensor.Zeros(b.Lower.Start.Size()))
		}
		s.Set("power1", tensor.Full(1, 1))
		s.Set("power2", tensor.Full(1, 1))
		it.Commit(atZ)
	}
	state := append(start(b, "y m", "y s", "z m", "z s"), engine.Array{Name: "z", Values: b.Lower.Start.Flat},
		engine.Array{Name: "power1", Values: []float64{1}}, engine.Array{Name: "power2", Values: []float64{1}},
		ofX(b, "x m"), ofX(b, "x s"))
	bias := func(name string, beta float64) engine.Rate {
		return engine.Rate{Name: name, At: func(k int) float64 { return 1 - math.Pow(beta, float64(k+1)) }}
	}
	return engine.Spec{
		State: state,
		Rates: []engine.Rate{
			r.rate("y", a.YStep, a.Schedule), r.rate("z", a.ZStep, a.Schedule),
			r.rate("outer", a.OuterStep, a.Schedule), growing("multiplier", a.Multiplier, a.Growth, 0),
			bias("bias1", a.Beta1), bias("bias2", a.Beta2),
		},
		Phases: []engine.Phase{
			{Name: "f2sa-adam inner", Repeat: func(int) int { return a.InnerSteps }, Draws: draws, Build: inner},
			{Name: "f2sa-adam outer", Draws: draws, Build: outer},
		},
	}, nil
}

// adam moves the moments of a variable, the state's vectors "NAME m" and "NAME s", by a gradient, and gives the
// direction. bias1 and bias2 are 1 - β₁^τ and 1 - β₂^τ.
func (a F2SAAdam) adam(s *engine.State, name string, g, bias1, bias2 *tensor.Node) *tensor.Node {
	m := s.Get(name + " m").Scale(a.Beta1).Add(g.Scale(1 - a.Beta1))
	square := s.Get(name + " s").Scale(a.Beta2).Add(g.Square().Scale(1 - a.Beta2))
	s.Set(name+" m", m)
	s.Set(name+" s", square)
	return m.Div(bias1).Div(square.Div(bias2).Sqrt().AddConst(a.Epsilon))
}
