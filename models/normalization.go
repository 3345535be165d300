package models

import (
	"fmt"
	"math"

	"bilevel/tensor"
)

// Normalization is a first layer without parameters that brings inputs to zero mean and unit deviation:
// x_j ← (x_j - Mean[j mod c]) / Deviation[j mod c] along the last axis, for c means and deviations. With c = 1, all
// features have the same; c = 3 is for images whose channels come last, flattened or not; in a table with a mean and a
// deviation per column, c is the number of features. The zero value leaves inputs as they are.
//
// A model that normalizes its own inputs takes pixels in [0, 1]. These are what an adversarial attack changes, and what
// limits on its perturbation are stated for.
type Normalization struct {
	Mean, Deviation []float64
}

// Over is the same normalization of inputs that are divided by a number first.
func (n Normalization) Over(by float64) Normalization {
	var out Normalization
	for i := range n.Mean {
		out.Mean, out.Deviation = append(out.Mean, n.Mean[i]/by), append(out.Deviation, n.Deviation[i]/by)
	}
	return out
}

// check refuses values that are no normalization, or that do not fit a last axis of so many features.
func (n Normalization) check(features int) error {
	c := len(n.Mean)
	if c != len(n.Deviation) || c > 0 && features%c != 0 {
		return fmt.Errorf("normalization by %d means and %d deviations: wants as many of each, "+
			"in a number that divides the %d inputs", c, len(n.Deviation), features)
	}
	for i := range c {
		if d := n.Deviation[i]; !(d > 0) || math.IsInf(d, 0) || math.IsNaN(n.Mean[i]) || math.IsInf(n.Mean[i], 0) {
			return fmt.Errorf("normalization %d has mean %g and deviation %g: wants finite numbers, "+
				"and a deviation above 0", i, n.Mean[i], d)
		}
	}
	return nil
}

// apply normalizes x [B, features].
func (n Normalization) apply(x *tensor.Node) *tensor.Node {
	c := len(n.Mean)
	if c == 0 {
		return x
	}
	shape := x.Shape()
	last := len(shape) - 1
	split := append(append([]int{}, shape[:last]...), shape[last]/c, c)
	return x.Reshape(split...).Sub(constants(n.Mean)).Div(constants(n.Deviation)).Reshape(shape...)
}

// constants is a vector of numbers as a node: a concatenation in which each run of equal numbers is one part.
func constants(values []float64) *tensor.Node {
	var parts []*tensor.Node
	for i := 0; i < len(values); {
		from := i
		for i < len(values) && values[i] == values[from] {
			i++
		}
		parts = append(parts, tensor.Full(values[from], i-from))
	}
	return tensor.Concat(0, parts...)
}
