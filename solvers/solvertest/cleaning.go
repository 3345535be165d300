package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Cleaning is data hyper-cleaning with softmax regression. y [d·c] is the weight matrix W [d, c], and x has one number
// for each of the n training rows z_i; m held-out rows z′_j make the upper level:
//
//	G = (1/n) Σ_i sigmoid(x_i) CE(Wᵀz_i; label_i) + ½ Reg |y|²,   F = (1/m) Σ_j CE(Wᵀz′_j; label′_j)
//
// Exact solves the lower level by a dense Newton method in plain Go that shares no code with package tensor.
type Cleaning struct {
	Train, Val      *mat.Dense // rows [n, d], [m, d]
	Labels, HeldOut []int32
	Classes         int
	Reg             float64
	StartX          []float64
}

// NewCleaning draws normal rows with random labels.
func NewCleaning(seed uint64, rows, held, inputs, classes int, reg float64) *Cleaning {
	s := &source{seed: seed}
	return &Cleaning{
		Train:  mat.NewDense(rows, inputs, s.normals(rows*inputs, 1)),
		Val:    mat.NewDense(held, inputs, s.normals(held*inputs, 1)),
		Labels: s.labels(rows, classes), HeldOut: s.labels(held, classes), Classes: classes,
		Reg: reg, StartX: s.normals(rows, 1),
	}
}

func (m *Cleaning) Tables() []Table {
	n, d := m.Train.Dims()
	held, _ := m.Val.Dims()
	return []Table{
		{Name: "rows", Shape: []int{n, d}, Real: m.Train.RawMatrix().Data},
		{Name: "labels", Shape: []int{n}, Ints: m.Labels},
		{Name: "held-out rows", Shape: []int{held, d}, Real: m.Val.RawMatrix().Data},
		{Name: "held-out labels", Shape: []int{held}, Ints: m.HeldOut},
		{Name: "reg", Shape: []int{}, Real: []float64{m.Reg}},
	}
}

// Problem starts at the random x of StartX and at y = 0.
func (m *Cleaning) Problem(t []*tensor.Node) *problem.Problem {
	_, d := m.Train.Dims()
	loss := func(y, rows, labels *tensor.Node) *tensor.Node {
		return tensor.CrossEntropy(rows.MatMul(y.Reshape(d, m.Classes)), labels)
	}
	return &problem.Problem{
		Name: "cleaning",
		Lower: problem.Level{
			Start: problem.Vector(zeros(d * m.Classes)...),
			Rows:  problem.Rows{"rows": problem.On(t[0]), "labels": problem.On(t[1])},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return b.Of(x).Sigmoid().Mul(loss(y, b.Of(t[0]), b.Of(t[1]))).Mean().Add(half(y).Mul(t[4]))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(m.StartX...),
			Rows:  problem.Rows{"rows": problem.On(t[2]), "labels": problem.On(t[3])},
			Value: problem.Flat(func(_, y *tensor.Node, b problem.Batch) *tensor.Node {
				return loss(y, b.Of(t[2]), b.Of(t[3])).Mean()
			}),
		},
	}
}

// Exact gives y*(x), with |∇yG| near round-off, and the hypergradient there by the implicit function theorem.
func (m *Cleaning) Exact(x []float64) (y, gradient []float64) {
	n, d := m.Train.Dims()
	y = zeros(d * m.Classes)
	var chol mat.Cholesky
	for range 50 {
		g, h := m.lower(x, y)
		if !chol.Factorize(h) {
			panic("solvertest: the lower Hessian is not positive definite")
		}
		var step mat.VecDense
		if err := chol.SolveVecTo(&step, mat.NewVecDense(len(g), g)); err != nil {
			panic(err)
		}
		before := m.value(x, y)
		size := 1.0
		next := zeros(len(y))
		for {
			for i := range y {
				next[i] = y[i] - size*step.AtVec(i)
			}
			if size < 1e-3 || m.value(x, next) <= before*(1+1e-14) {
				break
			}
			size /= 2
		}
		y = next
		if mat.Norm(&step, 2) < 1e-15*(1+mat.Norm(mat.NewVecDense(len(y), y), 2)) {
			break
		}
	}
	_, h := m.lower(x, y)
	chol.Factorize(h)
	fy := zeros(len(y))
	held, _ := m.Val.Dims()
	for j := range held {
		m.row(y, m.Val.RawRowView(j), m.HeldOut[j], 1/float64(held), fy, nil)
	}
	var v mat.VecDense
	if err := chol.SolveVecTo(&v, mat.NewVecDense(len(fy), fy)); err != nil {
		panic(err)
	}
	gradient = zeros(n)
	for i := range n { // C's row i is sigmoid'(x_i)/n times the gradient of row i's loss
		gi := zeros(len(y))
		m.row(y, m.Train.RawRowView(i), m.Labels[i], 1/float64(n), gi, nil)
		s := sigmoid(x[i])
		gradient[i] = -s * (1 - s) * mat.Dot(mat.NewVecDense(len(gi), gi), &v)
	}
	return y, gradient
}

// Descend is an unconverged lower solve: so many steps of gradient descent from 0 with step size 1/L, where L bounds
// the largest eigenvalue of the lower Hessian.
func (m *Cleaning) Descend(x []float64, steps int) []float64 {
	n, d := m.Train.Dims()
	smooth := m.Reg // becomes L; the Hessian of cross-entropy in the logits has eigenvalues up to ½
	for i := range n {
		z := m.Train.RowView(i)
		smooth += sigmoid(x[i]) / float64(n) * mat.Dot(z, z) / 2
	}
	y := zeros(d * m.Classes)
	for range steps {
		g := zeros(len(y))
		for i := range n {
			m.row(y, m.Train.RawRowView(i), m.Labels[i], sigmoid(x[i])/float64(n), g, nil)
		}
		for i := range y {
			y[i] -= (g[i] + m.Reg*y[i]) / smooth
		}
	}
	return y
}

// value is G.
func (m *Cleaning) value(x, y []float64) float64 {
	n, _ := m.Train.Dims()
	sum := 0.0
	for i := range n {
		p := m.probabilities(y, m.Train.RawRowView(i))
		sum -= sigmoid(x[i]) * math.Log(p[m.Labels[i]]) / float64(n)
	}
	for _, v := range y {
		sum += m.Reg / 2 * v * v
	}
	return sum
}

// lower is ∇yG and H.
func (m *Cleaning) lower(x, y []float64) ([]float64, *mat.SymDense) {
	n, _ := m.Train.Dims()
	g, h := zeros(len(y)), mat.NewSymDense(len(y), nil)
	for i := range n {
		m.row(y, m.Train.RawRowView(i), m.Labels[i], sigmoid(x[i])/float64(n), g, h)
	}
	for i := range y {
		g[i] += m.Reg * y[i]
		h.SetSym(i, i, h.At(i, i)+m.Reg)
	}
	return g, h
}

// row adds to g, with a weight, the gradient of one row's cross-entropy, z ⊗ (p - onehot). Where h is not nil, row adds
// the Hessian zzᵀ ⊗ (diag p - ppᵀ) to it, with the same weight.
func (m *Cleaning) row(y, z []float64, label int32, weight float64, g []float64, h *mat.SymDense) {
	p := m.probabilities(y, z)
	c := m.Classes
	for a, za := range z {
		for k := range c {
			r := p[k]
			if k == int(label) {
				r--
			}
			g[a*c+k] += weight * za * r
			if h == nil {
				continue
			}
			for b, zb := range z {
				for l := range c {
					if i, j := a*c+k, b*c+l; i <= j {
						d := -p[k] * p[l]
						if k == l {
							d += p[k]
						}
						h.SetSym(i, j, h.At(i, j)+weight*za*zb*d)
					}
				}
			}
		}
	}
}

// probabilities is softmax(Wᵀz).
func (m *Cleaning) probabilities(y, z []float64) []float64 {
	p := zeros(m.Classes)
	for a, za := range z {
		for k := range p {
			p[k] += za * y[a*m.Classes+k]
		}
	}
	top, sum := math.Inf(-1), 0.0
	for _, v := range p {
		top = max(top, v)
	}
	for k := range p {
		p[k] = math.Exp(p[k] - top)
		sum += p[k]
	}
	for k := range p {
		p[k] /= sum
	}
	return p
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
