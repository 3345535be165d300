package models_test

import (
	"fmt"
	"log"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// logits applies a model to inputs on the reference device.
func logits(m models.Model, p params.Values, inputs []float64, rows int) []float64 {
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	weights, x := ex.Variable("weights", tensor.Real, p.Size()), ex.Variable("x", tensor.Real, rows, len(inputs)/rows)
	if err := weights.Write(p.Flat); err != nil {
		log.Fatal(err)
	}
	if err := x.Write(inputs); err != nil {
		log.Fatal(err)
	}
	build := func() *tensor.Node {
		z, _ := m.Apply(weights.Node(), nil, x.Node(), params.Eval)
		return z.Flatten()
	}
	z := ex.Variable("z", tensor.Real, build().Size())
	f, err := ex.Compile("apply", func() []tensor.Update { return []tensor.Update{{Var: z, Value: build()}} })
	if err != nil {
		log.Fatal(err)
	}
	if err := f.Run(1); err != nil {
		log.Fatal(err)
	}
	values, err := z.Read()
	if err != nil {
		log.Fatal(err)
	}
	return values
}

// Two classes of three inputs: the arrays have PyTorch's names, and are found by them.
func ExampleSoftmax() {
	m := models.Softmax{Inputs: 3, Classes: 2}
	p, _ := m.Init(1)
	copy(p.Of("weight"), []float64{1, 0, 0, 0, 1, 1})
	copy(p.Of("bias"), []float64{0.5, 0})
	fmt.Println(logits(m, p, []float64{1, 2, 3, 4, 0, 0}, 2))
	// Output: [1.5 5 4.5 0]
}

// The log-odds of class 1.
func ExampleLogistic() {
	m := models.Logistic{Inputs: 2, NoBias: true}
	p, _ := m.Init(1)
	copy(p.Of("weight"), []float64{2, -1})
	fmt.Println(logits(m, p, []float64{1, 1}, 1))
	// Output: [1]
}

// A model that normalizes its own inputs takes them as they are measured.
func ExampleNormalization() {
	m := models.Logistic{
		Inputs: 2, NoBias: true, Normalize: models.Normalization{Mean: []float64{10, 0}, Deviation: []float64{2, 1}},
	}
	p, _ := m.Init(1)
	copy(p.Of("weight"), []float64{1, 1})
	fmt.Println(logits(m, p, []float64{14, 3}, 1))
	// Output: [5]
}
