package engine_test

import (
	"context"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// An algorithm of one's own: in each iteration three steps of y on minibatches, then one step of x along the direction
// that leaves the implicit term out. Its state has names, its phases repeat, and its cost is counted.
func Example() {
	values := []float64{1, 2, 3, 4, 5, 6}
	square := func(n *tensor.Node) *tensor.Node { return n.Square().Mean().Scale(0.5) }
	p := &problem.Problem{
		Name: "follow",
		Lower: problem.Level{
			Start: problem.Vector(0), Rows: problem.Rows{"value": problem.Reals(values)}, Sampler: problem.Epochs(2),
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return square(y.Sub(b.Get("value"))).Add(square(y.Sub(x)))
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return square(x.Sub(y)) }),
		},
	}
	spec := engine.Spec{
		Name:  "alternation",
		State: []engine.Array{{Name: "x", Values: p.Upper.Start.Flat}, {Name: "y", Values: p.Lower.Start.Flat}},
		Rates: []engine.Rate{engine.Schedule("linear").Scaled("inner", 0.2, 1000),
			engine.Schedule("").Scaled("outer", 0.1, 1000)},
		Phases: []engine.Phase{
			{
				Name: "inner", Repeat: func(int) int { return 3 }, Draws: []engine.Draw{{Of: problem.Lower}},
				Build: func(it *engine.Iteration, s *engine.State) {
					y := s.Get("y")
					s.Set("y", y.Sub(it.Rate("inner").Mul(it.Lower(s.Get("x"), y, it.Batch("lower")).GradY())))
				},
			},
			{
				Name: "outer", Draws: []engine.Draw{{Of: problem.Upper}},
				Build: func(it *engine.Iteration, s *engine.State) {
					x := s.Get("x")
					f := it.Upper(x, s.Get("y"), it.Batch("upper"))
					s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(f.GradX())), it.Batch("upper")))
				},
			},
		},
	}
	device, err := problem.OpenDevice("ref")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer device.Close()
	bound, err := p.Bind(device.Executor)
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := engine.New(bound, spec)
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := e.Run(context.Background(), engine.Limits{Iterations: 1000})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: x = %.1f, y = %.1f; an iteration costs %s\n", out.Status, out.Last.Arrays["x"][0],
		out.Last.Arrays["y"][0], e.Counts(0))
	// Output: finished: x = 3.5, y = 3.5; an iteration costs 3 ∇G, 1 ∇F
}
