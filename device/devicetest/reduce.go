package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
	"bilevel/internal/expr"
)

// reduceCases: all sets of axes, sums, maxima and dot products, empty spaces, NaN, further outputs stored whole.
func reduceCases() []Case {
	var cases []Case
	add := func(name string, build func(*trial)) { cases = append(cases, single("Reduce/"+name, build)) }
	sum, most := []device.ReduceKind{device.Sum}, []device.ReduceKind{device.Maximum}

	for _, n := range []int{0, 1, 2, 7, 31, 32, 33, 127, 1000, 4097, 30011} {
		add(fmt.Sprintf("%d/sum", n), func(t *trial) { t.reduction(input0(), sum, dense, []int{0}, n) })
		add(fmt.Sprintf("%d/max", n), func(t *trial) { t.reduction(input0(), most, dense, []int{0}, n) })
		add(fmt.Sprintf("%d/dot", n), func(t *trial) { t.reduction(product(), sum, dense, []int{0}, n) })
	}
	for _, c := range []struct {
		shape, axes []int
	}{
		{[]int{}, nil},
		{[]int{5}, nil}, // nothing is reduced: a Map
		{[]int{130, 257}, []int{1}},
		{[]int{130, 257}, []int{0}},
		{[]int{130, 257}, []int{0, 1}},
		{[]int{1, 1000}, []int{1}},
		{[]int{1000, 1}, []int{0}},
		{[]int{7, 130, 5}, []int{0, 2}},
		{[]int{7, 130, 5}, []int{1}},
		{[]int{3, 4, 5, 6}, []int{1, 3}},
		{[]int{3, 4, 5, 6}, []int{0, 1, 2, 3}},
		{[]int{4, 0, 3}, []int{1}}, // sums of no terms
		{[]int{0, 5}, []int{1}},    // no sums
	} {
		for _, l := range whole() {
			name := fmt.Sprintf("%v/over%v/%s", c.shape, c.axes, l.name)
			add(name+"/sum", func(t *trial) { t.reduction(product(), sum, l, c.axes, c.shape...) })
			add(name+"/max", func(t *trial) { t.reduction(product(), most, l, c.axes, c.shape...) })
		}
	}
	for seed := range 8 {
		add(fmt.Sprintf("random/%d", seed), func(t *trial) { t.randomReduce() })
	}
	add("broadcast", func(t *trial) { t.reduction(product(), sum, repeated(1), []int{0}, 61, 67) })
	add("nan", func(t *trial) { t.specials(device.Maximum, 5, math.NaN()) })
	add("nan-first", func(t *trial) { t.specials(device.Maximum, 0, math.NaN()) })
	add("nan-last", func(t *trial) { t.specials(device.Maximum, 66, math.NaN()) })
	add("infinity", func(t *trial) { t.specials(device.Sum, 13, math.Inf(-1)) })
	add("infinities", func(t *trial) { t.specials(device.Sum, 13, math.Inf(-1), math.Inf(1)) })
	add("sum-of-nan", func(t *trial) { t.specials(device.Sum, 40, math.NaN()) })
	add("cancellation", func(t *trial) {
		t.reduction(input0(), sum, dense, []int{0}, 10007)
		x := t.mem[0].real
		for i := 1; i < 10006; i += 2 { // the sum is small, the terms are not
			x[i] = -x[i-1]
		}
	})
	add("whole", func(t *trial) { t.partlyWhole(false) })
	add("whole-in-place", func(t *trial) { t.partlyWhole(true) })
	return cases
}

func reducedShape(shape, axes []int) []int {
	kept := append([]int{}, shape...)
	for _, a := range axes {
		kept[a] = 1
	}
	return kept
}

// reduction reduces an expression of up to two inputs, the first of them in layout l.
func (t *trial) reduction(e *expr.Expr, kinds []device.ReduceKind, l layout, axes []int, shape ...int) {
	ins := []device.View{t.input(l, t.normal, shape...), t.input(offset, t.normal, shape...)}
	t.add(device.Reduce, device.ReduceAttr{Shape: shape, Expr: e, Axes: axes, Kinds: kinds}, ins,
		t.output(device.Real, whole()[len(shape)%5], reducedShape(shape, axes)...))
}

// randomReduce reduces two results of a random expression, one by each kind, over random axes, and stores a third.
func (t *trial) randomReduce() {
	shape := []int{1 + t.rng.IntN(20), 1 + t.rng.IntN(30), 1 + t.rng.IntN(20)}
	var axes []int
	for a := range shape {
		if t.rng.IntN(2) == 0 {
			axes = append(axes, a)
		}
	}
	kept := reducedShape(shape, axes)
	e := randomExpr(t.rng, 2, 3, 12, 3)
	bounded := func() float64 { return math.Max(-2, math.Min(2, t.normal())) }
	l := func() layout { return whole()[t.rng.IntN(5)] }
	ins := []device.View{
		t.input(l(), bounded, shape...), t.input(repeated(t.rng.IntN(3)), bounded, shape...),
		t.indices(l(), t.below(8), shape...),
	}
	t.add(
		device.Reduce,
		device.ReduceAttr{Shape: shape, Expr: e, Axes: axes, Kinds: []device.ReduceKind{device.Sum, device.Maximum}},
		ins, t.output(device.Real, l(), kept...), t.output(device.Real, l(), kept...),
		t.output(device.Real, l(), shape...),
	)
}

// specials puts some values, one after the other, into the middle row of five.
func (t *trial) specials(kind device.ReduceKind, at int, values ...float64) {
	t.reduction(input0(), []device.ReduceKind{kind}, dense, []int{1}, 5, 67)
	copy(t.mem[0].real[2*67+at:], values)
}

// partlyWhole reduces x·w and stores it as well, into a buffer of its own or over x.
func (t *trial) partlyWhole(inPlace bool) {
	var b builder
	y := b.fn(expr.Mul, b.input(0), b.input(1))
	e := b.out(y, b.fn(expr.Abs, y), y)
	shape := []int{37, 67}
	x, w := t.input(sliced, t.normal, shape...), t.input(repeated(0), t.normal, shape...)
	stored := x
	if !inPlace {
		stored = t.output(device.Real, turned, shape...)
	}
	t.add(
		device.Reduce,
		device.ReduceAttr{
			Shape: shape, Expr: e, Axes: []int{1}, Kinds: []device.ReduceKind{device.Sum, device.Maximum},
		},
		[]device.View{x, w},
		t.output(device.Real, dense, 37, 1),
		t.output(device.Real, strided, 37, 1),
		stored,
	)
}
