package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// Neumann is the Neumann series truncated after Terms products (Lorraine, Vicol, Duvenaud, AISTATS 2020, eq. 8; Ji,
// Yang, Liang, ICML 2021):
//
//	v = η Σ_{k=0}^{Q} (I - ηA)^k b,     v - A⁻¹b = -(I - ηA)^{Q+1} A⁻¹ b
//
// with Q = Terms and η = Step. It converges for 0 < η < 2/λmax(A), and needs Q products and one more for the residual
// at the end. It does not use the value of Solution. The status is Converged when the residual is within
// max(RTol |b|, ATol), and Diverged when the residual is larger than |b|.
type Neumann struct {
	Step       float64
	Terms      int
	RTol, ATol float64
}

func (m Neumann) String() string {
	return fmt.Sprintf("Neumann(step %g, %d terms)", m.Step, m.Terms)
}

type neumannSystem struct {
	Neumann
	scope    *tensor.Scope
	b, v, u  *tensor.Variable
	residual *tensor.Variable
	norm     *tensor.Variable
	loop     *tensor.Loop // bodies: step, start, finish
	product  *Product     // nil where the operator is part of the loop
}

// Class is Definite; the series also converges for other matrices with ‖I - ηA‖ < 1.
func (Neumann) Class() Class { return Definite }

// Prepare compiles the recurrence u ← u - ηAu, v ← v + ηu, which starts at u = b, v = ηb. With a Product the host runs
// the product before each step.
func (m Neumann) Prepare(ex *tensor.Executor, matrix Matrix) (System, error) {
	n, a, product := matrix.N, matrix.graph(), matrix.Product
	if err := matrix.check("Neumann"); err != nil {
		return nil, err
	}
	if !(m.Step > 0) || math.IsInf(m.Step, 0) || m.Terms < 0 {
		return nil, fmt.Errorf("linear: Neumann: step %g with %d terms: wants a positive step and terms from 0 on",
			m.Step, m.Terms)
	}
	if err := checkTolerance(ex, "Neumann", m.RTol, m.ATol, 1); err != nil {
		return nil, err
	}
	sc := ex.Scope()
	s := &neumannSystem{Neumann: m, scope: sc, product: product}
	vector := func(name string) *tensor.Variable { return sc.Variable("neumann "+name, tensor.Real, n) }
	s.b, s.v, s.u = vector("b"), vector("v"), vector("u")
	s.residual, s.norm = sc.Number("neumann residual"), sc.Number("neumann norm")
	b, v, u := s.b.Node(), s.v.Node(), s.u.Node()
	s.loop = sc.Loop("neumann",
		func() []tensor.Update {
			next := u.Sub(a(u).Scale(m.Step))
			return []tensor.Update{{Var: s.u, Value: next}, {Var: s.v, Value: v.Add(next.Scale(m.Step))}}
		},
		func() []tensor.Update {
			return append(product.clear(),
				tensor.Update{Var: s.u, Value: b}, tensor.Update{Var: s.v, Value: b.Scale(m.Step)})
		},
		func() []tensor.Update {
			return []tensor.Update{{Var: s.residual, Value: Norm(b.Sub(a(v)))}, {Var: s.norm, Value: Norm(b)}}
		})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return s, nil
}

func (s *neumannSystem) RHS() *tensor.Variable      { return s.b }
func (s *neumannSystem) Solution() *tensor.Variable { return s.v }

// Solve sums the series at the current value of RHS.
func (s *neumannSystem) Solve(ctx context.Context) (Stats, error) {
	st := Stats{Steps: s.Terms, Products: s.Terms + 1, SmallestEigenvalue: math.NaN()}
	if err := ctx.Err(); err != nil {
		return st, err
	}
	if err := cmp.Or(s.loop.Setup(), s.loop.Body(bodyStart).Run(1)); err != nil {
		return st, err
	}
	if err := s.sum(ctx); err != nil {
		return st, err
	}
	if err := s.product.then(ctx, s.v, s.loop.Body(bodyFinish)); err != nil {
		return st, err
	}
	var err1, err2 error
	st.Residual, err1 = s.residual.Number()
	st.RHSNorm, err2 = s.norm.Number()
	switch {
	case math.IsNaN(st.Residual) || math.IsInf(st.Residual, 0):
		st.Status = NotFinite
	case st.Residual <= max(s.RTol*st.RHSNorm, s.ATol):
		st.Status = Converged
	case st.Residual > 1.001*st.RHSNorm: // the residual is (I - ηA)^{Q+1} b, so |1 - ηλ| > 1 for some eigenvalue λ
		st.Status = Diverged
	default:
		st.Status = MaxSteps
	}
	return st, cmp.Or(err1, err2)
}

// sum takes the steps; where the operator is part of the loop, one call runs them all.
func (s *neumannSystem) sum(ctx context.Context) error {
	if s.product == nil {
		return s.loop.Run(s.Terms)
	}
	for range s.Terms {
		if err := s.product.then(ctx, s.u, s.loop); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the programs and vectors.
func (s *neumannSystem) Close() error { return s.scope.Close() }
