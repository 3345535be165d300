package problem

import (
	"errors"
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Affine is {z : E z = c} with a matrix E [m, n] of full row rank. It has no linear minimization oracle, because it is
// not bounded.
type Affine struct {
	rows   *mat.Dense // E
	target []float64  // c
	pinv   *mat.Dense // E⁺ = Eᵀ(EEᵀ)⁻¹

	e, c, p *tensor.Node // the three on the device, once bound
}

// NewAffine prepares the set. Its error is a matrix whose rows depend on each other.
func NewAffine(rows *mat.Dense, target []float64) (Affine, error) {
	if rows == nil || rows.IsEmpty() {
		return Affine{}, errors.New("problem: an affine set without equations: leave Set nil where there are none")
	}
	m, _ := rows.Dims()
	if len(target) != m {
		return Affine{}, fmt.Errorf("problem: %d equations with %d right-hand sides", m, len(target))
	}
	pinv, ok := RightInverse(rows)
	if !ok {
		return Affine{}, fmt.Errorf("problem: the %d equations of an affine set depend on each other: leave out "+
			"those that follow from others", m)
	}
	return Affine{rows: mat.DenseCopyOf(rows), target: append([]float64(nil), target...), pinv: pinv}, nil
}

// RightInverse is E⁺ = Eᵀ(EEᵀ)⁻¹ [n, m] of a matrix E [m, n]; ok is false where its rows depend on each other. Rows of
// length 1 tell such rows from rows of different sizes.
func RightInverse(e *mat.Dense) (inverse *mat.Dense, ok bool) {
	m, n := e.Dims()
	unit, sizes := mat.DenseCopyOf(e), make([]float64, m)
	for i := range m {
		row := unit.RawRowView(i)
		if sizes[i] = floats.Norm(row, 2); sizes[i] > 0 {
			floats.Scale(1/sizes[i], row)
		}
	}
	var gram mat.SymDense
	gram.SymOuterK(1, unit)
	var chol mat.Cholesky
	if !chol.Factorize(&gram) || chol.Cond() > 1e14 {
		return nil, false
	}
	var half mat.Dense // (UUᵀ)⁻¹U for the rows U of length 1
	if err := chol.SolveTo(&half, unit); err != nil {
		return nil, false
	}
	for i, size := range sizes {
		floats.Scale(1/size, half.RawRowView(i))
	}
	inverse = mat.NewDense(n, m, nil)
	inverse.Copy(half.T())
	return inverse, true
}

// Project is z - E⁺(E z - c).
func (s Affine) Project(z *tensor.Node, _ Batch) *tensor.Node {
	if s.e == nil {
		notBound(s)
	}
	return z.Sub(times(s.p, times(s.e, z).Sub(s.c)))
}

func (s Affine) bind(sc *tensor.Scope, _ params.Layout) (Set, error) {
	m, n := s.rows.Dims()
	var err1, err2, err3 error
	s.e, err1 = upload(sc, "equations", s.rows.RawMatrix().Data, m, n)
	s.p, err2 = upload(sc, "pseudo-inverse", s.pinv.RawMatrix().Data, n, m)
	s.c, err3 = upload(sc, "right-hand sides", s.target, m)
	return s, errors.Join(err1, err2, err3)
}

// Free is 1 everywhere, because the set holds no single coordinate. Directions d that stay in the set are those with
// E d = 0.
func (s Affine) Free(z *tensor.Node, _ Batch) *tensor.Node { return tensor.Full(1, z.Shape()...) }

func (s Affine) Contains(v Values) bool {
	m, n := s.rows.Dims()
	if v.Size() != n {
		return false
	}
	var r mat.VecDense
	r.MulVec(s.rows, mat.NewVecDense(n, v.Flat))
	for i := range m {
		if !(math.Abs(r.AtVec(i)-s.target[i]) <= 1e-6*(1+math.Abs(s.target[i]))) {
			return false
		}
	}
	return true
}

func (s Affine) Check(_ params.Layout, n int) error {
	if s.rows == nil {
		return fmt.Errorf("an %s", s)
	}
	if _, columns := s.rows.Dims(); columns != n {
		return fmt.Errorf("equations in %d unknowns for %d coordinates", columns, n)
	}
	return nil
}

func (s Affine) String() string {
	if s.rows == nil {
		return "affine set that NewAffine did not make"
	}
	m, n := s.rows.Dims()
	return fmt.Sprintf("affine set of %d equations in %d unknowns", m, n)
}

// times is the product of a matrix and a vector.
func times(m, z *tensor.Node) *tensor.Node {
	return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0])
}
