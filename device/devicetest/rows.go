package devicetest

import (
	"errors"
	"fmt"
	"math"

	"bilevel/device"
)

// rowSizes are rows of the table, number of indices, columns.
var rowSizes = [][3]int{
	{1, 1, 1}, {5, 0, 3}, {5, 3, 0}, {130, 257, 67}, {3, 100, 8}, {1000, 7, 1}, {17, 64, 33}, {0, 0, 4},
}

// gatherCases: rows of every type, every layout, repeated indices; bad indices are reported.
func gatherCases() []Case {
	var cases []Case
	for _, typ := range []device.Type{device.Real, device.Int, device.Byte} {
		for _, s := range rowSizes {
			cases = append(cases, single(fmt.Sprintf("Gather/%s/%dx%dx%d", typ, s[0], s[1], s[2]), func(t *trial) {
				t.gather(typ, dense, dense, s[0], s[1], s[2])
			}))
		}
		for _, l := range append(whole(), repeated(0), repeated(1)) {
			cases = append(cases, single(fmt.Sprintf("Gather/%s/%s", typ, l.name), func(t *trial) {
				t.gather(typ, l, strided, 19, 40, 21)
			}))
		}
	}
	cases = append(cases, single("Gather/specials", func(t *trial) { // bits are moved, whatever they mean
		idx := t.indices(dense, t.below(8), 40)
		t.add(
			device.Gather, nil, []device.View{t.input(dense, each(edges), 8, 9), idx},
			t.output(device.Real, dense, 40, 9),
		)
	}))
	for _, bad := range []int32{-1, 19, math.MaxInt32, math.MinInt32} {
		cases = append(
			cases,
			badIndex(
				fmt.Sprintf("Gather/index%d", bad), bad,
				func(t *trial) { t.gather(device.Real, dense, dense, 19, 40, 21) },
			),
			badIndex(
				fmt.Sprintf("Gather/bytes/index%d", bad), bad,
				func(t *trial) { t.gather(device.Byte, dense, dense, 19, 40, 21) },
			),
		)
	}
	for _, l := range []layout{dense, offset, sliced} { // rows of whole words, and not
		cases = append(
			cases,
			single("Gather/bytes/images/"+l.name, func(t *trial) { t.gather(device.Byte, l, dense, 40, 33, 108) }),
		)
	}
	return cases
}

// gather makes the instruction; buffer 0 is the table, buffer 1 the indices.
func (t *trial) gather(typ device.Type, l, idx layout, rows, n, cols int) {
	var table device.View
	out := typ
	switch typ {
	case device.Real:
		table = t.input(l, t.normal, rows, cols)
	case device.Int:
		table = t.indices(l, t.below(1<<30), rows, cols)
	case device.Byte:
		table, out = t.output(device.Byte, l, rows, cols), device.Real // full of random bytes
	}
	if l.repeat != 0 {
		l = sliced
	}
	index := t.indices(idx, t.below(max(rows, 1)), n)
	t.add(device.Gather, nil, []device.View{table, index}, t.output(out, l, n, cols))
}

// scatterCases: every layout, in place, many hits of one row; bad indices are reported.
func scatterCases() []Case {
	var cases []Case
	for _, s := range rowSizes {
		cases = append(cases, single(fmt.Sprintf("ScatterAdd/%dx%dx%d", s[0], s[1], s[2]), func(t *trial) {
			t.scatter(dense, false, s[0], s[1], s[2])
		}))
	}
	for _, l := range append(whole(), repeated(0), repeated(1)) {
		cases = append(cases, single("ScatterAdd/"+l.name, func(t *trial) { t.scatter(l, false, 19, 40, 21) }))
		if l.repeat == 0 {
			cases = append(
				cases, single("ScatterAdd/in-place/"+l.name, func(t *trial) { t.scatter(l, true, 19, 40, 21) }),
			)
		}
	}
	cases = append(cases, single("ScatterAdd/one-row", func(t *trial) { t.scatter(dense, true, 1, 300, 5) }))
	for _, bad := range []int32{-1, 19, math.MaxInt32, math.MinInt32} {
		cases = append(cases, badIndex(fmt.Sprintf("ScatterAdd/index%d", bad), bad, func(t *trial) {
			t.scatter(dense, false, 19, 40, 21)
		}))
	}
	return cases
}

// scatter makes the instruction; buffer 0 is the base, buffer 1 the indices.
func (t *trial) scatter(l layout, inPlace bool, rows, n, cols int) {
	base := t.input(l, t.normal, rows, cols)
	index := t.indices(strided, t.below(max(rows, 1)), n)
	if l.repeat != 0 {
		l = sliced
	}
	src, out := t.input(l, t.normal, n, cols), base
	if !inPlace {
		out = t.output(device.Real, l, rows, cols)
	}
	t.add(device.ScatterAdd, nil, []device.View{base, index, src}, out)
}

// badIndex is a case that spoils one index: the run must fail with ErrIndex, write nothing outside the output, and
// leave the device as good as before.
func badIndex(name string, bad int32, build func(*trial)) Case {
	return Case{Name: name, Run: func(d device.Device) error {
		good, spoilt := newTrial(name), newTrial(name)
		build(good)
		build(spoilt)
		idx := spoilt.code[0].In[1]
		spoilt.mem[idx.Buf].ints[place(idx, 23)] = bad
		if _, err := spoilt.run(d, 1); !errors.Is(err, device.ErrIndex) {
			return fmt.Errorf("index %d in a table of 19 rows: got error %v, want ErrIndex", bad, err)
		}
		if err := good.check(d); err != nil {
			return fmt.Errorf("after a bad index: %w", err)
		}
		return nil
	}}
}

// selectCases: arg-max with ties, NaN, infinities and zeros of both signs; the k-th largest.
func selectCases() []Case {
	cases := kthLargestCases()
	nan, inf, minus := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	add := func(name string, l layout, fill func(*trial) func() float64, rows, cols int) {
		cases = append(cases, single("Order/"+name, func(t *trial) {
			z := t.input(l, fill(t), rows, cols)
			t.add(device.Order, device.OrderAttr{}, []device.View{z}, t.output(device.Int, strided, rows))
		}))
	}
	normal := func(t *trial) func() float64 { return t.normal }
	list := func(x ...float64) func(*trial) func() float64 {
		return func(*trial) func() float64 { return each(x) }
	}
	for _, s := range [][2]int{{1, 1}, {0, 5}, {130, 10}, {7, 257}, {2, 1031}, {257, 2}} {
		add(fmt.Sprintf("%dx%d", s[0], s[1]), dense, normal, s[0], s[1])
	}
	for _, l := range append(whole(), repeated(0), repeated(1)) {
		add(l.name, l, normal, 19, 37)
	}
	add(
		"ties", dense, func(t *trial) func() float64 { return func() float64 { return float64(t.rng.IntN(3)) } }, 50,
		41,
	)
	add("zeros", dense, list(minus, 0, minus, 0, 0), 9, 19)
	add("nan", dense, list(1, nan, inf, 2, nan, 3, -inf), 9, 19)
	add("nan-last", dense, list(1, 2, 3, inf, 5, 6, nan), 3, 7)
	add("infinity", dense, list(-inf, 4, inf, inf, 1), 7, 18)
	add("lowest", dense, list(-inf), 3, 17)
	return cases
}
