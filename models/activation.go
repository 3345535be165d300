package models

import (
	"fmt"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Activation names an elementwise nonlinearity φ. The empty name is relu.
type Activation string

const (
	Relu     Activation = "relu"     // max(x, 0), φ'(0) = 0
	Tanh     Activation = "tanh"     // tanh x
	Sigmoid  Activation = "sigmoid"  // 1/(1+exp(-x))
	Softplus Activation = "softplus" // log(1+exp x)
	Identity Activation = "identity" // x
)

// activations has a row for each nonlinearity, with the start values that networks with it take where none are named.
var activations = []struct {
	name  Activation
	apply func(*tensor.Node) *tensor.Node
	start Start
}{
	{Relu, (*tensor.Node).Relu, He},
	{Tanh, (*tensor.Node).Tanh, Glorot},
	{Sigmoid, (*tensor.Node).Sigmoid, Glorot},
	{Softplus, (*tensor.Node).Softplus, He},
	{Identity, func(n *tensor.Node) *tensor.Node { return n }, Glorot},
}

// find gives the function and the start values of an activation. The zero value is relu.
func (a Activation) find() (apply func(*tensor.Node) *tensor.Node, start Start, err error) {
	if a == "" {
		a = Relu
	}
	var names []string
	for _, row := range activations {
		if row.name == a {
			return row.apply, row.start, nil
		}
		names = append(names, string(row.name))
	}
	return nil, "", fmt.Errorf("unknown activation %q (there are %s)%s",
		string(a), strings.Join(names, ", "), nearest.Hint(string(a), names))
}
