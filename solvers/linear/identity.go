package linear

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"bilevel/tensor"
)

// ScaledIdentity takes A to be γI: v = b/γ, without a product. With γ = 1 this is Jacobian-free backpropagation (Fung
// et al., AAAI 2022) and the T1 - T2 method (Luketina et al., ICML 2016); with γ the weight of a term ½γ|y|² it is the
// Hessian-free method (Zhang et al., ICML 2022). v - A⁻¹b = (I - γ A⁻¹) b/γ, which is 0 only for A = γI: the residual
// at the end, for one product, tells how far it is off.
type ScaledIdentity struct {
	Gamma      float64 // γ; 0: 1
	RTol, ATol float64 // a residual within max(RTol |b|, ATol) counts as Converged
}

// Class is General: nothing is assumed but what the doc comment says of the error.
func (ScaledIdentity) Class() Class { return General }

func (m ScaledIdentity) String() string {
	return fmt.Sprintf("ScaledIdentity(γ %g)", cmp.Or(m.Gamma, 1))
}

type identitySystem struct{ *direct }

// Prepare compiles the division and the residual.
func (m ScaledIdentity) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	gamma := cmp.Or(m.Gamma, 1)
	if math.IsNaN(gamma) || math.IsInf(gamma, 0) {
		return nil, fmt.Errorf("linear: ScaledIdentity: gamma is %g: wants a finite number, or 0 for 1", m.Gamma)
	}
	s, err := newDirect(ex, a, "ScaledIdentity", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	return identitySystem{s}, s.compile(a, func() []tensor.Update {
		return []tensor.Update{{Var: s.v, Value: s.b.Node().Scale(1 / gamma)}}
	})
}

// Solve divides.
func (s identitySystem) Solve(ctx context.Context) (Stats, error) {
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := s.loop.Run(1); err != nil {
		return Stats{}, err
	}
	return s.end(ctx, 0, 0)
}
