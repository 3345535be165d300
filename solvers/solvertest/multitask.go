package solvertest

import (
	"fmt"
	"math"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// MultiTask learns a representation that tasks share, Φ = Z Rᵀ or, where it is Nonlinear, a layer Φ = tanh(Z Rᵀ), with
// R [r,d] (x is its rows one after the other), and a ridge regression w_t [r] on top of it for each task (y is w_1,
// w_2, …):
//
//	G = Σ_t 1/(2n) |Φ_t w_t - b_t|² + ½ρ|w_t|²,   F = Σ_t 1/(2m) |Φ′_t w_t - b′_t|² + ½ρ′|R|²
//
// The lower Hessian is block-diagonal: w_t* = (Φ_tᵀΦ_t/n + ρI)⁻¹ Φ_tᵀb_t/n.
type MultiTask struct {
	Dim, Outputs int // d, r
	Nonlinear    bool
	Train, Val   []*mat.Dense // Z_t, Z′_t
	B, HeldOut   [][]float64  // b_t, b′_t
	Rho, RhoUp   float64
}

// NewMultiTask draws tasks whose coefficients lie in one subspace of the dimension outputs, with noise.
func NewMultiTask(seed uint64, tasks, rows, dim, outputs int) *MultiTask {
	s := &source{seed: seed}
	m := &MultiTask{Dim: dim, Outputs: outputs, Rho: 0.1, RhoUp: 0.05}
	shared := s.dense(outputs, dim, 1)
	for range tasks {
		var truth mat.VecDense
		truth.MulVec(shared.T(), mat.NewVecDense(outputs, s.normals(outputs, 1)))
		z, b := s.regression(rows, truth.RawVector().Data, 0.1)
		m.Train, m.B = append(m.Train, z), append(m.B, b)
		z, b = s.regression(rows, truth.RawVector().Data, 0.1)
		m.Val, m.HeldOut = append(m.Val, z), append(m.HeldOut, b)
	}
	return m
}

func (m *MultiTask) Tables() (out []Table) {
	for t := range m.Train {
		for _, table := range regressionTables(m.Train[t], m.B[t], m.Val[t], m.HeldOut[t]) {
			table.Name = fmt.Sprintf("%s of task %d", table.Name, t+1)
			out = append(out, table)
		}
	}
	return out
}

// Problem starts at an R that is nowhere zero and not symmetric among its rows, and at y = 0.
func (m *MultiTask) Problem(tables []*tensor.Node) *problem.Problem {
	r, tasks := m.Outputs, len(m.Train)
	start := zeros(r * m.Dim)
	for i := range start {
		start[i] = 0.3 + 0.4*float64(i*i%7)/7
	}
	loss := func(x, y *tensor.Node, first int) *tensor.Node {
		sum := tensor.Const(0)
		for t := range tasks {
			z, b := tables[4*t+first], tables[4*t+first+1]
			features := z.MatMul(x.Reshape(r, m.Dim).T())
			if m.Nonlinear {
				features = features.Tanh()
			}
			sum = sum.Add(half(product(features, y.Slice(0, t*r, (t+1)*r)).Sub(b)).Scale(1 / float64(b.Size())))
		}
		return sum
	}
	return &problem.Problem{
		Name: "multi-task",
		Lower: problem.Level{
			Start: problem.Vector(zeros(r * tasks)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return loss(x, y, 0).Add(half(y).Scale(m.Rho))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(start...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return loss(x, y, 2).Add(half(x).Scale(m.RhoUp))
			}),
		},
	}
}

// features are Φ and what the activation's derivative is there.
func (m *MultiTask) features(z, r *mat.Dense) (phi, slope *mat.Dense) {
	phi, slope = &mat.Dense{}, &mat.Dense{}
	phi.Mul(z, r.T())
	slope.Apply(func(_, _ int, v float64) float64 {
		if m.Nonlinear {
			return 1 - math.Tanh(v)*math.Tanh(v)
		}
		return 1
	}, phi)
	if m.Nonlinear {
		phi.Apply(func(_, _ int, v float64) float64 { return math.Tanh(v) }, phi)
	}
	return phi, slope
}

// Exact solves for each task by a dense factorization. With the residuals e and e′, v_t = H_t⁻¹∇F_t and ⟨∇G_t, v_t⟩ =
// eᵀΦv/n + ρwᵀv, ∇h is the gradient of F - Σ_t ⟨∇G_t, v_t⟩ in R, through the entries of Φ and Φ′.
func (m *MultiTask) Exact(x []float64) (y, gradient []float64) {
	r, d := m.Outputs, m.Dim
	R := mat.NewDense(r, d, slices.Clone(x))
	apply := func(a mat.Matrix, v []float64) []float64 {
		var out mat.VecDense
		out.MulVec(a, mat.NewVecDense(len(v), v))
		return out.RawVector().Data
	}
	g := mat.NewDense(r, d, slices.Clone(x))
	g.Scale(m.RhoUp, g)
	for t, z := range m.Train {
		n, rows := float64(len(m.B[t])), float64(len(m.HeldOut[t]))
		phi, slope := m.features(z, R)
		held, heldSlope := m.features(m.Val[t], R)
		var gram mat.Dense
		gram.Mul(phi.T(), phi)
		gram.Scale(1/n, &gram)
		for i := range r {
			gram.Set(i, i, gram.At(i, i)+m.Rho)
		}
		solve := func(b []float64) []float64 {
			var v mat.VecDense
			if err := v.SolveVec(&gram, mat.NewVecDense(r, b)); err != nil {
				panic(err)
			}
			return v.RawVector().Data
		}
		right := apply(phi.T(), m.B[t])
		floats.Scale(1/n, right)
		w := solve(right)
		y = append(y, w...)
		lower, upper := apply(phi, w), apply(held, w)
		floats.Sub(lower, m.B[t])
		floats.Sub(upper, m.HeldOut[t])
		slopeF := apply(held.T(), upper)
		floats.Scale(1/rows, slopeF)
		v := solve(slopeF)
		moved := apply(phi, v)
		// add puts scale Σ_i e_i s_ia u_a z_i on row a of the gradient.
		add := func(scale float64, e, u []float64, s, z *mat.Dense) {
			for i, ei := range e {
				for a, ua := range u {
					floats.AddScaled(g.RawRowView(a), scale*ei*ua*s.At(i, a), z.RawRowView(i))
				}
			}
		}
		add(1/rows, upper, w, heldSlope, m.Val[t])
		add(-1/n, moved, w, slope, z)
		add(-1/n, lower, v, slope, z)
	}
	return y, g.RawMatrix().Data
}
