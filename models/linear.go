package models

import (
	"fmt"

	"bilevel/tensor"
)

// Softmax is softmax regression: outputs (logits) = inputs · Wᵀ (+ b), W [Classes, Inputs], start values zero. A class's
// weights lie side by side, like the inputs they meet, so that products with few classes run along the inputs.
type Softmax struct {
	Inputs, Classes int
	Bias            bool // false where the inputs carry a column of ones
}

// NewSoftmax checks the sizes.
func NewSoftmax(inputs, classes int, bias bool) (Softmax, error) {
	if inputs < 1 || classes < 2 {
		return Softmax{}, fmt.Errorf("models: softmax regression from %d inputs to %d classes: wants at least 1 and 2", inputs, classes)
	}
	return Softmax{inputs, classes, bias}, nil
}

func (m Softmax) Layout() Layout { return affine(m.Inputs, m.Classes, m.Bias) }

func (m Softmax) Init(uint64) []float64 { return make([]float64, m.Layout().Size()) }

func (m Softmax) Outputs(params, inputs *tensor.Node) *tensor.Node {
	return applyAffine(m.Layout(), params, inputs)
}

// Logistic is logistic regression for two classes: outputs [B, 1] = inputs · wᵀ (+ b), w [1, Inputs], the log-odds of
// class 1, start values zero. BinaryCrossEntropy is its loss.
type Logistic struct {
	Inputs int
	Bias   bool
}

// NewLogistic checks the size.
func NewLogistic(inputs int, bias bool) (Logistic, error) {
	if inputs < 1 {
		return Logistic{}, fmt.Errorf("models: logistic regression from %d inputs: wants at least 1", inputs)
	}
	return Logistic{inputs, bias}, nil
}

func (m Logistic) Layout() Layout { return affine(m.Inputs, 1, m.Bias) }

func (m Logistic) Init(uint64) []float64 { return make([]float64, m.Layout().Size()) }

func (m Logistic) Outputs(params, inputs *tensor.Node) *tensor.Node {
	return applyAffine(m.Layout(), params, inputs)
}

func affine(inputs, outputs int, bias bool) (l Layout) {
	l.add("weight", outputs, inputs)
	if bias {
		l.add("bias", outputs)
	}
	return l
}

// applyAffine is x·Wᵀ, + b where the layout has a second piece.
func applyAffine(l Layout, params, x *tensor.Node) *tensor.Node {
	return plusBias(l, params, x.MatMul(l[0].Of(params).T()))
}

// plusBias is z + b where the layout has a second piece.
func plusBias(l Layout, params, z *tensor.Node) *tensor.Node {
	if len(l) > 1 {
		z = z.Add(l[1].Of(params))
	}
	return z
}
