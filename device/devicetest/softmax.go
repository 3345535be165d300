package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
)

// softmaxCases: all kinds, sizes and layouts, in place, rows far from zero, with infinities and NaN, bad labels.
func softmaxCases() []Case {
	var cases []Case
	inf := math.Inf(1)
	for kind := device.Softmax; kind <= device.CrossEntropy; kind++ {
		add := func(name string, build func(*trial)) {
			cases = append(cases, single(fmt.Sprintf("RowSoftmax/%s/%s", kind, name), build))
		}
		for _, s := range [][2]int{{1, 1}, {0, 5}, {5, 0}, {3, 2}, {130, 10}, {7, 257}, {2, 1031}, {33, 16}} {
			add(fmt.Sprintf("%dx%d", s[0], s[1]), func(t *trial) { t.softmax(kind, dense, t.normal, s[0], s[1]) })
		}
		for _, l := range append(whole(), repeated(0)) {
			add(l.name, func(t *trial) { t.softmax(kind, l, t.normal, 19, 37) })
		}
		for _, shift := range []float64{-1e4, 1e4, 1e30} {
			add(fmt.Sprintf("shift%g", shift), func(t *trial) {
				t.softmax(kind, dense, func() float64 { return shift * (1 + t.normal()/16) }, 9, 21)
			})
		}
		add("wide", func(t *trial) { t.softmax(kind, dense, func() float64 { return 40 * t.normal() }, 23, 45) })
		add("flat", func(t *trial) { t.softmax(kind, dense, func() float64 { return -3 }, 4, 100) })
		add("masked", func(t *trial) { t.softmax(kind, dense, each([]float64{1, -inf, 0.5, -inf, -inf}), 5, 17) })
		add("hopeless", func(t *trial) { t.softmax(kind, dense, each([]float64{-inf}), 3, 5) })
		add(
			"infinite",
			func(t *trial) { t.softmax(kind, dense, each([]float64{1, 2, inf, 3, 4, 5, 6, 7, 8, 9, 10}), 4, 5) },
		)
		add("nan", func(t *trial) {
			t.softmax(kind, dense, each([]float64{1, 2, math.NaN(), 3, 4, 5, 6, 7, 8, 9, 10}), 4, 5)
		})
		if kind == device.CrossEntropy {
			add("bad-labels", func(t *trial) {
				t.softmax(kind, dense, t.normal, 6, 4)
				labels := t.code[0].In[1]
				for i, bad := range []int32{0, -1, 3, 4, math.MaxInt32, math.MinInt32} {
					t.mem[1].ints[place(labels, i)] = bad
				}
			})
		} else {
			add("in-place", func(t *trial) {
				z := t.input(sliced, t.normal, 21, 43)
				t.add(device.RowSoftmax, device.SoftmaxAttr{Kind: kind}, []device.View{z}, z)
			})
		}
	}
	return cases
}

// softmax makes the instruction; buffer 1 holds the labels, where there are any.
func (t *trial) softmax(kind device.SoftmaxKind, l layout, fill func() float64, rows, cols int) {
	ins := []device.View{t.input(l, fill, rows, cols)}
	if l.repeat != 0 {
		l = strided
	}
	attr := device.SoftmaxAttr{Kind: kind}
	if kind == device.CrossEntropy {
		ins = append(ins, t.indices(strided, t.below(max(cols, 1)), rows))
		t.add(device.RowSoftmax, attr, ins, t.output(device.Real, strided, rows))
		return
	}
	t.add(device.RowSoftmax, attr, ins, t.output(device.Real, l, rows, cols))
}
