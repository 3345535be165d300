package solvers_test

import (
	"context"
	"fmt"

	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/tensor"
)

// G = ½(y-x)² makes y follow x; F = ½(y-1)² + ½x² then is least at x = ½.
func Example() {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	problem := &solvers.Problem{
		Name: "scalar", X0: []float64{0}, Y0: []float64{0},
		Lower: solvers.Level{Value: func(x, y *tensor.Node, _ solvers.Batch) *tensor.Node { return half(y.Sub(x)) }},
		Upper: solvers.Level{Value: func(x, y *tensor.Node, _ solvers.Batch) *tensor.Node { return half(y.AddConst(-1)).Add(half(x)) }},
	}
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	result, err := solvers.Solve(context.Background(), ex, problem, solvers.SOBA{Step: 0.5, OuterStep: 0.1}, solvers.Options{Iterations: 500})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: x = %.6f, y = %.6f after %d gradients of G\n", result.Status, result.X[0], result.Y[0], result.Counts.LowerGradients)
	// Output: finished: x = 0.500000, y = 0.500000 after 500 gradients of G
}
