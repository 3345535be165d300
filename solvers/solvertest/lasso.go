package solvertest

import (
	"math"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Lasso chooses the weight of the lasso by its error on held-out rows. x [1] is the logarithm of the weight:
//
//	G + r = ½|Zy - b|² + eˣ|y|₁,   F = ½|Z′y - b′|²
//
// With S the support of y* and σ its signs, y*_S = (Z_SᵀZ_S)⁻¹(Z_Sᵀb - eˣσ) and
// h′ = -eˣ σᵀ(Z_SᵀZ_S)⁻¹Z′_Sᵀ(Z′y* - b′) (Bertrand et al., ICML 2020). Where the support changes h has a kink.
type Lasso struct {
	Train, Val *mat.Dense // Z, Z′ [rows, q]
	B, HeldOut []float64  // b, b′
	At         float64    // start value of x
}

// NewLasso draws a problem with q coefficients, every third of which makes the targets, beside noise.
func NewLasso(seed uint64, rows, held, q int) *Lasso {
	s := &source{seed: seed}
	truth := s.normals(q, 1)
	for i := range truth {
		if i%3 != 0 {
			truth[i] = 0
		}
	}
	m := &Lasso{At: -1.5}
	m.Train, m.B = s.regression(rows, truth, 0.1)
	m.Val, m.HeldOut = s.regression(held, truth, 0.1)
	return m
}

func (m *Lasso) Tables() []Table { return regressionTables(m.Train, m.B, m.Val, m.HeldOut) }

// Problem starts at y = 0.
func (m *Lasso) Problem(t []*tensor.Node) *problem.Problem {
	_, q := m.Train.Dims()
	return &problem.Problem{
		Name: "lasso",
		Lower: problem.Level{
			Start: problem.Vector(zeros(q)...),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(product(t[0], y).Sub(t[1]))
			}),
			Prox: func(x problem.Vars, z, step *tensor.Node) *tensor.Node {
				return SoftThreshold(z, step.Mul(x.Flat().Exp().Reshape()))
			},
		},
		Upper: problem.Level{
			Start: problem.Vector(m.At),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(product(t[2], y).Sub(t[3]))
			}),
		},
	}
}

// SoftThreshold is the proximal map of t|z|₁: sign(z) max(|z| - t, 0).
func SoftThreshold(z, t *tensor.Node) *tensor.Node { return z.Sign().Mul(z.Abs().Sub(t).Relu()) }

// Exact finds the support by coordinate descent and solves on it.
func (m *Lasso) Exact(x []float64) (y, gradient []float64) {
	_, q := m.Train.Dims()
	weight := math.Exp(x[0])
	y = zeros(q)
	residual := slices.Clone(m.B) // b - Zy
	column := func(j int) []float64 { return mat.Col(nil, j, m.Train) }
	const sweeps = 100000
	for range sweeps {
		moved := 0.0
		for j := range q {
			z := column(j)
			norm := floats.Dot(z, z)
			to := floats.Dot(z, residual) + norm*y[j]
			next := math.Copysign(max(0, math.Abs(to)-weight), to) / norm
			floats.AddScaled(residual, y[j]-next, z)
			moved, y[j] = max(moved, math.Abs(next-y[j])), next
		}
		if moved <= 1e-15 {
			break
		}
	}
	var support []int
	for j, v := range y {
		if v != 0 {
			support = append(support, j)
		}
	}
	n := len(support)
	if n == 0 {
		return y, []float64{0}
	}
	rows, _ := m.Train.Dims()
	held, _ := m.Val.Dims()
	z, zv := mat.NewDense(rows, n, nil), mat.NewDense(held, n, nil)
	sign := mat.NewVecDense(n, nil)
	for k, j := range support {
		z.SetCol(k, column(j))
		zv.SetCol(k, mat.Col(nil, j, m.Val))
		sign.SetVec(k, math.Copysign(1, y[j]))
	}
	var gram mat.SymDense
	gram.SymOuterK(1, z.T())
	var chol mat.Cholesky
	if !chol.Factorize(&gram) {
		panic("solvertest: the columns of the lasso's support depend on each other")
	}
	var to, on, pull, v mat.VecDense
	to.MulVec(z.T(), mat.NewVecDense(rows, m.B))
	to.AddScaledVec(&to, -weight, sign)
	r := mat.NewVecDense(held, nil)
	if err := chol.SolveVecTo(&on, &to); err != nil {
		panic(err)
	}
	r.MulVec(zv, &on)
	r.SubVec(r, mat.NewVecDense(held, m.HeldOut))
	pull.MulVec(zv.T(), r)
	if err := chol.SolveVecTo(&v, &pull); err != nil {
		panic(err)
	}
	for k, j := range support {
		y[j] = on.AtVec(k)
	}
	return y, []float64{-weight * mat.Dot(sign, &v)}
}
