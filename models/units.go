package models

import (
	"fmt"
	"slices"

	"bilevel/models/params"
)

// Shrinkable is a model that exists with fewer units, too.
type Shrinkable interface {
	Model
	// Units lists the units that can be left out, with every place in the parameters and the state that belongs to
	// them.
	Units() []params.Units
	// WithUnits is the same model with so many units, in the order of Units; each wants at least one.
	WithUnits(counts []int) (Model, error)
}

var _ Shrinkable = MLP{}

// Units are the neurons of the hidden layers. What makes a neuron's output is its row of weights, its bias, and the
// scale, shift and running statistics of its normalization; what reads it is its column in the next layer's weights.
func (m MLP) Units() (list []params.Units) {
	layers := m.layers()
	out, in := 0, 1 // axes of a weight array
	if m.InputsFirst {
		out, in = 1, 0
	}
	for i, d := range layers[:len(layers)-1] {
		u := params.Units{Name: d.linear, Count: d.out}
		u.Slots = append(u.Slots, params.Slot{Array: d.linear + ".weight", Axis: out, Output: true})
		if d.bias {
			u.Slots = append(u.Slots, params.Slot{Array: d.linear + ".bias", Output: true})
		}
		if d.norm != "" {
			u.Slots = append(u.Slots, params.Slot{Array: d.norm + ".weight", Output: true},
				params.Slot{Array: d.norm + ".bias", Output: true})
			u.State = []params.Slot{
				{Array: d.norm + runningMean, Output: true}, {Array: d.norm + runningVar, Output: true},
			}
		}
		u.Slots = append(u.Slots, params.Slot{Array: layers[i+1].linear + ".weight", Axis: in})
		list = append(list, u)
	}
	return list
}

// WithUnits is the perceptron with hidden layers of other widths.
func (m MLP) WithUnits(counts []int) (Model, error) {
	if len(counts) != len(m.Widths)-2 {
		return nil, fmt.Errorf("%d widths for the %d hidden layers of a perceptron %v: wants one for each", len(counts),
			len(m.Widths)-2, m.Widths)
	}
	m.Widths = slices.Clone(m.Widths)
	copy(m.Widths[1:], counts)
	return m, m.Check()
}
