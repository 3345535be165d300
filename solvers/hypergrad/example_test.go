package hypergrad_test

import (
	"context"
	"fmt"
	"log"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// follow is a problem whose lower solution is y* = x and whose hypergradient is (x - 1) + x.
func follow() *problem.Problem {
	half := func(n *tensor.Node) *tensor.Node { return n.Square().Sum().Scale(0.5) }
	return &problem.Problem{
		Name: "follow",
		Lower: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y.Sub(x)) }),
		},
		Upper: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.AddConst(-1)).Add(half(x))
			}),
		},
		Mu:        1,
		Constants: &problem.Constants{GradYF: 1, CrossNorm: 1},
	}
}

// The hypergradient of a point in one call, here where y is not quite the lower solution: the error figure says so, and
// is a bound, since the problem declares its constants.
func ExampleAt() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	x, y := problem.Vector(2), problem.Vector(2.1)
	m := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-6}}
	h, err := hypergrad.OnExecutor(context.Background(), device.Executor, follow(), m, x, y)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f instead of 3, off by at most %.2f (%s)\n", h.Gradient, h.Error, h.Kind)
	fmt.Printf("%.0f %% of it is the implicit term\n", 100*h.Share())
	// Output:
	// [3.10] instead of 3, off by at most 0.10 (bound)
	// 35 % of it is the implicit term
}

// An estimator is compiled once and computes wherever its variables stand.
func ExampleImplicit() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	bound, err := follow().Bind(device.Executor)
	if err != nil {
		log.Fatal(err)
	}
	defer bound.Close()
	x, y := device.Variable("x", tensor.Real, 1), device.Variable("y", tensor.Real, 1)
	e, err := hypergrad.Implicit{Solver: linear.CG{RTol: 1e-8}}.Prepare(bound, x, y)
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	for _, at := range []float64{0, 0.5, 2} {
		if err := x.Write([]float64{at}); err != nil {
			log.Fatal(err)
		}
		if err := y.Write([]float64{at}); err != nil {
			log.Fatal(err)
		}
		h, err := e.Compute(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("at %.1f: %.1f\n", at, h.Gradient)
	}
	// Output:
	// at 0.0: [-1.0]
	// at 0.5: [0.0]
	// at 2.0: [3.0]
}
