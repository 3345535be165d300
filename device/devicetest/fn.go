package devicetest

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// fnCases run every function alone: over a list of edge values, all pairs and triples of them, and over random numbers
// of all sizes; with each operand in turn broadcast from one element or written as a constant, since devices like
// to have kernels of their own for these.
func fnCases() []Case {
	var cases []Case
	for f := expr.Iota + 1; f < expr.NumFn; f++ {
		row := expr.Table[f]
		name := "Fn/" + row.Name
		cases = append(cases,
			single(name, func(t *trial) { t.function(f, dense, -1) }),
			single(name+"/strided", func(t *trial) { t.function(f, strided, -1) }))
		for k := range row.Arity {
			which := []string{"a", "b", "c"}[k]
			if row.Arity > 1 {
				cases = append(cases, single(name+"/scalar-"+which, func(t *trial) { t.scalarOperand(f, k) }))
			}
			if row.In == expr.Real {
				cases = append(cases, single(name+"/const-"+which, func(t *trial) { t.function(f, dense, k) }))
			}
		}
	}
	return append(cases,
		single("Fn/same-operand", func(t *trial) { t.squares() }),
		single("Fn/iota", func(t *trial) { t.iotas() }),
		single("Fn/input", func(t *trial) {
			x := t.input(dense, each(edges), 131)
			t.add(
				device.Map, device.MapAttr{Shape: []int{131}, Expr: input0()}, []device.View{x},
				t.output(device.Real, dense, 131),
			)
		}),
		single("Fn/const", func(t *trial) {
			var b builder
			var outs []device.View
			var values []int
			for _, c := range edges {
				values = append(values, b.constant(c))
				outs = append(outs, t.output(device.Real, dense, 19))
			}
			t.add(device.Map, device.MapAttr{Shape: []int{19}, Expr: b.out(values...)}, nil, outs...)
		}),
		single("Fn/iconst", func(t *trial) { t.integerConstants() }))
}

// edges are the numbers where functions tend to go wrong, all of them float32 numbers.
var edges = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.5, -0.5, 2, -2.5, 3.25, 10, -17,
	math.Inf(1), math.Inf(-1), math.NaN(),
	math.MaxFloat32, -math.MaxFloat32,
	0x1p-126, -0x1p-126, // the smallest normal numbers
	0x1p-149, -0x1p-149, 0x1.8p-130, // subnormal
	1 - 0x1p-24, 1 + 0x1p-23, // the neighbours of 1
	0x1p-12, -0x1p-12, 0x1p-30, // 1 + x rounds
	88.5, 88.75, -87.25, -88, -103.25, -104.5, // around the ends of exp's range
	16777216, 8388607.5, // where integers and halves end
	2147483520, 0x1p31, -0x1p31, -0x1.000002p31, // around the ends of int32
	math.Float64frombits(math.Float64bits(math.Pi/2) &^ (1<<29 - 1)), 1e4, -9999.5, // angles
}

// few are the edges whose triples are tried.
var few = []float64{0, math.Copysign(0, -1), 1, -2.5, math.Inf(1), math.Inf(-1), math.NaN(), 0x1p-149}

// intEdges are the ends of int32, what overflows when squared, and the neighbours of 2^24, up to which float32 holds
// every integer.
var intEdges = []int32{
	0, 1, -1, 7, 46341, -46341, 1<<24 - 1, 1 << 24, 1<<24 + 1, -1<<24 - 1, math.MaxInt32, math.MinInt32,
}

// operands lists the points at which a function of the given arity is tried.
func (t *trial) operands(arity int) [][]float64 {
	list := map[int][]float64{1: edges, 2: edges, 3: few}[arity]
	table := [][]float64{{}}
	for range arity {
		var longer [][]float64
		for _, row := range table {
			for _, x := range list {
				longer = append(longer, append(slices.Clone(row), x))
			}
		}
		table = longer
	}
	for range 300 {
		row := make([]float64, arity)
		for k := range row {
			row[k] = t.normal()
			if t.rng.IntN(2) == 0 { // any size, as far as most functions are interesting
				row[k] *= math.Ldexp(1, t.rng.IntN(40)-28)
			}
		}
		table = append(table, row)
	}
	return table
}

// function tries f at its operands; operand number fixed is a constant, unless it is negative.
func (t *trial) function(f expr.Fn, l layout, fixed int) {
	row := expr.Table[f]
	var b builder
	var ins []device.View
	args := make([]int, row.Arity)
	n := 0
	if row.In == device.Int {
		n = len(intEdges) * len(intEdges)
		for k := range args {
			next := 0
			ins = append(ins, t.indices(l, func() int32 {
				next++
				return intEdges[(next-1)/[]int{1, len(intEdges)}[k]%len(intEdges)]
			}, n))
			args[k] = b.input(k)
		}
	} else {
		table := t.operands(row.Arity)
		n = len(table)
		for k := range args {
			if k == fixed {
				args[k] = b.constant(t.normal())
				continue
			}
			next := -1
			ins = append(ins, t.input(l, func() float64 { next++; return table[next][k] }, n))
			args[k] = b.input(len(ins) - 1)
		}
	}
	e := b.out(b.fn(f, args...))
	t.add(device.Map, device.MapAttr{Shape: []int{n}, Expr: e}, ins, t.output(row.Out, l, n))
}

// scalarOperand tries f on a [rows, n] space whose operand number k has stride zero along the rows' elements.
func (t *trial) scalarOperand(f expr.Fn, k int) {
	row := expr.Table[f]
	shape := []int{len(few), 67}
	var b builder
	var ins []device.View
	args := make([]int, row.Arity)
	for i := range args {
		l, reals, ints := dense, each(edges), each(intEdges)
		if i == k {
			l = repeated(1)
			at := -1
			reals = func() float64 { at++; return few[at/shape[1]] }
		}
		if row.In == device.Int {
			ins = append(ins, t.indices(l, ints, shape...))
		} else {
			ins = append(ins, t.input(l, reals, shape...))
		}
		args[i] = b.input(i)
	}
	e := b.out(b.fn(f, args...))
	t.add(device.Map, device.MapAttr{Shape: shape, Expr: e}, ins, t.output(row.Out, dense, shape...))
}

// squares uses one value as both operands.
func (t *trial) squares() {
	var b builder
	x := b.input(0)
	e := b.out(b.fn(expr.Mul, x, x), b.fn(expr.Sub, x, x), b.fn(expr.Where, x, x, x), x)
	n := len(edges)
	var outs []device.View
	for range e.Outs {
		outs = append(outs, t.output(device.Real, dense, n))
	}
	t.add(device.Map, device.MapAttr{Shape: []int{n}, Expr: e}, []device.View{t.input(dense, each(edges), n)}, outs...)
}

// integerConstants stores Int constants and what they give with an input: all their bits count.
func (t *trial) integerConstants() {
	n := len(intEdges)
	var b builder
	x := b.input(0)
	var outs []device.View
	var values []int
	store := func(typ device.Type, v int) {
		values = append(values, v)
		outs = append(outs, t.output(typ, dense, n))
	}
	for _, c := range intEdges {
		k := b.integer(c)
		store(device.Int, k)
		store(device.Int, b.fn(expr.ISub, x, k))
		store(device.Real, b.fn(expr.IEq, k, x))
		store(device.Real, b.fn(expr.ILt, k, x))
	}
	t.add(
		device.Map,
		device.MapAttr{Shape: []int{n}, Expr: b.out(values...)},
		[]device.View{t.indices(dense, each(intEdges), n)},
		outs...)
}

// iotas stores the index along every axis.
func (t *trial) iotas() {
	shape := []int{5, 1, 7, 19}
	var b builder
	var outs []device.View
	for range shape {
		outs = append(outs, t.output(device.Int, turned, shape...))
	}
	e := b.out(b.iota(0), b.iota(1), b.iota(2), b.iota(3))
	t.add(device.Map, device.MapAttr{Shape: shape, Expr: e}, nil, outs...)
}
