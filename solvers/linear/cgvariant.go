package linear

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// cgVariant is CG with a preconditioner M, or with a damping that may be raised:
//
//	r = b - A v; z = M⁻¹ r; d = z
//	until |r| <= max(RTol |b|, ATol):
//	    s = A d;  α = r'z / d's;  v += α d;  r₊ = r - α s;  z₊ = M⁻¹ r₊;  d = z₊ + (r₊'z₊ / r'z) d
type cgVariant struct {
	*iteration
	CG
	m preconditioner // nil: M = I
	// curvature is d'Ad/|d|² and |Ad|/|d| of the last step tried, damping included.
	curvature *tensor.Variable
}

func (c CG) prepareVariant(ex *tensor.Executor, m Matrix) (System, error) {
	if c.MaxRaises < 0 || c.Trust {
		return nil, fmt.Errorf("linear: CG: max raises %d, trust %t: with a preconditioner or a damping that is "+
			"raised it wants raises from 0 on, and no Trust", c.MaxRaises, c.Trust)
	}
	s, err := newIteration(ex, m, limits{"CG", c.RTol, c.ATol, c.Damping, c.MaxSteps, c.Chunk, c.FromZero, 0})
	if err != nil {
		return nil, err
	}
	v := &cgVariant{iteration: s, CG: c, curvature: s.vector("curvature", 2)}
	s.shift = s.number("shift")
	if c.Preconditioner != nil {
		if v.m, err = c.Preconditioner.prepare(s.scope, m); err != nil {
			return nil, errors.Join(err, s.scope.Close())
		}
	}
	precondition := func(r *tensor.Node) *tensor.Node {
		if v.m == nil {
			return r
		}
		return v.m.inverse(r, s.shift.Node())
	}
	residual, rho := s.vector("r", m.N), s.number("rho")
	bound := s.bound()
	_, err = s.compile(m, rule{
		begin: func(r, _ *tensor.Node) ([]tensor.Update, *tensor.Node) {
			z := precondition(r)
			return []tensor.Update{{Var: residual, Value: r}, {Var: rho, Value: tensor.Dot(r, z)}}, z
		},
		step: func(ad *tensor.Node) advance {
			d, one := s.d.Node(), tensor.Const(1)
			unit, size := scaleOf(ad), Norm(d)
			image := ad.Div(unit)
			curvature, length := tensor.Dot(d, image), image.Norm()
			usable := size.Mul(length).Scale(bound).Lt(curvature)
			alpha := rho.Node().Div(tensor.Where(usable, curvature, one)).Div(unit)
			r := residual.Node().Sub(ad.Mul(alpha))
			z := precondition(r)
			rho2 := tensor.Dot(r, z)
			met := tensor.Concat(0, curvature.Div(size).Reshape(1), length.Reshape(1)).Div(size).Mul(unit)
			return advance{
				usable: usable, code: codeCurvature, size: r.Norm(), d: z.Add(d.Mul(rho2.Div(rho.Node()))),
				state: []tensor.Update{
					{Var: s.v, Value: s.v.Node().Add(d.Mul(alpha))}, {Var: residual, Value: r}, {Var: rho, Value: rho2},
				},
				// Written in every step that is tried: it is wanted for the one that is not taken.
				always: []tensor.Update{{Var: v.curvature, Value: met}},
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Solve solves with the damping of the settings, and again with a larger one where that is asked for.
func (v *cgVariant) Solve(ctx context.Context) (Stats, error) {
	var all Stats
	damping, least := v.CG.Damping, math.NaN()
	products := 0
	if v.m != nil {
		var err error
		if products, err = v.m.compute(ctx); err != nil {
			return all, err
		}
	}
	for raise := 0; ; raise++ {
		if err := v.shift.Write([]float64{damping}); err != nil {
			return all, err
		}
		v.iteration.damping = damping
		st, err := v.iteration.Solve(ctx)
		st.Products += products + all.Products
		st.Steps += all.Steps
		all = st
		if err != nil || st.Status != NegativeCurvature {
			all.SmallestEigenvalue = least
			return all, err
		}
		met, err := v.curvature.Read()
		if err != nil {
			return all, err
		}
		if !(met[0]-damping >= least) { // the Rayleigh quotient of A
			least = met[0] - damping
		}
		all.SmallestEigenvalue = least
		if raise == v.MaxRaises {
			return all, nil
		}
		first := 0.0
		if raise == 0 {
			first = max(2*math.Abs(met[0]), 1e-3*met[1])
		}
		damping = max(first, 10*damping)
		products = 0
	}
}
