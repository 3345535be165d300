package bench

import (
	"fmt"

	"bilevel/tensor"
)

// factors is a product of matrices [m,k]·[k,n] of inputs 0 and 1. An operand that is turned lies in memory transposed.
type factors struct {
	key              string
	m, k, n          int
	turnedA, turnedB bool
}

// squares lists the products that are compared with JAX's.
func squares() (all []Workload) {
	for _, n := range []int{256, 512, 1024, 2048} {
		all = append(all, factors{fmt.Sprint("gemm_", n), n, n, n, false, false}.workload())
	}
	return all
}

// shapes lists the products that the loops over perceptrons consist of: each layer's, its weights' gradient and its
// inputs' gradient.
func shapes() (all []Workload) {
	seen := map[string]bool{}
	for _, net := range [][]int{{784, 300, 100, 10}, {784, 1024, 1024, 10}} {
		for _, b := range []int{64, 256, 1024} {
			for i, in := range net[:3] {
				out := net[i+1]
				for _, p := range []factors{
					{"forward", b, in, out, false, false}, {"weights", in, b, out, true, false},
					{"inputs", b, out, in, false, true},
				} {
					p.key = fmt.Sprintf("product_%dx%d_b%d_%s", in, out, b, p.key)
					if !seen[p.key] {
						all = append(all, p.workload())
					}
					seen[p.key] = true
				}
			}
		}
	}
	return all
}

// workload is the product as a hot loop.
func (p factors) workload() Workload {
	return Workload{p.key, func(ex *tensor.Executor) (*Prepared, error) {
		operand := func(name string, k uint64, rows, cols int, turned bool) (*tensor.Variable, error) {
			if turned {
				rows, cols = cols, rows
			}
			return input(ex, name, array(k, rows*cols, 1, 0), rows, cols)
		}
		a, err := operand("a", 0, p.m, p.k, p.turnedA)
		if err != nil {
			return nil, err
		}
		b, err := operand("b", 1, p.k, p.n, p.turnedB)
		if err != nil {
			return nil, err
		}
		c := ex.Variable("c", tensor.Real, p.m, p.n)
		f, err := ex.Compile("product", func() []tensor.Update {
			x, y := a.Node(), b.Node()
			if p.turnedA {
				x = x.T()
			}
			if p.turnedB {
				y = y.T()
			}
			return []tensor.Update{{Var: c, Value: x.MatMul(y)}}
		})
		if err != nil {
			return nil, err
		}
		return &Prepared{func() error { return f.Run(1) }, 1, func() (float64, error) { return norm(c) }, nil}, nil
	}}
}
