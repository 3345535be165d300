// Package models holds networks as graph builders: a model is a value that knows the layout of its flat parameter
// vector, how to draw start values for it, and how to turn parameters and inputs into outputs.
//
// Parameters are one vector, so that solver arithmetic (steps, dot products, conjugate gradients) is one operation
// whatever the depth; the pieces are views of it and cost nothing.
package models

import (
	"bilevel/tensor"
)

// Piece is one array inside a flat parameter vector.
type Piece struct {
	Name  string
	Shape []int
	Off   int // of its first element
}

// Size is the number of elements.
func (p Piece) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Of is the piece as a node of its shape, a view of the vector.
func (p Piece) Of(vector *tensor.Node) *tensor.Node {
	return vector.Slice(0, p.Off, p.Off+p.Size()).Reshape(p.Shape...)
}

// Layout lists the pieces of a parameter vector in order.
type Layout []Piece

// Size is the length of the vector.
func (l Layout) Size() int {
	if len(l) == 0 {
		return 0
	}
	last := l[len(l)-1]
	return last.Off + last.Size()
}

func (l *Layout) add(name string, shape ...int) {
	*l = append(*l, Piece{Name: name, Shape: shape, Off: l.Size()})
}

// Model is a function of parameters and inputs.
type Model interface {
	// Layout describes the parameter vector [q].
	Layout() Layout
	// Init draws start values for it; the same seed gives the same values.
	Init(seed uint64) []float64
	// Outputs is the model's value for parameters [q] and inputs [B, d]: [B, outputs].
	Outputs(params, inputs *tensor.Node) *tensor.Node
}
