package solvertest

import (
	"fmt"
	"slices"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Stackelberg is a market in which a leader chooses the quantity x and a follower, who sees it, the quantity y. Both
// sell at the price 10 - x - y what costs them 2 a piece:
//
//	F = -x (8 - x - y),   G = -y (8 - x - y)
//
// The follower answers y* = (8 - x)/2, so that h = -x (8 - x)/2, which is least at x = 4, where y* = 2. Without its
// answer in mind, at the fixed point of alternation, the leader would sell 8/3.
type Stackelberg struct{}

func (Stackelberg) Tables() []Table { return nil }

// Problem starts at x = 1, y = 0.
func (Stackelberg) Problem([]*tensor.Node) *problem.Problem {
	profit := func(own, x, y *tensor.Node) *tensor.Node { return tensor.Dot(own, x.Add(y).AddConst(-8)) }
	return &problem.Problem{
		Name: "stackelberg",
		Lower: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return profit(y, x, y) }),
		},
		Upper: problem.Level{
			Start: problem.Vector(1),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return profit(x, x, y) }),
		},
	}
}

func (Stackelberg) Exact(x []float64) (y, gradient []float64) {
	return []float64{(8 - x[0]) / 2}, []float64{x[0] - 4}
}

// Optimum is 4.
func (Stackelberg) Optimum() []float64 { return []float64{4} }

// Tolls is two roads from one place to another that traffic of 1 divides into y. They take the times 1 + y₁ and 2 +
// 2y₂, and the first has a toll x. Drivers choose the cheaper road, which leads to the minimum of Beckmann's potential;
// the owner wants revenue:
//
//	G = (1 + x) y₁ + ½y₁² + 2y₂ + y₂², y in the simplex,   F = -x y₁
//
// y₁* = (3 - x)/3 cut off at 0 and 1, and the best toll is 3/2, for the revenue 3/4. From x = 3 on nobody pays, and h
// has no slope.
type Tolls struct{}

func (Tolls) Tables() []Table { return nil }

// Problem starts at x = 0.6 and equal shares.
func (Tolls) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "tolls",
		Lower: problem.Level{
			Start: problem.Vector(0.5, 0.5), Set: problem.Simplex{Total: 1},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				first, second := y.Slice(0, 0, 1), y.Slice(0, 1, 2)
				return tensor.Dot(x.AddConst(1), first).Add(half(first)).
					Add(second.Scale(2).Sum()).Add(tensor.Dot(second, second))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.6),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return tensor.Dot(x, y.Slice(0, 0, 1)).Neg()
			}),
		},
	}
}

func (Tolls) Exact(x []float64) (y, gradient []float64) {
	share := min(max((3-x[0])/3, 0), 1)
	slope := -share
	if 0 < x[0] && x[0] < 3 {
		slope += x[0] / 3
	}
	return []float64{share, 1 - share}, []float64{slope}
}

// Optimum is 3/2.
func (Tolls) Optimum() []float64 { return []float64{1.5} }

// MultiTask learns a linear representation R [r,d] that tasks share (x is its rows one after the other), with a ridge
// regression w_t [r] on top of it for each task (y is w_1, w_2, …):
//
//	G = Σ_t 1/(2n) |Z_t Rᵀw_t - b_t|² + ½ρ|w_t|²,   F = Σ_t 1/(2m) |Z′_t Rᵀw_t - b′_t|² + ½ρ′|R|²
//
// The lower Hessian is block-diagonal, and with S_t = Z_tᵀZ_t/n, c_t = Z_tᵀb_t/n: w_t* = (R S_t Rᵀ + ρI)⁻¹ R c_t.
type MultiTask struct {
	Dim, Outputs int          // d, r
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
			coefficients := product(x.Reshape(r, m.Dim).T(), y.Slice(0, t*r, (t+1)*r))
			z, b := tables[4*t+first], tables[4*t+first+1]
			sum = sum.Add(half(product(z, coefficients).Sub(b)).Scale(1 / float64(b.Size())))
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

// residual is ZᵀZ u/n - Zᵀb/n for coefficients u [d]; b may be nil.
func residual(z *mat.Dense, b, u []float64) []float64 {
	n, d := z.Dims()
	var rows, out mat.VecDense
	rows.MulVec(z, mat.NewVecDense(d, u))
	if b != nil {
		rows.SubVec(&rows, mat.NewVecDense(n, b))
	}
	out.MulVec(z.T(), &rows)
	out.ScaleVec(1/float64(n), &out)
	return out.RawVector().Data
}

// Exact solves for each task by a dense factorization.
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
		var half, gram mat.Dense
		half.Mul(z, R.T())
		gram.Mul(half.T(), &half)
		gram.Scale(1/float64(len(m.B[t])), &gram)
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
		right := apply(R, residual(z, m.B[t], zeros(d)))
		floats.Scale(-1, right)
		w := solve(right)
		y = append(y, w...)
		lower, upper := residual(z, m.B[t], apply(R.T(), w)), residual(m.Val[t], m.HeldOut[t], apply(R.T(), w))
		v := solve(apply(R, upper))
		add := func(scale float64, a, b []float64) {
			var one mat.Dense
			one.Outer(scale, mat.NewVecDense(r, a), mat.NewVecDense(d, b))
			g.Add(g, &one)
		}
		add(1, w, upper)
		add(-1, v, lower)
		add(-1, w, residual(z, nil, apply(R.T(), v)))
	}
	return y, g.RawMatrix().Data
}
