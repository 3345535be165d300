package solvers_test

import (
	"context"
	"fmt"
	"strings"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// solveFollow solves min over x of ½(y-1)² + ½x² with y = x by an algorithm, and prints x.
func solveFollow(a solvers.Algorithm, o solvers.Options) *solvers.Result {
	half := func(n *tensor.Node) *tensor.Node { return n.Square().Sum().Scale(0.5) }
	p := &problem.Problem{
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
	}
	o.Device = "ref"
	result, err := solvers.Solve(context.Background(), p, a, o)
	if err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Printf("x = %.2f, %s\n", result.X.Flat, result.Status)
	return result
}

// Settings that are not given are chosen at the start values.
func ExampleSOBA() {
	r := solveFollow(solvers.SOBA{}, solvers.Options{Iterations: 2000})
	chosen := r.Algorithm.(solvers.SOBA)
	fmt.Println("steps were chosen:", chosen.Step > 0, chosen.OuterStep > 0)
	// Output:
	// x = [0.50], finished
	// steps were chosen: true true
}

// Gradients alone: the point that F2SA comes to is off by O(1/multiplier).
func ExampleF2SA() {
	f2sa := solvers.F2SA{YStep: 0.01, ZStep: 0.5, OuterStep: 0.1, Multiplier: 10}
	solveFollow(f2sa, solvers.Options{Iterations: 1000})
	solveFollow(solvers.F2SA{YStep: 0.001, ZStep: 0.5, OuterStep: 0.1, Multiplier: 100, InnerSteps: 100},
		solvers.Options{Iterations: 1000})
	// Output:
	// x = [0.48], finished
	// x = [0.50], finished
}

func ExampleStocBiO() {
	solveFollow(solvers.StocBiO{Step: 0.5, OuterStep: 0.1}, solvers.Options{Iterations: 300})
	// Output: x = [0.50], finished
}

// A run may end when the mean hypergradient is small, or when it has cost enough.
func ExampleOptions() {
	r := solveFollow(solvers.SOBA{Step: 0.5, OuterStep: 0.1}, solvers.Options{Iterations: 100_000, Tolerance: 1e-3})
	fmt.Println("before all iterations:", r.Iterations < 100_000)
	solveFollow(solvers.SOBA{Step: 0.5, OuterStep: 0.1}, solvers.Options{Iterations: 100_000, Calls: 40})
	// Output:
	// x = [0.50], converged
	// before all iterations: true
	// x = [0.50], out of oracle calls
}

// Settings as a command line gives them; a mistake is answered with the nearest name.
func ExampleSet() {
	a, err := solvers.Set(solvers.StocBiO{}, "step=0.1", "inner_steps=5")
	fmt.Printf("%+v %v\n", a, err)
	_, err = solvers.Set(solvers.StocBiO{}, "inner_stepz=5")
	fmt.Println("the nearest is named:", strings.HasSuffix(err.Error(), `did you mean "inner_steps"?`))
	// Output:
	// {Step:0.1 OuterStep:0 NeumannStep:0 Terms:0 InnerSteps:5 Schedule:} <nil>
	// the nearest is named: true
}

func ExampleAlgorithmByName() {
	e, err := solvers.AlgorithmByName("soba")
	fmt.Println(e.Name(), solvers.Fields(e.Zero), err)
	// Output: soba [step outer_step schedule] <nil>
}
