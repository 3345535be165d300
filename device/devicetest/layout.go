package devicetest

import (
	"fmt"

	"bilevel/device"
)

// layout says how a view lies in its buffer. Every buffer has guard elements before, between and after the view's own.
type layout struct {
	name   string
	lead   int  // elements before the first
	step   int  // distance of neighbours along the fastest axis, less 1
	pad    int  // unused elements after each run of an axis
	turned bool // the first axis is the fastest, not the last
	repeat uint // bit a: axis a has stride zero; inputs only
}

// trail is the number of guard elements after a view.
const trail = 5

var (
	dense   = layout{name: "dense"}
	offset  = layout{name: "offset", lead: 3}
	sliced  = layout{name: "sliced", lead: 2, pad: 7}
	strided = layout{name: "strided", lead: 1, step: 1, pad: 2}
	turned  = layout{name: "turned", lead: 4, turned: true}
)

// scalar repeats one element everywhere.
var scalar = layout{name: "scalar", lead: 6, repeat: ^uint(0)}

// repeated is a dense layout with stride zero along some axes.
func repeated(axes ...int) layout {
	l := layout{name: fmt.Sprint("repeat", axes), lead: 1}
	for _, a := range axes {
		l.repeat |= 1 << a
	}
	return l
}

// whole lists the layouts that outputs may have too: no element is repeated.
func whole() []layout { return []layout{dense, offset, sliced, strided, turned} }

// view places a view of the given shape in buffer buf and says how many elements the buffer needs.
func (l layout) view(buf int, shape []int) (device.View, int) {
	strides := make([]int, len(shape))
	n := 1 + l.step
	for k := range shape {
		a := len(shape) - 1 - k
		if l.turned {
			a = k
		}
		if l.repeat>>a&1 == 1 {
			continue
		}
		strides[a] = n
		n = n*shape[a] + l.pad
	}
	v := device.View{Buf: buf, Off: l.lead, Shape: shape, Strides: strides}
	last := l.lead
	for a, d := range shape {
		last += max(d-1, 0) * strides[a]
	}
	return v, last + 1 + trail
}

// points calls f with the index of every point of a shape, the last axis running fastest. It is written anew, by
// recursion, so that it shares no mistake with the devices' own walks.
func points(shape []int, f func(idx []int)) {
	idx := make([]int, len(shape))
	var along func(axis int)
	along = func(axis int) {
		if axis == len(shape) {
			f(idx)
			return
		}
		for idx[axis] = 0; idx[axis] < shape[axis]; idx[axis]++ {
			along(axis + 1)
		}
	}
	along(0)
}

// place is where a view's element lies in its buffer.
func place(v device.View, idx ...int) int {
	p := v.Off
	for a, i := range idx {
		p += i * v.Strides[a]
	}
	return p
}
