package solvers

import (
	"cmp"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// MEHA descends on F with the Moreau envelope of the lower level in a penalty, F(x,y) + c_k (G(x,y) - min over z of
// G(x,z) + ½ρ|z - y|²), whose z is followed by one step an iteration (Liu, Liu, Yao, Zeng, Zhang, ICML 2024, "Moreau
// envelope for nonconvex bi-level optimization: a single-loop and Hessian-free solution strategy", algorithm 1; ρ is
// the paper's 1/γ):
//
//	z₊ = P_Y(z - η (∇yG(x,z;ξ) + ρ (z - y)))
//	x₊ = P_X(x - α (∇xF(x,y;ζ)/c_k + ∇xG(x,y;ξ) - ∇xG(x,z₊;ξ)))
//	y₊ = P_Y(y - β (∇yF(x₊,y;ζ)/c_k + ∇yG(x₊,y;ξ) - ρ (y - z₊)))
//	c_k = c (k+1)^p,  0 <= p < ½
//
// Because of the envelope G need not be convex in y: ρ must be larger than its negative curvature, η below 2/(L + 2ρ).
// It comes to a stationary point of the penalty function; where G is convex its distance from one of h is O(1/c_k). One
// pair of minibatches serves an iteration; the paper is deterministic.
//
// Variant "benchmark" is what the library BOAT does under the name MESO: y moves before x, which is then at the new y;
// the proximal term of y's step is multiplied by (1 - ηρ), as if z₊ were differentiated; and c_0 is 0.2.
//
// It uses gradients only and keeps both variables in sets. The state is x, y and z. Running statistics move once an
// iteration, with the pass at z. An iteration costs four gradients of G and two of F.
type MEHA struct {
	YStep              float64         `json:"y_step"`              // β; 0: the step of z
	ZStep              float64         `json:"z_step"`              // η; 0: chosen at the start values, see Defaults
	OuterStep          float64         `json:"outer_step"`          // α; 0: chosen at the start values, times c
	Proximal           float64         `json:"proximal"`            // ρ; 0: 0.1 over η
	Multiplier         float64         `json:"multiplier"`          // c; 0: 10
	MultiplierExponent float64         `json:"multiplier_exponent"` // p; 0: 1/4, -1: exactly 0
	Schedule           engine.Schedule `json:"schedule"`            // of α and β
	Variant            string          `json:"variant"`             // paper or benchmark; "": paper
}

func (MEHA) Name() string { return "meha" }

func (MEHA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.LowerSet | problem.ModelState,
		Why:    "it takes gradient steps on two smooth objectives, of variables that last and are free or in a set",
	}
}

// multiplier is c_k.
func (a MEHA) multiplier(k int) float64 {
	if k == 0 && a.Variant == "benchmark" {
		return 0.2
	}
	return a.Multiplier * math.Pow(float64(k+1), max(0, a.MultiplierExponent))
}

func (a MEHA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("meha", a.Schedule, field{"y_step", a.YStep}, field{"z_step", a.ZStep},
		field{"outer_step", a.OuterStep}, field{"proximal", a.Proximal}, field{"multiplier", a.Multiplier})
	switch {
	case err != nil:
		return engine.Spec{}, err
	case a.MultiplierExponent != -1 && !(a.MultiplierExponent >= 0 && a.MultiplierExponent < 0.5):
		return engine.Spec{}, fmt.Errorf("meha: multiplier_exponent is %g: wants a number from 0 to below 1/2, or -1 "+
			"for a constant multiplier", a.MultiplierExponent)
	case a.Variant != "" && a.Variant != "paper" && a.Variant != "benchmark":
		return engine.Spec{}, fmt.Errorf("meha: variant is %q: wants paper or benchmark", a.Variant)
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, z, upper := s.Get("x"), s.Get("y"), s.Get("z"), it.Rate("upper weight")
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		atZ := it.Lower(x, z, xi)
		next := it.Project(problem.Lower,
			z.Sub(it.Rate("z").Mul(atZ.GradY().Add(z.Sub(y).Scale(a.Proximal)))), xi).StopGradient()
		stepX := func(g, f *problem.Point) *tensor.Node {
			slope := upper.Mul(f.GradX()).Add(g.GradX()).Sub(it.Lower(x, next, xi).GradX())
			return it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(slope)), zeta)
		}
		stepY := func(g, f *problem.Point, proximal float64) *tensor.Node {
			slope := upper.Mul(f.GradY()).Add(g.GradY()).Sub(y.Sub(next).Scale(proximal))
			return it.Project(problem.Lower, y.Sub(it.Rate("y").Mul(slope)), xi)
		}
		if a.Variant == "benchmark" {
			newY := stepY(it.Lower(x, y, xi), it.Upper(x, y, zeta), a.Proximal*(1-a.ZStep*a.Proximal))
			at := newY.StopGradient()
			s.Set("x", stepX(it.Lower(x, at, xi), it.Upper(x, at, zeta)))
			s.Set("y", newY)
		} else {
			newX := stepX(it.Lower(x, y, xi), it.Upper(x, y, zeta))
			at := newX.StopGradient()
			s.Set("x", newX)
			s.Set("y", stepY(it.Lower(at, y, xi), it.Upper(at, y, zeta), a.Proximal))
		}
		s.Set("z", next)
		it.Commit(atZ)
	}
	return engine.Spec{
		State: append(start(b), engine.Array{Name: "z", Values: b.Lower.Start.Flat}),
		Rates: []engine.Rate{
			r.rate("y", a.YStep, a.Schedule), r.rate("z", a.ZStep, "constant"),
			r.rate("outer", a.OuterStep, a.Schedule),
			{Name: "upper weight", At: func(k int) float64 { return 1 / a.multiplier(k) }},
		},
		Phases: []engine.Phase{{
			Name: "meha", Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}, Build: build,
		}},
	}, nil
}

// Defaults takes a step of x that is c times that of other algorithms, because F is divided by c, but no longer than
// the curvature of the gap in x allows.
func (a MEHA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Multiplier, a.MultiplierExponent = cmp.Or(a.Multiplier, 10), cmp.Or(a.MultiplierExponent, 0.25)
	a.Variant = cmp.Or(a.Variant, "paper")
	if a.ZStep == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.ZStep = cmp.Or(a.ZStep, s.Inner)
		a.OuterStep = cmp.Or(a.OuterStep, min(s.Outer*max(1, a.Multiplier), s.Gap))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.YStep, a.Proximal = cmp.Or(a.YStep, a.ZStep), cmp.Or(a.Proximal, 0.1/a.ZStep)
	return a, nil
}
