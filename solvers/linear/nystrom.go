package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Nystrom replaces A by its Nyström approximation A_k = C W⁻¹ C' of rank k = Rank and adds Rho·I, where C = A[:, K] and
// W = A[K, K] for k coordinates K drawn without replacement (Hataya, Yamada, AISTATS 2023). By Woodbury's formula
//
//	v = (A_k + ρI)⁻¹ b = b/ρ - C (W + C'C/ρ)⁻¹ C'b / ρ²
//
// k products with unit vectors give C, one more the residual |b - A v|, in which ρ is part of the error. The k×k system
// is factorized on the host in float64. Where it is not positive definite, because A is not, or up to round-off, the
// smallest jitter of 10^i round-offs of its trace is added to its diagonal that makes it so; where a hundredth of the
// trace does not suffice, the status is NegativeCurvature and v = b/ρ.
//
// K is a function of Seed alone.
type Nystrom struct {
	Rank       int
	Rho        float64
	Seed       uint64
	RTol, ATol float64
}

// Class is Symmetric; where A is not positive semidefinite see the doc comment.
func (Nystrom) Class() Class { return Symmetric }

func (m Nystrom) String() string { return fmt.Sprintf("Nystrom(rank %d, ρ %g)", m.Rank, m.Rho) }

type nystrom struct {
	*direct
	Nystrom
	columns       *columns
	which         []int32
	small, inside *tensor.Variable // W + C'C/ρ and its inverse, [k, k]
}

// Prepare draws the coordinates and compiles the products.
func (m Nystrom) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	if m.Rank < 1 || m.Rank > a.N || !(m.Rho > 0) || math.IsInf(m.Rho, 0) {
		return nil,
			fmt.Errorf("linear: Nystrom: rank %d, rho %g for a matrix of size %d: wants a rank from 1 to the size "+
				"and a positive rho", m.Rank, m.Rho, a.N)
	}
	d, err := newDirect(ex, a, "Nystrom", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	k := m.Rank
	s := &nystrom{direct: d, Nystrom: m, small: d.vector("system", k, k), inside: d.vector("inverse", k, k)}
	s.which = philox.New(m.Seed, 0, philox.StreamProbe).Perm(a.N)[:k]
	if s.columns, err = newColumns(d.scope, a, "Nystrom", k); err != nil {
		return nil, errors.Join(err, d.scope.Close())
	}
	c := s.columns.rows.Node() // C'
	return s, s.compile(a,
		func() []tensor.Update {
			w := tensor.Gather(c.T(), s.columns.which.Node())
			return []tensor.Update{{Var: s.small, Value: w.Add(c.MatMul(c.T()).Scale(1 / m.Rho))}}
		},
		func() []tensor.Update {
			b := s.b.Node()
			t := s.inside.Node().MatMul(c.MatMul(b.Reshape(a.N, 1)))
			low := c.T().MatMul(t).Reshape(a.N).Scale(1 / (m.Rho * m.Rho))
			return []tensor.Update{{Var: s.v, Value: b.Scale(1 / m.Rho).Sub(low)}, varying(s.inside)}
		})
}

// Solve computes the columns where the matrix stands, and v.
func (s *nystrom) Solve(ctx context.Context) (Stats, error) {
	if err := s.columns.compute(ctx, s.which); err != nil {
		return Stats{}, err
	}
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := s.loop.Body(0).Run(1); err != nil {
		return Stats{}, err
	}
	k := s.Rank
	values, err := s.small.Read()
	if err != nil {
		return Stats{}, err
	}
	inverse, definite := invert(values, k, s.ex.Info().UnitRoundoff())
	if err := cmp.Or(s.inside.Write(inverse), s.loop.Body(1).Run(1)); err != nil {
		return Stats{}, err
	}
	st, err := s.end(ctx, 0, k)
	if !definite && st.Status != NotFinite {
		st.Status = NegativeCurvature
	}
	return st, err
}

// invert is the inverse of a symmetric matrix [k, k], with the least jitter on its diagonal that makes it positive
// definite; zero and false where that takes more than a hundredth of the trace.
func invert(values []float64, k int, roundoff float64) (inverse []float64, definite bool) {
	inverse = make([]float64, k*k)
	a, trace := mat.NewSymDense(k, nil), 0.0
	for i := range k {
		for j := range i + 1 {
			a.SetSym(i, j, (values[i*k+j]+values[j*k+i])/2)
		}
		trace += math.Abs(a.At(i, i))
	}
	if !(trace > 0) || math.IsInf(trace, 0) {
		return inverse, trace == 0 // a matrix of zeros adds nothing to b/ρ
	}
	var chol mat.Cholesky
	for jitter := 0.0; jitter <= 0.01*trace; jitter = max(10*jitter, roundoff*trace) {
		shifted := mat.NewSymDense(k, nil)
		shifted.CopySym(a)
		for i := range k {
			shifted.SetSym(i, i, a.At(i, i)+jitter)
		}
		var out mat.SymDense
		if chol.Factorize(shifted) && !tooSingular(chol.InverseTo(&out)) {
			for i := range k {
				for j := range k {
					inverse[i*k+j] = out.At(i, j)
				}
			}
			return inverse, true
		}
	}
	return inverse, false
}
