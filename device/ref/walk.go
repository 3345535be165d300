package ref

import "bilevel/device"

// walk calls f at every point of a shape in row-major order (the last axis runs fastest), like an odometer. idx is the
// point's index and at[v] its distance from the first element of the v-th view, those of in before those of out
// (offsets are left out, so that walks nest). f must not keep or change either.
func walk(shape []int, in, out []device.View, f func(idx, at []int)) {
	walkWith(make([]int, len(shape)), make([]int, len(in)+len(out)), shape, in, out, f)
}

// walkWith is walk with memory for idx and at, which are zero at the beginning and at the end.
func walkWith(idx, at, shape []int, in, out []device.View, f func(idx, at []int)) {
	if device.Size(shape) == 0 {
		return
	}
	for {
		f(idx, at)
		a := len(shape) - 1
		for ; a >= 0; a-- {
			if idx[a]++; idx[a] < shape[a] {
				advance(at, in, out, a, 1)
				break
			}
			idx[a] = 0
			advance(at, in, out, a, 1-shape[a])
		}
		if a < 0 {
			return
		}
	}
}

// advance moves every view's place by some steps along an axis.
func advance(at []int, in, out []device.View, axis, steps int) {
	for v := range in {
		at[v] += steps * in[v].Strides[axis]
	}
	for v := range out {
		at[len(in)+v] += steps * out[v].Strides[axis]
	}
}

// at is the place in its buffer of the view's element with the given index.
func at(v device.View, idx ...int) int {
	place := v.Off
	for a, i := range idx {
		place += i * v.Strides[a]
	}
	return place
}
