package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Ridge, problem Q3, chooses the weight of a ridge regression by its error on held-out rows. x [1] is the logarithm of
// the weight:
//
//	G = ½|Zy - b|² + ½ eˣ|y|²,   F = ½|Z′y - b′|²
//
// With M = ZᵀZ + eˣI: y* = M⁻¹Zᵀb and h′ = -eˣ y*ᵀM⁻¹Z′ᵀ(Z′y* - b′).
type Ridge struct {
	Train, Val   *mat.Dense // Z, Z′ [rows, q]
	B, HeldOut   []float64  // b, b′
	gram         [][]wide   // ZᵀZ
	trainT, valT [][]wide   // Zᵀ, Z′ᵀ
}

// NewRidge draws a problem with q coefficients. The rows are normal; the targets are a linear function of the rows,
// with normal coefficients, plus noise.
func NewRidge(seed uint64, rows, held, q int) *Ridge {
	s := &source{seed: seed}
	truth := s.normals(q, 1)
	m := &Ridge{}
	m.Train, m.B = s.regression(rows, truth, 0.3)
	m.Val, m.HeldOut = s.regression(held, truth, 0.3)
	return m
}

// regression draws n normal rows and targets that are a linear function of them, plus noise.
func (s *source) regression(n int, truth []float64, noise float64) (*mat.Dense, []float64) {
	q := len(truth)
	z := mat.NewDense(n, q, s.normals(n*q, 1/math.Sqrt(float64(n))))
	b := mat.NewVecDense(n, s.normals(n, noise))
	var clean mat.VecDense
	clean.MulVec(z, mat.NewVecDense(q, truth))
	b.AddVec(b, &clean)
	return z, b.RawVector().Data
}

// regressionTables are the rows and targets of training and of validation.
func regressionTables(train *mat.Dense, b []float64, val *mat.Dense, heldOut []float64) []Table {
	rows, q := train.Dims()
	held, _ := val.Dims()
	return []Table{
		{Name: "Z", Shape: []int{rows, q}, Real: train.RawMatrix().Data},
		{Name: "b", Shape: []int{rows}, Real: b},
		{Name: "Z'", Shape: []int{held, q}, Real: val.RawMatrix().Data},
		{Name: "b'", Shape: []int{held}, Real: heldOut},
	}
}

func (m *Ridge) Tables() []Table { return regressionTables(m.Train, m.B, m.Val, m.HeldOut) }

// Problem starts at x = -1, y = 0.
func (m *Ridge) Problem(t []*tensor.Node) *problem.Problem {
	_, q := m.Train.Dims()
	return &problem.Problem{
		Name: "ridge",
		Lower: problem.Level{
			Start: problem.Vector(zeros(q)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(product(t[0], y).Sub(t[1])).Add(half(y).Mul(x.Exp().Reshape()))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(-1),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(product(t[2], y).Sub(t[3]))
			}),
		},
	}
}

func (m *Ridge) Exact(x []float64) (y, gradient []float64) {
	_, q := m.Train.Dims()
	if m.gram == nil {
		m.trainT, m.valT = transpose(matrix(m.Train)), transpose(matrix(m.Val))
		m.gram = make([][]wide, q)
		for i := range q {
			m.gram[i] = affine(m.trainT, m.trainT[i], vector(zeros(q)))
		}
	}
	weight := number(math.Exp(x[0]))
	M := make([][]wide, q)
	for i := range q {
		M[i] = append([]wide(nil), m.gram[i]...)
		M[i][i] = number(0).Add(M[i][i], weight)
	}
	chol := factor(M)
	Y := solve(chol, affine(m.trainT, vector(m.B), vector(zeros(q))))
	residual := affine(transpose(m.valT), Y, minus(vector(m.HeldOut)))
	v := solve(chol, affine(m.valT, residual, vector(zeros(q))))
	implicit := dot(number(0), Y, v)
	implicit.Mul(implicit, weight)
	return narrow(Y), narrow(minus([]wide{implicit}))
}
