package solvertest

import (
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Scalar, problem Q1, is the smallest one: G = ½(y-x)², F = ½(y-1)² + ½x². Hence y* = x, v = x-1 and h' = 2x-1, and h
// is smallest at x = ½.
type Scalar struct{}

func (Scalar) Tables() []Table { return nil }

// Problem starts at x = 0.2, y = 0.7.
func (Scalar) Problem([]*tensor.Node) *problem.Problem {
	return &problem.Problem{
		Name: "scalar",
		Lower: problem.Level{
			Start: problem.Vector(0.7),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.Sub(x))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0.2),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.AddConst(-1)).Add(half(x))
			}),
		},
	}
}

func (Scalar) Exact(x []float64) (y, gradient []float64) {
	return []float64{x[0]}, []float64{2*x[0] - 1}
}

// Optimum is ½.
func (Scalar) Optimum() []float64 { return []float64{0.5} }
