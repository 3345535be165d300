// Command decay tunes one weight decay per layer of a perceptron by bi-level optimization: the
// lower level trains the network on the training rows, the upper level wants it to do well on
// validation rows. It is a module of its own, as a program of yours would be: see go.mod.
package main

import (
	"context"
	"fmt"
	"log"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

func main() {
	net := models.MLP{Widths: []int{8, 16, 3}, Activation: models.Tanh}
	weights, _ := net.Init(1)
	loss := func(_, y problem.Vars, b problem.Batch) *tensor.Node {
		logits, _ := net.Apply(y.Flat(), nil, b.Get("features"), params.Train)
		return tensor.CrossEntropy(logits, b.Get("label")).Mean()
	}
	p := &problem.Problem{Name: "decay per layer"}
	p.Upper = problem.Level{
		Start: params.Values{}.And("decay", -4, -4), Value: loss,
		Rows: rows(300, 2), Sampler: problem.Epochs(100),
	}
	p.Lower = problem.Level{
		Start: weights, Rows: rows(60, 1), Sampler: problem.Epochs(60),
		Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
			decay := net.Params().ByGroup(x["decay"].Exp(), models.LayerOf)
			return loss(x, y, b).Add(tensor.Dot(decay, y.Flat().Square()))
		},
	}
	ctx, options := context.Background(), solvers.Options{Iterations: 30000, Tolerance: 1e-3}
	result, err := solvers.Solve(ctx, p, solvers.SOBA{}, options)
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := hypergrad.At(ctx, p, result.X, result.Y)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v\nlog decays: %.2f\n%v\n", result, result.X.Of("decay"), certificate)
}
