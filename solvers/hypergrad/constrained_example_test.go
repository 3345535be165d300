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

// A lower level in a box: the bound holds the second coordinate, so that only the first one answers to x. Without the
// box the hypergradient at x = (1, 3) would be (1, 3).
func ExampleKKT() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	p := &problem.Problem{
		Name: "held",
		Lower: problem.Level{
			Start: problem.Vector(0, 0), Set: problem.Box{Lo: -2, Hi: 2},
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(x).Square().Sum().Scale(0.5)
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0, 0),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Square().Sum().Scale(0.5)
			}),
		},
	}
	m := hypergrad.KKT{Solver: linear.CG{RTol: 1e-8}}
	x, y := problem.Vector(1, 3), problem.Vector(1, 2)
	h, err := hypergrad.OnExecutor(context.Background(), device.Executor, p, m, x, y)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f, %s = %.0f\n", h.Gradient, h.Measure, h.Stationarity)
	// Output: [1 0], |y - P(y - ∇yG)| = 0
}
