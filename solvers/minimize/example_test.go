package minimize_test

import (
	"context"
	"fmt"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Plain training: a line through points by SGD with momentum on minibatches, the average of the last tenth of the
// iterates, and weight decay on the slope alone.
func Example() {
	x, y := []float64{0, 1, 2, 3, 4, 5}, []float64{1, 3, 5, 7, 9, 11}
	line := problem.Level{
		Start:   params.Values{}.And("slope", 0).And("offset", 0),
		Rows:    problem.Rows{"x": problem.Reals(x), "y": problem.Reals(y)},
		Sampler: problem.Epochs(3),
		Value: func(_, w problem.Vars, b problem.Batch) *tensor.Node {
			return b.Get("x").Mul(w["slope"]).Add(w["offset"]).Sub(b.Get("y")).Square().Mean()
		},
	}
	device, err := problem.OpenDevice("ref")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer device.Close()
	bound, err := minimize.Alone("line", line, problem.Values{}).Bind(device.Executor)
	if err != nil {
		fmt.Println(err)
		return
	}
	const n = 2000
	method := minimize.SGD{
		Step: 0.02, Momentum: 0.9, Schedule: "cosine", Average: minimize.Average{Tail: 0.1},
		Groups: []minimize.Group{{Names: "slope", WeightDecay: 1e-6}},
	}
	e, err := minimize.New(bound, method, n, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := e.Run(context.Background(), engine.Limits{Iterations: n})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := line.Start.Like(out.Last.Arrays["average"])
	fmt.Printf("y = %.2f x + %.2f\n", w.Of("slope")[0], w.Of("offset")[0])
	// Output: y = 2.00 x + 1.00
}
