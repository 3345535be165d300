package params

import (
	"fmt"
	"strings"
)

// Units are parts of a network that are there or not, each as a whole, such as the neurons of a hidden layer or the
// channels of a residual stream: the slots are all places in the parameters that belong to them, one or more slices
// along an axis to each unit.
type Units struct {
	Name  string // of the layer
	Count int
	Slots []Slot
	State []Slot // in the running statistics
}

// Slot is an axis of an array along which units lie: unit i has the slice From + i, and where Period is not 0, the
// slices From + i + Period, From + i + 2·Period and so on, too.
type Slot struct {
	Array  string
	Axis   int
	Output bool // what makes the unit's output; otherwise what reads it
	From   int
	Period int // 0: the length of the axis
}

// Unit is the unit, of so many, that a slice belongs to; ok is false where it belongs to none of them.
func (s Slot) Unit(slice, count int) (unit int, ok bool) {
	if s.Period > 0 {
		slice %= s.Period
	}
	unit = slice - s.From
	return unit, unit >= 0 && unit < count
}

// String names what belongs together: "0: 300 units, each one slice of 0.weight along axis 0, 0.bias along axis 0, …".
func (u Units) String() string {
	var parts []string
	for _, s := range append(u.Slots[:len(u.Slots):len(u.Slots)], u.State...) {
		text := fmt.Sprintf("%s along axis %d", s.Array, s.Axis)
		if s.From > 0 {
			text += fmt.Sprintf(" from %d", s.From)
		}
		if s.Period > 0 {
			text += fmt.Sprintf(" every %d", s.Period)
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s: %d units, each one slice of %s", u.Name, u.Count, strings.Join(parts, ", "))
}
