package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// FiniteSum, problem Q11, has one quadratic for every row of the lower and of the upper level. The objectives are the
// means over the rows, and a minibatch is a subset of the rows.
type FiniteSum struct {
	Lower, Upper []*Quadratic // a lower row uses A, C and a of its quadratic, an upper row B, E, K, f and e
	mean         *Quadratic
}

// NewFiniteSum draws rows around one quadratic whose lower Hessian has the given eigenvalues. A single row need not be
// convex in y, but the lower objective is.
func NewFiniteSum(seed uint64, lower, upper, p int, eigenvalues []float64) *FiniteSum {
	q, s := len(eigenvalues), &source{seed: seed, step: 1000}
	m := &FiniteSum{mean: NewQuadratic(seed, p, eigenvalues)}
	m.Lower, m.Upper = scatter(s, m.mean, lower), scatter(s, m.mean, upper)
	// Exact uses the mean of the rows as they are stored; rounding makes it differ from the quadratic drawn above.
	mean := func(rows []*Quadratic, of func(*Quadratic) []float64) []float64 {
		out := zeros(len(of(rows[0])))
		for _, r := range rows {
			for i, v := range of(r) {
				out[i] += v / float64(len(rows))
			}
		}
		return out
	}
	dense := func(r, c int, rows []*Quadratic, of func(*Quadratic) *mat.Dense) *mat.Dense {
		return mat.NewDense(r, c, mean(rows, func(z *Quadratic) []float64 { return of(z).RawMatrix().Data }))
	}
	m.mean = &Quadratic{
		A:      dense(q, q, m.Lower, func(z *Quadratic) *mat.Dense { return z.A }),
		C:      dense(p, q, m.Lower, func(z *Quadratic) *mat.Dense { return z.C }),
		LowerA: mean(m.Lower, func(z *Quadratic) []float64 { return z.LowerA }),
		B:      dense(q, q, m.Upper, func(z *Quadratic) *mat.Dense { return z.B }),
		E:      dense(p, p, m.Upper, func(z *Quadratic) *mat.Dense { return z.E }),
		K:      dense(p, q, m.Upper, func(z *Quadratic) *mat.Dense { return z.K }),
		F:      mean(m.Upper, func(z *Quadratic) []float64 { return z.F }),
		UpperE: mean(m.Upper, func(z *Quadratic) []float64 { return z.UpperE }),
	}
	return m
}

// scatter draws n rows whose mean is center up to rounding: each is center plus noise, less the mean of all the noise.
func scatter(s *source, center *Quadratic, n int) []*Quadratic {
	rows := make([]*Quadratic, n)
	for i := range rows {
		rows[i] = &Quadratic{}
	}
	spread := func(of []float64, symmetric int, put func(row *Quadratic, values []float64)) {
		scale := 0.0
		for _, v := range of {
			scale = max(scale, math.Abs(v))
		}
		noise := make([][]float64, n)
		average := zeros(len(of))
		for i := range noise {
			noise[i] = s.normals(len(of), 0.5*scale)
			for r := range symmetric {
				for c := range r {
					noise[i][c*symmetric+r] = noise[i][r*symmetric+c]
				}
			}
			for j, v := range noise[i] {
				average[j] += v / float64(n)
			}
		}
		for i, row := range rows {
			for j := range of {
				noise[i][j] += of[j] - average[j]
			}
			put(row, noise[i])
		}
	}
	p, q := center.Sizes()
	spread(center.A.RawMatrix().Data, q, func(z *Quadratic, v []float64) { z.A = mat.NewDense(q, q, v) })
	spread(center.B.RawMatrix().Data, q, func(z *Quadratic, v []float64) { z.B = mat.NewDense(q, q, v) })
	spread(center.C.RawMatrix().Data, 0, func(z *Quadratic, v []float64) { z.C = mat.NewDense(p, q, v) })
	spread(center.E.RawMatrix().Data, p, func(z *Quadratic, v []float64) { z.E = mat.NewDense(p, p, v) })
	spread(center.K.RawMatrix().Data, 0, func(z *Quadratic, v []float64) { z.K = mat.NewDense(p, q, v) })
	spread(center.LowerA, 0, func(z *Quadratic, v []float64) { z.LowerA = v })
	spread(center.F, 0, func(z *Quadratic, v []float64) { z.F = v })
	spread(center.UpperE, 0, func(z *Quadratic, v []float64) { z.UpperE = v })
	return rows
}

func (m *FiniteSum) Tables() []Table {
	p, q := m.mean.Sizes()
	stack := func(name string, rows []*Quadratic, of func(*Quadratic) []float64, shape ...int) Table {
		t := Table{Name: name, Shape: append([]int{len(rows)}, shape...)}
		for _, r := range rows {
			t.Real = append(t.Real, of(r)...)
		}
		return t
	}
	return []Table{
		stack("A", m.Lower, func(z *Quadratic) []float64 { return z.A.RawMatrix().Data }, q, q),
		stack("B", m.Upper, func(z *Quadratic) []float64 { return z.B.RawMatrix().Data }, q, q),
		stack("C", m.Lower, func(z *Quadratic) []float64 { return z.C.RawMatrix().Data }, p, q),
		stack("E", m.Upper, func(z *Quadratic) []float64 { return z.E.RawMatrix().Data }, p, p),
		stack("K", m.Upper, func(z *Quadratic) []float64 { return z.K.RawMatrix().Data }, p, q),
		stack("a", m.Lower, func(z *Quadratic) []float64 { return z.LowerA }, q),
		stack("f", m.Upper, func(z *Quadratic) []float64 { return z.F }, q),
		stack("e", m.Upper, func(z *Quadratic) []float64 { return z.UpperE }, p),
	}
}

// Problem starts at zero and uses all rows; a test that wants minibatches sets the levels' Sampler.
func (m *FiniteSum) Problem(t []*tensor.Node) *problem.Problem {
	p, q := m.mean.Sizes()
	return &problem.Problem{
		Name: "finite sum",
		Lower: problem.Level{
			Start: problem.Vector(zeros(q)...), Rows: problem.Rows{"A": problem.On(t[0])},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				mean := func(i int) *tensor.Node { return b.Of(t[i]).Mean(0) }
				return lowerQuadratic(x, y, mean(0), mean(2), mean(5))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(zeros(p)...), Rows: problem.Rows{"B": problem.On(t[1])},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				mean := func(i int) *tensor.Node { return b.Of(t[i]).Mean(0) }
				return upperQuadratic(x, y, mean(1), mean(3), mean(4), mean(6), mean(7))
			}),
		},
	}
}

// Mean is the mean over all rows: the problem without minibatches.
func (m *FiniteSum) Mean() *Quadratic { return m.mean }

func (m *FiniteSum) Exact(x []float64) (y, gradient []float64) { return m.mean.Exact(x) }

// Optimum is the minimizer of h.
func (m *FiniteSum) Optimum() []float64 { return m.mean.Optimum() }
