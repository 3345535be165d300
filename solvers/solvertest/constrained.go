package solvertest

import (
	"math"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Clipped, problem Q5, follows x inside a box:
//
//	G = ½|y - x|², y in [Lo, Hi],   F = ½|y - t|² + ⅛|x|²
//
// It has y* = clip(x), and dy*/dx is 1 inside and 0 where a bound holds y. At x_i = Lo or Hi h has a kink; there Exact
// gives the derivative from inside.
type Clipped struct {
	Lo, Hi float64
	T      []float64
}

// NewClipped draws a problem of n variables in the box [-1, 1].
func NewClipped(seed uint64, n int) *Clipped {
	s := &source{seed: seed}
	return &Clipped{Lo: -1, Hi: 1, T: s.normals(n, 1)}
}

func (m *Clipped) Tables() []Table {
	return []Table{{Name: "t", Shape: []int{len(m.T)}, Real: m.T}}
}

// Problem starts at x_i = ±1.5 and ±0.5 in turns, some held by bounds, some free, and at y = 0.
func (m *Clipped) Problem(t []*tensor.Node) *problem.Problem {
	start := zeros(len(m.T))
	for i := range start {
		start[i] = []float64{1.5, -0.5, -1.5, 0.5}[i%4]
	}
	return &problem.Problem{
		Name: "clipped",
		Lower: problem.Level{
			Start: problem.Vector(zeros(len(m.T))...), Set: problem.Box{Lo: m.Lo, Hi: m.Hi},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y.Sub(x)) }),
		},
		Upper: problem.Level{Start: problem.Vector(start...), Value: follow(t[0])},
	}
}

// follow is ½|y - t|² + ⅛|x|².
func follow(t *tensor.Node) problem.Function {
	return problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return half(y.Sub(t)).Add(half(x).Scale(0.25))
	})
}

func (m *Clipped) Exact(x []float64) (y, gradient []float64) {
	y, gradient = slices.Clone(x), slices.Clone(x)
	floats.Scale(0.25, gradient)
	for i, v := range x {
		if y[i] = min(max(v, m.Lo), m.Hi); y[i] == v {
			gradient[i] += v - m.T[i]
		}
	}
	return y, gradient
}

// Shares, problem Q6, divides a total of 1 among n choices:
//
//	G = -yᵀx + ½γ|y|², y in the simplex,   F = ½|y - t|² + ⅛|x|²
//
// It has y* = P(x/γ), and with s the mask of positive shares dy*/dx = (diag(s) - ssᵀ/Σs)/γ.
type Shares struct {
	Gamma float64
	T     []float64
}

// NewShares draws a problem of n choices.
func NewShares(seed uint64, n int) *Shares {
	s := &source{seed: seed}
	return &Shares{Gamma: 0.8, T: s.normals(n, 1)}
}

func (m *Shares) Tables() []Table {
	return []Table{{Name: "t", Shape: []int{len(m.T)}, Real: m.T}}
}

// Problem starts at values of x that differ, some of which get no share, and at equal shares.
func (m *Shares) Problem(t []*tensor.Node) *problem.Problem {
	n := len(m.T)
	start, equal := zeros(n), zeros(n)
	for i := range start {
		start[i], equal[i] = 0.6*math.Sin(2.3*float64(i+1)), 1/float64(n)
	}
	return &problem.Problem{
		Name: "shares",
		Lower: problem.Level{
			Start: problem.Vector(equal...), Set: problem.Simplex{Total: 1},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y).Scale(m.Gamma).Sub(tensor.Dot(x, y))
			}),
		},
		Upper: problem.Level{Start: problem.Vector(start...), Value: follow(t[0])},
	}
}

func (m *Shares) Exact(x []float64) (y, gradient []float64) {
	sorted := slices.Clone(x)
	floats.Scale(1/m.Gamma, sorted)
	y = slices.Clone(sorted)
	slices.Sort(sorted)
	sum, tau := 0.0, 0.0
	for i, v := range slices.Backward(sorted) { // projection by sorting (Duchi et al., ICML 2008)
		sum += v
		if t := (sum - 1) / float64(len(x)-i); v > t {
			tau = t
		}
	}
	mean, count := 0.0, 0.0 // of y - t over the positive shares
	for i := range y {
		if y[i] = max(0, y[i]-tau); y[i] > 0 {
			mean, count = mean+y[i]-m.T[i], count+1
		}
	}
	gradient = slices.Clone(x)
	floats.Scale(0.25, gradient)
	for i := range y {
		if y[i] > 0 {
			gradient[i] += (y[i] - m.T[i] - mean/count) / m.Gamma
		}
	}
	return y, gradient
}

// Equality, problem Q7, is Quadratic with equations on the lower level, whose right-hand side moves with x:
//
//	E y = c + D x
//
// With w the multiplier of [A Eᵀ; E 0][v; w] = [∇yF; 0], ∇h = ∇xF - C v + Dᵀw.
type Equality struct {
	Free        *Quadratic // without the equations
	Rows, Moves *mat.Dense // E [m,q], D [m,p]
	Target      []float64  // c
}

// NewEquality draws a problem with m equations.
func NewEquality(seed uint64, p, m int, eigenvalues []float64) *Equality {
	s := &source{seed: seed, step: 1000} // after the arrays of the quadratic
	return &Equality{Free: NewQuadratic(seed, p, eigenvalues), Rows: s.dense(m, len(eigenvalues), 2),
		Moves: s.dense(m, p, 1), Target: s.normals(m, 0.5)}
}

func (m *Equality) Tables() []Table {
	p, q := m.Free.Sizes()
	n := len(m.Target)
	return append(m.Free.Tables(),
		Table{Name: "rows", Shape: []int{n, q}, Real: m.Rows.RawMatrix().Data},
		Table{Name: "moves", Shape: []int{n, p}, Real: m.Moves.RawMatrix().Data},
		Table{Name: "target", Shape: []int{n}, Real: m.Target})
}

// Problem starts at zero, which need not satisfy the equations.
func (m *Equality) Problem(t []*tensor.Node) *problem.Problem {
	p := m.Free.Problem(t[:8])
	p.Name = "quadratic with equations"
	p.Lower.Equality = problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
		return product(t[8], y).Sub(t[10]).Sub(product(t[9], x))
	})
	return p
}

// Exact solves with A and then with E A⁻¹Eᵀ, in more digits than float64 has.
func (m *Equality) Exact(x []float64) (y, gradient []float64) {
	X, rows, moves := vector(x), matrix(m.Rows), matrix(m.Moves)
	n, q := len(rows), len(m.Free.LowerA)
	back := make([][]wide, n) // columns of A⁻¹Eᵀ
	for i := range back {
		back[i] = solve(m.Free.factor(), rows[i])
	}
	schur := make([][]wide, n)
	for i := range schur {
		schur[i] = affine(back, rows[i], vector(zeros(n)))
	}
	chol := factor(schur)
	// project solves [A Eᵀ; E 0][v; w] = [b; d].
	project := func(b, d []wide) (v, w []wide) {
		free := solve(m.Free.factor(), b)
		w = solve(chol, subtract(affine(rows, free, vector(zeros(n))), d))
		return solve(m.Free.factor(), subtract(b, affine(transpose(rows), w, vector(zeros(q))))), w
	}
	Y, _ := project(minus(affine(transpose(matrix(m.Free.C)), X, vector(m.Free.LowerA))),
		affine(moves, X, vector(m.Target)))
	v, w := project(affine(matrix(m.Free.B), Y, affine(transpose(matrix(m.Free.K)), X, vector(m.Free.F))),
		vector(zeros(n)))
	g := affine(transpose(moves), w, m.Free.upper(X, Y, v))
	return narrow(Y), narrow(g)
}
