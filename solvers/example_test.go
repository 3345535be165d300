package solvers_test

import (
	"context"
	"fmt"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// G = ½(y-x)² makes y follow x; F = ½(y-1)² + ½x² then is least at x = ½.
func Example() {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	p := &problem.Problem{
		Name: "scalar",
		Lower: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.Sub(x))
			})},
		Upper: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return half(y.AddConst(-1)).Add(half(x))
			})},
	}
	options := solvers.Options{Iterations: 500, Device: "ref"}
	result, err := solvers.Solve(context.Background(), p, solvers.SOBA{Step: 0.5, OuterStep: 0.1}, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: x = %.6f, y = %.6f after %d gradients of G\n",
		result.Status, result.X.Flat[0], result.Y.Flat[0], result.Counts.LowerGradients)
	// Output: finished: x = 0.500000, y = 0.500000 after 500 gradients of G
}
