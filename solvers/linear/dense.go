package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Dense forms A column by column, as n products with unit vectors, symmetrizes it as (A + A')/2 and solves on the host
// in float64, by Cholesky's factorization: the reference that other solvers are held against. It takes n² numbers and
// time n³, and refuses matrices of more than Limit.
//
// Where A has a negative eigenvalue the status is NegativeCurvature, where A is singular up to round-off it is
// Breakdown, and Solution is that of LU, or zero where that meets a pivot of zero. SmallestEigenvalue is the smallest
// eigenvalue in every case.
type Dense struct {
	Limit int // largest n; 0: 2000
}

// Class is Symmetric.
func (Dense) Class() Class { return Symmetric }

func (m Dense) String() string {
	return fmt.Sprintf("Dense(at most %d variables)", cmp.Or(m.Limit, 2000))
}

type denseSystem struct {
	*direct
	columns *columns
	which   []int32
}

// Prepare compiles the products.
func (m Dense) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	limit := cmp.Or(m.Limit, 2000)
	if limit < 0 {
		return nil, fmt.Errorf("linear: Dense: limit %d: wants a size, or 0 for 2000", m.Limit)
	}
	if a.N > limit {
		return nil,
			fmt.Errorf("linear: Dense: a matrix of size %d takes %.3g numbers and is above the limit of %d: use "+
				"CG, or raise Limit", a.N, float64(a.N)*float64(a.N), limit)
	}
	d, err := newDirect(ex, a, "Dense", 0, 0)
	if err != nil {
		return nil, err
	}
	s := &denseSystem{direct: d, which: make([]int32, a.N)}
	for i := range s.which {
		s.which[i] = int32(i)
	}
	if s.columns, err = newColumns(d.scope, a, "Dense", a.N); err != nil {
		return nil, errors.Join(err, d.scope.Close())
	}
	return s, s.compile(a)
}

// Solve forms the matrix where its variables stand, factorizes it and solves.
func (s *denseSystem) Solve(ctx context.Context) (Stats, error) {
	n := s.b.Size()
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := s.columns.compute(ctx, s.which); err != nil {
		return Stats{}, err
	}
	rows, err1 := s.columns.rows.Read()
	b, err2 := s.b.Read()
	if err := cmp.Or(err1, err2); err != nil {
		return Stats{}, err
	}
	finite := true
	a := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			e := (rows[i*n+j] + rows[j*n+i]) / 2
			a.SetSym(i, j, e)
			finite = finite && !math.IsNaN(e) && !math.IsInf(e, 0)
		}
		finite = finite && !math.IsNaN(b[i]) && !math.IsInf(b[i], 0)
	}
	v, status, smallest := make([]float64, n), NotFinite, math.NaN()
	if finite {
		v, status, smallest = factorize(a, b, s.ex.Info().UnitRoundoff())
	}
	if err := s.v.Write(v); err != nil {
		return Stats{}, err
	}
	st, err := s.end(ctx, 0, n)
	if status == Converged && st.Status == NotFinite {
		status = NotFinite
	}
	st.Status, st.SmallestEigenvalue = status, smallest
	return st, err
}

// factorize solves a v = b and gives the smallest eigenvalue of a, whose elements are known up to a relative roundoff.
func factorize(a *mat.SymDense, b []float64, roundoff float64) (v []float64, status Status, smallest float64) {
	n := len(b)
	zero := make([]float64, n)
	values := Eigenvalues(a)
	if values == nil {
		return zero, NotFinite, math.NaN()
	}
	smallest = values[0]
	small := float64(n) * roundoff * max(-smallest, values[n-1])
	rhs, out := mat.NewVecDense(n, b), mat.NewVecDense(n, nil)
	var chol mat.Cholesky
	if smallest > small && chol.Factorize(a) && !tooSingular(chol.SolveVecTo(out, rhs)) {
		return out.RawVector().Data, Converged, smallest
	}
	status = Breakdown
	if smallest < -small {
		status = NegativeCurvature
	}
	if tooSingular(out.SolveVec(a, rhs)) {
		return zero, status, smallest
	}
	return out.RawVector().Data, status, smallest
}

// tooSingular tells a matrix that is singular from one that is only ill-conditioned, which gonum reports as well.
func tooSingular(err error) bool {
	var condition mat.Condition
	return err != nil && (!errors.As(err, &condition) || float64(condition) > 0x1p53)
}
