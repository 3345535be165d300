package hypergrad_test

import (
	"context"
	"fmt"

	"bilevel/device/ref"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// Ten steps of gradient descent from y = 0 on G = ½(y-x)² end at y = cx with c = 1 - 0.9¹⁰. The derivative of
// F = ½(y-1)² + ½x² through them is c(cx-1) + x, while ∇h = 2x - 1. Six of the eleven states were kept at once.
func ExampleUnrolled() {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	m := hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: 0.1}, Steps: 10}
	p := solvertest.Scalar{}.Problem(nil)
	h, err := hypergrad.OnExecutor(context.Background(), ex, p, m, problem.Vector(0.8), problem.Vector(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.4f at %s = %.4f, with %s and %d states\n", h.Gradient[0], h.Measure, h.Stationarity, h.Counts,
		h.States)
	// Output:
	// 0.4881 at |∇yG| = 0.2789, with 17 ∇G, 1 ∇F, 10 Hv, 10 Cv and 6 states
}
