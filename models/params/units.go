package params

import (
	"fmt"
	"strings"
)

// Units are parts of a network that are there or not, each as a whole, such as the neurons of a hidden layer: the slots
// are all places in the parameters that belong to them, one slice along an axis to each unit.
type Units struct {
	Name  string // of the layer
	Count int
	Slots []Slot
	State []Slot // in the running statistics
}

// Slot is an axis of an array along which units lie.
type Slot struct {
	Array  string
	Axis   int
	Output bool // what makes the unit's output; otherwise what reads it
}

// String names what belongs together: "0: 300 units, each one slice of 0.weight along axis 0, 0.bias along axis 0, …".
func (u Units) String() string {
	var parts []string
	for _, s := range append(u.Slots[:len(u.Slots):len(u.Slots)], u.State...) {
		parts = append(parts, fmt.Sprintf("%s along axis %d", s.Array, s.Axis))
	}
	return fmt.Sprintf("%s: %d units, each one slice of %s", u.Name, u.Count, strings.Join(parts, ", "))
}
