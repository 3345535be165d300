package models

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Activation is an elementwise nonlinearity, with the start values that suit it.
type Activation struct {
	Name  string
	Apply func(*tensor.Node) *tensor.Node
	Init  Init
}

// Activations by name.
func activations() map[string]Activation {
	list := []Activation{
		{"relu", (*tensor.Node).Relu, He},
		{"tanh", (*tensor.Node).Tanh, Glorot},
		{"sigmoid", (*tensor.Node).Sigmoid, Glorot},
		{"softplus", (*tensor.Node).Softplus, He},
		{"identity", func(n *tensor.Node) *tensor.Node { return n }, Glorot},
	}
	byName := make(map[string]Activation)
	for _, a := range list {
		byName[a.Name] = a
	}
	return byName
}

// ActivationByName finds relu, tanh, sigmoid, softplus or identity.
func ActivationByName(name string) (Activation, error) {
	all := activations()
	if a, ok := all[name]; ok {
		return a, nil
	}
	names := slices.Sorted(maps.Keys(all))
	return Activation{}, fmt.Errorf("models: unknown activation %q (there are %s)%s",
		name, strings.Join(names, ", "), nearest.Hint(name, names))
}

// MLP is a multilayer perceptron: x ← φ(x·W_i + b_i) for each layer but the last, which has no φ.
type MLP struct {
	Widths     []int // inputs, hidden layers, outputs
	Activation Activation
	Bias       bool
	Start      Init // nil: the activation's own
}

// NewMLP checks the widths.
func NewMLP(widths []int, a Activation) (MLP, error) {
	ok := len(widths) >= 2 && a.Apply != nil
	for _, w := range widths {
		ok = ok && w >= 1
	}
	if !ok {
		return MLP{}, fmt.Errorf("models: perceptron of widths %v, activation %q: wants an activation and at least two positive widths", widths, a.Name)
	}
	return MLP{Widths: slices.Clone(widths), Activation: a, Bias: true}, nil
}

func (m MLP) layers() int { return len(m.Widths) - 1 }

// Layout is weight0, bias0, weight1, … in order.
func (m MLP) Layout() (l Layout) {
	for i := range m.layers() {
		l.add(fmt.Sprint("weight", i), m.Widths[i], m.Widths[i+1])
		if m.Bias {
			l.add(fmt.Sprint("bias", i), m.Widths[i+1])
		}
	}
	return l
}

// Init draws weights; biases start at zero.
func (m MLP) Init(seed uint64) []float64 {
	start := m.Start
	if start == nil {
		start = m.Activation.Init
	}
	l := m.Layout()
	out := make([]float64, l.Size())
	for i, p := range l {
		if len(p.Shape) == 2 {
			start(out[p.Off:p.Off+p.Size()], p.Shape[0], p.Shape[1], seed, uint32(i))
		}
	}
	return out
}

func (m MLP) Outputs(params, x *tensor.Node) *tensor.Node {
	l := m.Layout()
	per := len(l) / m.layers()
	for i := range m.layers() {
		layer := l[i*per : (i+1)*per]
		x = plusBias(layer, params, x.MatMul(layer[0].Of(params)))
		if i < m.layers()-1 {
			x = m.Activation.Apply(x)
		}
	}
	return x
}
