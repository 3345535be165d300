package devicetest

import (
	"fmt"

	"bilevel/device"
)

// copyCases: every pair of layouts, ranks up to 5, broadcasts, both casts.
func copyCases() []Case {
	var cases []Case
	types := []device.Type{device.Real, device.Int}
	add := func(from, to device.Type, name string, l, o layout, shape ...int) {
		cases = append(cases, single(fmt.Sprintf("Copy/%s-%s/%s", from, to, name), func(t *trial) {
			var src device.View
			if from == device.Int {
				src = t.indices(l, t.anyInt(), shape...)
			} else {
				src = t.input(l, each(edges), shape...)
			}
			t.add(device.Copy, nil, []device.View{src}, t.output(to, o, shape...))
		}))
	}
	for _, from := range types {
		for _, to := range types {
			for _, n := range []int{0, 1, 7, 64, 1031} {
				add(from, to, fmt.Sprint(n), dense, dense, n)
			}
			add(from, to, "scalar", offset, dense)
			for _, l := range append(whole(), scalar, repeated(0), repeated(1)) {
				for _, o := range whole() {
					add(from, to, l.name+"-"+o.name, l, o, 33, 67)
				}
			}
			add(from, to, "rank3", turned, dense, 9, 13, 17)
			add(from, to, "rank5", turned, sliced, 2, 3, 4, 5, 6)
			add(from, to, "ones", turned, strided, 1, 19, 1, 1, 23)
		}
	}
	return cases
}

// anyInt goes through the edges of int32 and then draws any integer.
func (t *trial) anyInt() func() int32 {
	k := -1
	return func() int32 {
		if k++; k < len(intEdges) {
			return intEdges[k]
		}
		return int32(t.rng.Uint32())
	}
}
