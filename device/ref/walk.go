package ref

import "bilevel/device"

// walk calls f at every point of a shape in row-major order (the last axis runs fastest), like an odometer. idx is the
// point's index and at[v] its distance from the first element of views[v] (offsets are left out, so that walks nest).
// f must not keep or change either.
func walk(shape []int, views []device.View, f func(idx, at []int)) {
	idx, at := make([]int, len(shape)), make([]int, len(views))
	if device.Size(shape) == 0 {
		return
	}
	for {
		f(idx, at)
		a := len(shape) - 1
		for ; a >= 0; a-- {
			if idx[a]++; idx[a] < shape[a] {
				for v := range views {
					at[v] += views[v].Strides[a]
				}
				break
			}
			idx[a] = 0
			for v := range views {
				at[v] -= (shape[a] - 1) * views[v].Strides[a]
			}
		}
		if a < 0 {
			return
		}
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
