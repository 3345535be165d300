package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// FixedPoint is a network of two layers that is applied until its output does not change, the lower level as a residual
// (an equilibrium network: Bai, Kolter, Koltun, NeurIPS 2019):
//
//	y = Φ(x, y) = tanh(W₂ tanh(W₁y + Ux + b₁) + b₂),   F = ½|y - t|² + ⅛|x|²
//
// The norms of W₁ and W₂ are below 1, so that Φ is a contraction in y. The answers come from Newton's method and a
// dense solve with (I - ∂yΦ)ᵀ, which is not symmetric.
type FixedPoint struct {
	W1, W2, U *mat.Dense // [h,q], [q,h], [h,p]
	B1, B2    []float64
	T         []float64
}

// NewFixedPoint draws a problem with p upper and q lower variables and a hidden layer of h.
func NewFixedPoint(seed uint64, p, q, hidden int) *FixedPoint {
	s := &source{seed: seed}
	m := &FixedPoint{
		W1: s.dense(hidden, q, 1), W2: s.dense(q, hidden, 1), U: s.dense(hidden, p, 1.5),
		B1: s.normals(hidden, 0.3), B2: s.normals(q, 0.3), T: s.normals(q, 0.5),
	}
	for _, w := range []*mat.Dense{m.W1, m.W2} {
		w.Scale(0.9/mat.Norm(w, 2), w)
	}
	return m
}

func (m *FixedPoint) Tables() []Table {
	h, q := m.W1.Dims()
	_, p := m.U.Dims()
	return []Table{
		{Name: "W1", Shape: []int{h, q}, Real: m.W1.RawMatrix().Data},
		{Name: "W2", Shape: []int{q, h}, Real: m.W2.RawMatrix().Data},
		{Name: "U", Shape: []int{h, p}, Real: m.U.RawMatrix().Data},
		{Name: "b1", Shape: []int{h}, Real: m.B1},
		{Name: "b2", Shape: []int{q}, Real: m.B2},
		{Name: "t", Shape: []int{q}, Real: m.T},
	}
}

// Problem starts at x = 0.3, y = 0.
func (m *FixedPoint) Problem(t []*tensor.Node) *problem.Problem {
	_, p := m.U.Dims()
	_, q := m.W1.Dims()
	start := zeros(p)
	floats.AddConst(0.3, start)
	return &problem.Problem{
		Name: "fixed point",
		Lower: problem.Level{
			Start: problem.Vector(zeros(q)...),
			Residual: problem.FixedPoint(problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				inner := product(t[0], y).Add(product(t[2], x)).Add(t[3]).Tanh()
				return product(t[1], inner).Add(t[4]).Tanh()
			})),
		},
		Upper: problem.Level{
			Start: problem.Vector(start...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.Sub(t[5])).Add(half(x).Scale(0.25))
			}),
		},
	}
}

// layers are the outputs of both layers and their slopes.
func (m *FixedPoint) layers(x, y []float64) (inner, slope1, outer, slope2 []float64) {
	layer := func(to []float64, bias []float64, w *mat.Dense, z []float64) (out, slope []float64) {
		r, _ := w.Dims()
		out = append(to, bias...)
		for i := range r {
			out[i] += floats.Dot(w.RawRowView(i), z)
		}
		return out, zeros(r)
	}
	tanh := func(z, slope []float64) {
		for i, v := range z {
			z[i] = math.Tanh(v)
			slope[i] = 1 - z[i]*z[i]
		}
	}
	inner, slope1 = layer(nil, m.B1, m.W1, y)
	for i := range inner {
		inner[i] += floats.Dot(m.U.RawRowView(i), x)
	}
	tanh(inner, slope1)
	outer, slope2 = layer(nil, m.B2, m.W2, inner)
	tanh(outer, slope2)
	return inner, slope1, outer, slope2
}

// scaled is diag(d)·a.
func scaled(d []float64, a *mat.Dense) *mat.Dense {
	out := mat.DenseCopyOf(a)
	for i, v := range d {
		floats.Scale(v, out.RawRowView(i))
	}
	return out
}

// Exact solves to the round-off of float64.
func (m *FixedPoint) Exact(x []float64) (y, gradient []float64) {
	_, q := m.W1.Dims()
	y = zeros(q)
	jacobian := func() (*mat.Dense, *mat.Dense, []float64) { // I - ∂yΦ, ∂xΦ, Φ
		_, s1, to, s2 := m.layers(x, y)
		back := scaled(s2, m.W2)
		var dy, dx mat.Dense
		dy.Mul(back, scaled(s1, m.W1))
		dx.Mul(back, scaled(s1, m.U))
		for i := range q {
			floats.Scale(-1, dy.RawRowView(i))
			dy.Set(i, i, 1+dy.At(i, i))
		}
		return &dy, &dx, to
	}
	for range 30 {
		j, _, to := jacobian()
		r := mat.NewVecDense(q, zeros(q))
		r.SubVec(mat.NewVecDense(q, y), mat.NewVecDense(q, to))
		var step mat.VecDense
		if err := step.SolveVec(j, r); err != nil {
			panic(err) // a contraction has a regular I - ∂yΦ
		}
		floats.Sub(y, step.RawVector().Data)
		if mat.Norm(&step, 2) <= 1e-16*(1+floats.Norm(y, 2)) {
			break
		}
	}
	j, dx, _ := jacobian()
	b := mat.NewVecDense(q, zeros(q))
	b.SubVec(mat.NewVecDense(q, y), mat.NewVecDense(q, m.T))
	var w, g mat.VecDense
	if err := w.SolveVec(j.T(), b); err != nil {
		panic(err)
	}
	g.MulVec(dx.T(), &w)
	gradient = append(gradient, g.RawVector().Data...)
	floats.AddScaled(gradient, 0.25, x)
	return y, gradient
}
