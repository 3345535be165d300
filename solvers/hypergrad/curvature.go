package hypergrad

import (
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// matrix is what the solver of the linear system is told of H: products with it, or with what takes its place, and what
// else is known.
func (e *implicit) matrix(at *pieces, n int) (linear.Matrix, error) {
	method := e.method
	product := func(rows problem.Batch, v *tensor.Node) *tensor.Node { return at.point(problem.Lower, rows).HVP(v) }
	e.product = problem.Counts{HVP: 1}
	switch {
	case method.GaussNewton:
		product = func(rows problem.Batch, v *tensor.Node) *tensor.Node {
			return at.point(problem.Lower, rows).GaussNewton(v)
		}
	case method.Differences:
		e.product = problem.Counts{LowerGradients: 2}
		product = func(rows problem.Batch, v *tensor.Node) *tensor.Node {
			return e.differences(v, at.y, func(y *tensor.Node) *tensor.Node {
				return at.pointAt(problem.Lower, y, rows).GradY()
			})
		}
	}
	m, err := at.matrix(n, product)
	if err != nil {
		return m, err
	}
	m.Modulus, m.Pairs = at.b.Mu, method.Pairs
	if method.Diagonal != nil {
		m.Diagonal = func() *tensor.Node { return method.Diagonal(at.x, at.y) }
	}
	rows := at.b.Lower.Rows.Count()
	if rows > 0 && at.state == nil { // statistics of a batch of one row would mean nothing
		m.Gradients = &linear.Gradients{Count: rows, At: func(i *tensor.Node) *tensor.Node {
			return at.point(problem.Lower, at.b.Batch(problem.Lower, i.Reshape(1))).DataGradY()
		}}
		m.Sampled = &linear.Sampled{Rows: rows, Apply: func(v, index *tensor.Node) *tensor.Node {
			return product(at.b.Batch(problem.Lower, index), v)
		}}
	}
	return m, nil
}

// differences is the central difference of a gradient along v in y, see Implicit.Differences.
func (e *implicit) differences(v, y *tensor.Node, gradient func(y *tensor.Node) *tensor.Node) *tensor.Node {
	size := linear.Norm(v)
	size = tensor.Where(tensor.Const(0).Lt(size), size, tensor.Const(1))
	step := linear.Norm(y).Max(tensor.Const(1)).Div(size).Scale(math.Cbrt(e.info.u))
	ahead, behind := gradient(y.Add(v.Mul(step))), gradient(y.Sub(v.Mul(step)))
	return ahead.Sub(behind).Div(step.Scale(2))
}

// cost is what the solve of the linear system has cost.
func (e *implicit) cost(st linear.Stats) problem.Counts {
	return problem.Counts{LowerGradients: int64(st.Gradients), Samples: int64(st.Samples)}.
		Plus(e.product, int64(st.Products))
}
