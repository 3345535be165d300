package minimize_test

import (
	"context"
	"fmt"
	"log"

	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// bowl is ½ Σ (i+1)(y_i - 1)², least at (1, 1, 1).
func bowl(y *tensor.Node) *tensor.Node {
	curvature := tensor.Iota(0, 3).ToReal().AddConst(1)
	return curvature.Mul(y.AddConst(-1).Square()).Sum().Scale(0.5)
}

// deterministic is what the deterministic methods have in common.
type deterministic interface {
	Prepare(*tensor.Executor, func(*tensor.Node) *tensor.Node, int) (*minimize.Minimizer, error)
}

// show minimizes a function of three variables from 0.
func show(method deterministic, f func(*tensor.Node) *tensor.Node) {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	m, err := method.Prepare(device.Executor, f, 3)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	found, err := m.Run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	y, err := m.Y().Read()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4f %v\n", y, found.Status)
}

func ExampleNewton() {
	show(minimize.Newton{Tol: 1e-8, MaxSteps: 20}, bowl)
	// Output: [1.0000 1.0000 1.0000] converged
}

func ExampleLBFGS() {
	show(minimize.LBFGS{Tol: 1e-8, MaxSteps: 100}, bowl)
	// Output: [1.0000 1.0000 1.0000] converged
}

// In a set the steps are projected: the nearest that the box lets y come.
func ExampleGradientDescent() {
	show(minimize.GradientDescent{Tol: 1e-8, MaxSteps: 200, Set: problem.Box{Lo: 0, Hi: 0.5}}, bowl)
	// Output: [0.5000 0.5000 0.5000] converged
}

// Adam on all rows; an engine runs it, as it runs SGD.
func ExampleAdam() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	level := problem.Level{
		Start: problem.Vector(0, 0, 0),
		Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return bowl(y) }),
	}
	bound, err := minimize.Alone("bowl", level, problem.Values{}).Bind(device.Executor)
	if err != nil {
		log.Fatal(err)
	}
	const n = 2000
	e, err := minimize.New(bound, minimize.Adam{Step: 0.01, Schedule: "linear"}, n, 1)
	if err != nil {
		log.Fatal(err)
	}
	out, err := e.Run(context.Background(), engine.Limits{Iterations: n})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", out.Last.Arrays["y"])
	// Output: [1.000 1.000 1.000]
}
