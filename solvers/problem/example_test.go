package problem_test

import (
	"context"
	"fmt"
	"log"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// decayOfALine tunes the weight decay x of a line through training points by its error on validation points.
func decayOfALine() *problem.Problem {
	fit := func(_, y problem.Vars, b problem.Batch) *tensor.Node {
		return b.Get("input").Mul(y["slope"]).Sub(b.Get("output")).Square().Mean()
	}
	return &problem.Problem{
		Name: "decay of a line",
		Upper: problem.Level{
			Start: problem.Values{}.And("log decay", 0), Value: fit,
			Rows: problem.Rows{"input": problem.Reals([]float64{1, 2}), "output": problem.Reals([]float64{1, 2})},
			Set:  problem.Box{Lo: -10, Hi: 2},
		},
		Lower: problem.Level{
			Start: problem.Values{}.And("slope", 0),
			Rows:  problem.Rows{"input": problem.Reals([]float64{1, 3}), "output": problem.Reals([]float64{2, 4})},
			Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
				return fit(x, y, b).Add(x["log decay"].Exp().Mul(y["slope"].Square()).Sum())
			},
		},
	}
}

// Both levels are functions of named variables and rows; what the problem has beyond that is read off it.
func ExampleProblem() {
	p := decayOfALine()
	fmt.Println(p.Check(), p.Features().Nouns())
	fmt.Println(p.Refuse("newton", 0, "its steps leave x free"))
	// Output:
	// <nil> set of x
	// newton: the problem decay of a line keeps x in a set, which this algorithm cannot use: its steps leave x free
}

// An oracle builds the quantities that algorithms are made of, and counts them.
func ExampleOracle() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	bound, err := decayOfALine().Bind(device.Executor)
	if err != nil {
		log.Fatal(err)
	}
	defer bound.Close()
	oracle := bound.Oracle()
	gradient, curvature := device.Variable("gradient", tensor.Real, 1), device.Variable("curvature", tensor.Real, 1)
	f, err := device.Compile("point", func() []tensor.Update {
		at := oracle.At(problem.Lower, tensor.Zeros(1), tensor.Full(1, 1), bound.All(problem.Lower), params.Train, nil)
		return []tensor.Update{{Var: gradient, Value: at.GradY()}, {Var: curvature, Value: at.HVP(tensor.Full(1, 1))}}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := f.Run(1); err != nil {
		log.Fatal(err)
	}
	g, _ := gradient.Read()
	h, _ := curvature.Read()
	fmt.Println(g, h, "cost", oracle.Counts)
	// Output: [-2] [12] cost 1 ∇G, 1 Hv
}

// Sets hold variables by name; an algorithm that can use them projects onto them.
func ExampleSets() {
	s := problem.Sets{"decay": problem.Box{Lo: -10, Hi: 2}, "weights": problem.Simplex{Total: 1}}
	fmt.Println(s.Contains(problem.Values{}.And("decay", 1).And("weights", 0.25, 0.75)))
	fmt.Println(s.Contains(problem.Values{}.And("decay", 3).And("weights", 0.25, 0.75)))
	fmt.Println(s)
	// Output:
	// true
	// false
	// product of sets (decay in a box [-10, 2], weights in a simplex of total 1)
}

// Draw number d is a function of (seed, stream, d) alone.
func ExampleEpochs() {
	draws := make([]int32, 6)
	if err := problem.Epochs(2).Fill(draws, problem.Source{Seed: 1, Rows: 6}, 0); err != nil {
		log.Fatal(err)
	}
	seen := map[int32]bool{}
	for _, row := range draws {
		seen[row] = true
	}
	fmt.Println("three minibatches of an epoch see", len(seen), "rows")
	fmt.Println(problem.Epochs(7).Check(6))
	// Output:
	// three minibatches of an epoch see 6 rows
	// epochs of minibatches of 7 from 6 rows: wants at most as many as there are rows
}

// Metrics over any number of rows, in a memory that does not grow with them.
func ExampleEvaluator() {
	device, err := problem.OpenDevice("ref")
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	e, err := problem.NewEvaluator(device.Executor, problem.Rows{"value": problem.Reals([]float64{-2, 1, 4})}, 0,
		[]problem.Metric{{Name: "square", Of: func(b problem.Batch) *tensor.Node { return b.Get("value").Square() }}},
		[]problem.PerRow{{Name: "positive", Type: tensor.Int, Of: func(b problem.Batch) *tensor.Node {
			return tensor.Const(0).Lt(b.Get("value")).ToInt()
		}}})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	found, err := e.Run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.Mean("square"), found.Ints["positive"])
	// Output: 7 [0 1 1]
}
