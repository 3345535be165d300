package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
)

// randomCases: every distribution gives the reference's bits, for every length modulo 4, any seed, stream and step,
// and any place of the output.
func randomCases() []Case {
	var cases []Case
	add := func(name string, a device.RandomAttr, l layout, seed [2]int32, step int32, n int) {
		cases = append(cases, single(fmt.Sprintf("Random/%s/%s", a.Kind, name), func(t *trial) {
			typ := device.Int
			if a.Kind >= device.Uniform {
				typ = device.Real
			}
			ins := []device.View{t.indices(strided, each(seed[:]), 2), t.indices(offset, each([]int32{step}), 1)}
			t.add(device.Random, a, ins, t.output(typ, l, n))
		}))
	}
	for kind := device.Bits; kind <= device.Normal; kind++ {
		a := device.RandomAttr{Kind: kind, Stream: 3}
		if kind == device.Integers {
			a.N = 10
		}
		for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 15, 31, 33, 63, 257, 1000, 10007} {
			add(fmt.Sprint(n), a, dense, [2]int32{1, 2}, 3, n)
		}
		for _, l := range []layout{offset, strided} {
			add(l.name, a, l, [2]int32{-5, 7}, 1, 517)
		}
		add(
			"high-words", device.RandomAttr{Kind: kind, Stream: math.MaxUint32, N: a.N}, dense,
			[2]int32{-1, math.MinInt32}, -1, 100,
		)
		add("zero", device.RandomAttr{Kind: kind, N: a.N}, dense, [2]int32{}, 0, 100)
	}
	for _, n := range []uint32{1, 2, 3, 1 << 16, 1<<31 - 1, 1 << 31} {
		add(fmt.Sprintf("below%d", n), device.RandomAttr{Kind: device.Integers, N: n}, dense, [2]int32{9, 0}, 4, 501)
	}
	return cases
}
