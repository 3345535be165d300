package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
	"bilevel/internal/expr"
)

// mapCases: sizes around blocks and tiles, every layout, broadcasts, in-place outputs and random fused expressions.
func mapCases() []Case {
	var cases []Case
	add := func(name string, build func(*trial)) { cases = append(cases, single("Map/"+name, build)) }

	for _, n := range []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 127, 1000, 1023, 1024, 1025, 2049, 4096,
		4099, 20011} {
		add(fmt.Sprint(n), func(t *trial) { t.fused(dense, dense, n) })
	}
	for _, shape := range [][]int{{}, {1, 1, 1}, {130, 257}, {3, 1, 5}, {257, 1}, {1, 257}, {2, 3, 4, 5, 6}, {4, 0, 3},
		{7, 13, 11}} {
		for _, l := range whole() {
			add(fmt.Sprintf("%v/%s", shape, l.name), func(t *trial) { t.fused(l, whole()[len(shape)%5], shape...) })
		}
	}
	for _, c := range []struct {
		name   string
		layout layout
	}{{"rows", repeated(1)}, {"columns", repeated(0)}, {"scalar", scalar}} {
		add("broadcast/"+c.name, func(t *trial) { t.fused(c.layout, dense, 61, 67) })
		add("broadcast/"+c.name+"/sliced", func(t *trial) { t.fused(c.layout, sliced, 61, 67) })
	}
	add("broadcast/middle", func(t *trial) { t.fused(repeated(1), turned, 9, 17, 33) })
	add("broadcast/ends", func(t *trial) { t.fused(repeated(0, 2), dense, 9, 17, 33) })

	for seed := range 24 {
		add(fmt.Sprintf("random/%d", seed), func(t *trial) { t.randomMap() })
	}
	for _, l := range whole() {
		add("in-place/"+l.name, func(t *trial) { t.inPlace(l) })
	}
	add("swap", func(t *trial) { t.swap() })
	add("long", func(t *trial) { t.long() })
	return cases
}

// fused computes relu(x·w + b) and tanh(x) of it, with x in layout l, into outputs in layout o.
func (t *trial) fused(l, o layout, shape ...int) {
	var b builder
	x, w, c := b.input(0), b.input(1), b.input(2)
	y := b.fn(expr.Relu, b.fn(expr.Add, b.fn(expr.Mul, x, w), c))
	e := b.out(y, b.fn(expr.Tanh, x))
	ins := []device.View{
		t.input(l, t.normal, shape...), t.input(dense, t.normal, shape...), t.input(offset, t.normal, shape...),
	}
	t.add(
		device.Map, device.MapAttr{Shape: shape, Expr: e}, ins, t.output(device.Real, o, shape...),
		t.output(device.Real, dense, shape...),
	)
}

// randomMap evaluates a random expression with random layouts and several outputs.
func (t *trial) randomMap() {
	shape := make([]int, 1+t.rng.IntN(3))
	for a := range shape {
		shape[a] = 1 + t.rng.IntN([]int{700, 40, 12}[len(shape)-1])
	}
	reals, outs := 1+t.rng.IntN(3), 1+t.rng.IntN(3)
	e := randomExpr(t.rng, reals, len(shape), 4+t.rng.IntN(30), outs)
	bounded := func() float64 { return math.Max(-2, math.Min(2, t.normal())) }
	inputs := append(whole(), repeated(0), scalar)
	var ins, results []device.View
	for range reals {
		ins = append(ins, t.input(inputs[t.rng.IntN(len(inputs))], bounded, shape...))
	}
	ins = append(ins, t.indices(inputs[t.rng.IntN(len(inputs))], t.below(8), shape...))
	for range outs {
		results = append(results, t.output(device.Real, whole()[t.rng.IntN(5)], shape...))
	}
	t.add(device.Map, device.MapAttr{Shape: shape, Expr: e}, ins, results...)
}

// inPlace overwrites its second input: w ← w - r·g, as an update does.
func (t *trial) inPlace(l layout) {
	var b builder
	r, w, g := b.input(0), b.input(1), b.input(2)
	e := b.out(b.fn(expr.Sub, w, b.fn(expr.Mul, r, g)))
	shape := []int{67, 131}
	rate, state, grad := t.input(
		scalar,
		t.normal,
		shape...), t.input(
		l,
		t.normal,
		shape...), t.input(
		dense,
		t.normal,
		shape...)
	t.add(device.Map, device.MapAttr{Shape: shape, Expr: e}, []device.View{rate, state, grad}, state)
}

// swap exchanges two buffers: all inputs of a point are read before its outputs are written.
func (t *trial) swap() {
	var b builder
	x, y := b.input(0), b.input(1)
	e := b.out(y, x)
	v, w := t.input(dense, t.normal, 1031), t.input(offset, t.normal, 1031)
	t.add(device.Map, device.MapAttr{Shape: []int{1031}, Expr: e}, []device.View{v, w}, v, w)
}

// long has more live values than any machine has registers: the sum of 60 products, all made first.
func (t *trial) long() {
	var b builder
	x := b.input(0)
	var products []int
	for k := range 60 {
		products = append(products, b.fn(expr.Mul, x, b.constant(float64(k)-29.5)))
	}
	s := products[0]
	for _, p := range products[1:] {
		s = b.fn(expr.Add, s, b.fn(expr.Abs, p))
	}
	t.add(
		device.Map, device.MapAttr{Shape: []int{515}, Expr: b.out(s)}, []device.View{t.input(dense, t.normal, 515)},
		t.output(device.Real, dense, 515),
	)
}
