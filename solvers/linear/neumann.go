package linear

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"bilevel/tensor"
)

// Neumann is the Neumann series cut after Terms products (Lorraine, Vicol, Duvenaud, AISTATS 2020, eq. 8; Ji, Yang,
// Liang, ICML 2021):
//
//	v = η Σ_{k=0}^{Q} (I - ηA)^k b,     v - A⁻¹b = -(I - ηA)^{Q+1} A⁻¹ b
//
// with Q = Terms and η = Step. It converges for 0 < η < 2/λmax(A) and needs Q products, and one more for the residual
// at the end. The start value is not used. Status is Converged when the residual is within max(RTol |b|, ATol),
// Diverged when it is larger than b.
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
	b, v, u  *tensor.Variable
	residual *tensor.Variable
	norm     *tensor.Variable
	loop     *tensor.Loop // bodies: step, start, finish
}

// Prepare compiles the recurrence u ← u - ηAu, v ← v + ηu from u = b, v = ηb.
func (m Neumann) Prepare(ex *tensor.Executor, a Operator, n int) (System, error) {
	if !(m.Step > 0) || math.IsInf(m.Step, 0) || m.Terms < 0 {
		return nil, fmt.Errorf("linear: Neumann: step %g with %d terms: wants a positive step and terms from 0 on", m.Step, m.Terms)
	}
	if err := checkTolerance("Neumann", m.RTol, m.ATol, 1); err != nil {
		return nil, err
	}
	s := &neumannSystem{Neumann: m}
	s.b, s.v, s.u = ex.Variable("neumann b", tensor.Real, n), ex.Variable("neumann v", tensor.Real, n), ex.Variable("neumann u", tensor.Real, n)
	s.residual, s.norm = ex.Variable("neumann residual", tensor.Real), ex.Variable("neumann norm", tensor.Real)
	b, v, u := s.b.Node(), s.v.Node(), s.u.Node()
	var err error
	s.loop, err = ex.CompileLoop("neumann",
		func() []tensor.Update {
			next := u.Sub(a(u).Scale(m.Step))
			return []tensor.Update{{Var: s.u, Value: next}, {Var: s.v, Value: v.Add(next.Scale(m.Step))}}
		},
		func() []tensor.Update {
			return []tensor.Update{{Var: s.u, Value: b}, {Var: s.v, Value: b.Scale(m.Step)}}
		},
		func() []tensor.Update {
			return []tensor.Update{{Var: s.residual, Value: b.Sub(a(v)).Norm()}, {Var: s.norm, Value: b.Norm()}}
		})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *neumannSystem) RHS() *tensor.Variable      { return s.b }
func (s *neumannSystem) Solution() *tensor.Variable { return s.v }

// Solve sums the series.
func (s *neumannSystem) Solve(ctx context.Context) (Stats, error) {
	st := Stats{Steps: s.Terms, Products: s.Terms + 1, SmallestEigenvalue: math.NaN()}
	if err := cmp.Or(ctx.Err(), s.loop.Setup(), s.loop.Body(bodyStart).Run(1), s.loop.Run(s.Terms), s.loop.Body(bodyFinish).Run(1)); err != nil {
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
	case st.Residual > 1.001*st.RHSNorm: // the residual is (I - ηA)^{Q+1} b: some |1 - ηλ| > 1
		st.Status = Diverged
	default:
		st.Status = MaxSteps
	}
	return st, cmp.Or(err1, err2)
}

// Close frees the programs and vectors.
func (s *neumannSystem) Close() error {
	var errs []error
	if s.loop != nil {
		errs = append(errs, s.loop.Close())
	}
	for _, v := range []*tensor.Variable{s.b, s.v, s.u, s.residual, s.norm} {
		v.Free()
	}
	return cmp.Or(errs...)
}
