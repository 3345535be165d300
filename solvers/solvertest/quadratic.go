package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Quadratic, problem Q2, has two quadratic objectives, with A [q,q] symmetric and positive definite, B [q,q] and
// E [p,p] symmetric, C and K [p,q]:
//
//	G = ½ yᵀAy + xᵀCy + aᵀy
//	F = ½ yᵀBy + ½ xᵀEx + xᵀKy + fᵀy + eᵀx
//
// It has y* = -A⁻¹(Cᵀx + a), v = A⁻¹(By* + Kᵀx + f), ∇h = Ex + Ky* + e - Cv, and with J = -A⁻¹Cᵀ the Hessian
// ∇²h = E + JᵀBJ + KJ + (KJ)ᵀ.
type Quadratic struct {
	A, B, C, E, K *mat.Dense
	LowerA        []float64 // a
	F, UpperE     []float64 // f, e

	chol [][]wide // the Cholesky factor of A, computed when it is first needed
}

// NewQuadratic draws a problem with p upper variables whose lower Hessian has the given eigenvalues, which must be
// positive. The elements of y*(0) are near 1 in size whatever the eigenvalues, and E is chosen such that h is strongly
// convex with modulus at least 1.
func NewQuadratic(seed uint64, p int, eigenvalues []float64) *Quadratic {
	q, s := len(eigenvalues), &source{seed: seed}
	top := 0.0
	for _, l := range eigenvalues {
		top = max(top, l)
	}
	m := &Quadratic{
		A: s.symmetric(eigenvalues), B: s.symmetric(Spectrum(q, 3)),
		C: s.dense(p, q, top), K: s.dense(p, q, 1),
		F: s.normals(q, 1), UpperE: s.normals(p, 1), E: mat.NewDense(p, p, nil),
	}
	var a mat.VecDense
	a.MulVec(m.A, mat.NewVecDense(q, s.normals(q, -1)))
	m.LowerA = a.RawVector().Data
	m.convex()
	return m
}

// convex makes E, which is 0, the multiple of the identity with which h is strongly convex.
func (m *Quadratic) convex() {
	p, _ := m.Sizes()
	var eig mat.EigenSym
	h := m.Hessian()
	eig.Factorize(mat.NewSymDense(p, h.RawMatrix().Data), false)
	shift := math.Ceil(1 + max(0, -eig.Values(nil)[0]))
	for i := range p {
		m.E.Set(i, i, shift)
	}
}

// NewAligned draws a quadratic problem whose two objectives have the same part in y, B = A, K = C and f = a, so that
// ∇yF vanishes where ∇yG does: there v = 0 and ∇h = ∇xF, without an implicit term. h is strongly convex with modulus at
// least 1.
func NewAligned(seed uint64, p int, eigenvalues []float64) *Quadratic {
	m := NewQuadratic(seed, p, eigenvalues)
	m.B, m.K, m.F = m.A, m.C, m.LowerA
	m.E = mat.NewDense(p, p, nil)
	m.convex()
	return m
}

// Sizes are the numbers of upper and lower variables.
func (m *Quadratic) Sizes() (p, q int) { return m.C.Dims() }

func (m *Quadratic) Tables() []Table {
	p, q := m.Sizes()
	return []Table{
		{Name: "A", Shape: []int{q, q}, Real: m.A.RawMatrix().Data},
		{Name: "B", Shape: []int{q, q}, Real: m.B.RawMatrix().Data},
		{Name: "C", Shape: []int{p, q}, Real: m.C.RawMatrix().Data},
		{Name: "E", Shape: []int{p, p}, Real: m.E.RawMatrix().Data},
		{Name: "K", Shape: []int{p, q}, Real: m.K.RawMatrix().Data},
		{Name: "a", Shape: []int{q}, Real: m.LowerA},
		{Name: "f", Shape: []int{q}, Real: m.F},
		{Name: "e", Shape: []int{p}, Real: m.UpperE},
	}
}

// Problem starts at zero.
func (m *Quadratic) Problem(t []*tensor.Node) *problem.Problem {
	p, q := m.Sizes()
	return &problem.Problem{
		Name: "quadratic",
		Lower: problem.Level{
			Start: problem.Vector(zeros(q)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return lowerQuadratic(x, y, t[0], t[2], t[5])
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(zeros(p)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return upperQuadratic(x, y, t[1], t[3], t[4], t[6], t[7])
			}),
		},
	}
}

func lowerQuadratic(x, y, A, C, a *tensor.Node) *tensor.Node {
	return bilinear(y, A, y).Scale(0.5).Add(bilinear(x, C, y)).Add(tensor.Dot(a, y))
}

func upperQuadratic(x, y, B, E, K, f, e *tensor.Node) *tensor.Node {
	return bilinear(y, B, y).Scale(0.5).Add(bilinear(x, E, x).Scale(0.5)).Add(bilinear(x, K, y)).
		Add(tensor.Dot(f, y)).Add(tensor.Dot(e, x))
}

func (m *Quadratic) Exact(x []float64) (y, gradient []float64) {
	X := vector(x)
	Y := m.lower(X)
	return narrow(Y), narrow(m.upper(X, Y, m.adjoint(X, Y)))
}

// Adjoint is v = A⁻¹∇yF(x, y).
func (m *Quadratic) Adjoint(x, y []float64) []float64 { return narrow(m.adjoint(vector(x), vector(y))) }

// Direction is ∇xF(x, y) - C v: the hypergradient where y = y*(x) and v is the adjoint there.
func (m *Quadratic) Direction(x, y, v []float64) []float64 {
	return narrow(m.upper(vector(x), vector(y), vector(v)))
}

func (m *Quadratic) factor() [][]wide {
	if m.chol == nil {
		m.chol = factor(matrix(m.A))
	}
	return m.chol
}

// lower is y*(x).
func (m *Quadratic) lower(x []wide) []wide {
	return minus(solve(m.factor(), affine(transpose(matrix(m.C)), x, vector(m.LowerA))))
}

// adjoint is A⁻¹∇yF(x, y).
func (m *Quadratic) adjoint(x, y []wide) []wide {
	return solve(m.factor(), affine(matrix(m.B), y, affine(transpose(matrix(m.K)), x, vector(m.F))))
}

// upper is ∇xF(x, y) - C v.
func (m *Quadratic) upper(x, y, v []wide) []wide {
	fx := affine(matrix(m.E), x, affine(matrix(m.K), y, vector(m.UpperE)))
	return subtract(fx, affine(matrix(m.C), v, vector(zeros(len(x)))))
}

// Hessian is ∇²h.
func (m *Quadratic) Hessian() *mat.Dense {
	p, q := m.Sizes()
	columns := make([][]float64, p)
	for i := range columns {
		columns[i] = narrow(minus(solve(m.factor(), vector(m.C.RawRowView(i)))))
	}
	j := mat.NewDense(q, p, nil)
	for i, c := range columns {
		j.SetCol(i, c)
	}
	var bj, jbj, kj, h mat.Dense
	bj.Mul(m.B, j)
	jbj.Mul(j.T(), &bj)
	kj.Mul(m.K, j)
	h.Add(m.E, &jbj)
	h.Add(&h, &kj)
	h.Add(&h, kj.T())
	return &h
}

// Optimum is the minimizer of h.
func (m *Quadratic) Optimum() []float64 {
	p, _ := m.Sizes()
	_, g := m.Exact(zeros(p))
	return narrow(minus(solve(factor(matrix(m.Hessian())), vector(g))))
}

// Structure is what the bound on a hypergradient's error needs: mu, the lower level's modulus of strong convexity, and
// the Lipschitz constants. They are slightly pessimistic, so that rounding cannot make them wrong.
func (m *Quadratic) Structure() (mu float64, c *problem.Constants) {
	_, q := m.Sizes()
	var eig mat.EigenSym
	eig.Factorize(mat.NewSymDense(q, m.A.RawMatrix().Data), false)
	const room = 1e-9 // for the rounding errors of the eigenvalues and norms
	return eig.Values(nil)[0] * (1 - room), &problem.Constants{
		GradXF:    mat.Norm(m.K, 2) * (1 + room),
		GradYF:    mat.Norm(m.B, 2) * (1 + room),
		CrossNorm: mat.Norm(m.C, 2) * (1 + room),
	}
}
