package emit

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"bilevel/internal/expr"
	"bilevel/kernels"
)

// axis is an axis of an iteration space: its extent and the stride of every array along it. An Iota counts as an array
// whose element is its offset: stride 1 along its axis, 0 elsewhere.
type axis struct {
	n       int
	strides []int
}

// axesOf lists the axes of a shape that have more than one point, the fastest last, as few as possible: adjacent axes
// are merged where all arrays are contiguous across them. Their order is free: those along which the last array, an
// output, and then any other is dense come last.
func axesOf(shape []int, arrays [][]int, which func(a int) bool) []axis {
	var list []axis
	for a, n := range shape {
		if n == 1 || !which(a) {
			continue
		}
		x := axis{n: n, strides: make([]int, len(arrays))}
		for v, s := range arrays {
			x.strides[v] = s[a]
		}
		list = append(list, x)
	}
	out := len(arrays) - 1 // rather gather loads than scatter stores
	slices.SortStableFunc(list, func(a, b axis) int {
		return cmp.Or(cmp.Compare(b.strides[out], a.strides[out]), cmp.Compare(b.pace(), a.pace()))
	})
	for i := len(list) - 2; i >= 0; i-- {
		outer, inner := list[i], list[i+1]
		merges := true
		for v, s := range outer.strides {
			merges = merges && s == inner.strides[v]*inner.n
		}
		if merges {
			list[i] = axis{outer.n * inner.n, inner.strides}
			list = slices.Delete(list, i+1, i+2)
		}
	}
	return list
}

// pace is the least stride of any array that is not zero: small for an axis that runs along memory.
func (x axis) pace() int {
	least := math.MaxInt
	for _, s := range x.strides {
		if s > 0 {
			least = min(least, s)
		}
	}
	return least
}

func points(axes []axis) int {
	n := 1
	for _, x := range axes {
		n *= x.n
	}
	return n
}

// reach is the largest offset that array v has in the axes.
func reach(axes []axis, v int) int {
	far := 0
	for _, x := range axes {
		far += (x.n - 1) * x.strides[v]
	}
	return far
}

// An index computes offsets, in 32 bits where everything fits.
type index struct {
	w    *writer
	wide bool
	memo map[string]string // what was computed before, by its text
}

func newIndex(w *writer, wide bool) *index { return &index{w, wide, map[string]string{}} }

// op computes with unsigned integers of the index's width: add, sub, shr, and, mul.hi, mad.lo.
func (x *index) op(name string, args ...string) string {
	class, suffix := byte('r'), ".u32"
	if x.wide {
		class, suffix = 'd', ".u64"
	}
	if name == "and" {
		suffix = map[bool]string{false: ".b32", true: ".b64"}[x.wide]
	}
	key := name
	for _, a := range args {
		key += " " + a
	}
	if x.memo[key] == "" {
		x.memo[key] = x.w.op(class, name+suffix, args...)
	}
	return x.memo[key]
}

// coordinates splits a point's number, the last axis fastest.
func (x *index) coordinates(point string, axes []axis) []string {
	c := make([]string, len(axes))
	for i := len(axes) - 1; i >= 0; i-- {
		if i == 0 {
			c[i] = point
			break
		}
		point, c[i] = x.divide(point, axes[i].n)
	}
	return c
}

// divide is a point's number by n, and the rest. Powers of two are shifts, other n multiplications, which ptxas does
// not make of a division by itself, see kernels.Reciprocal.
func (x *index) divide(point string, n int) (quotient, rest string) {
	if n&(n-1) == 0 {
		return x.op("shr", point, integer(log2(n))), x.op("and", point, integer(n-1))
	}
	narrow, shift := kernels.Reciprocal(n)
	factor := fmt.Sprint(narrow)
	if x.wide {
		wide, _ := kernels.Reciprocal63(n)
		factor = fmt.Sprintf("%#xU", wide)
	}
	quotient = x.op("shr", x.op("mul.hi", point, factor), integer(shift-1))
	return quotient, x.op("sub", point, x.times(quotient, n, ""))
}

// times is a·n + b; an empty b is 0.
func (x *index) times(a string, n int, b string) string {
	switch {
	case n == 0:
		return b
	case n == 1 && b == "":
		return a
	case n == 1:
		return x.op("add", a, b)
	case b == "":
		b = "0"
	}
	return x.op("mad.lo", a, integer(n), b)
}

// offset is Σ c·stride of array v, "" for 0.
func (x *index) offset(c []string, axes []axis, v int) string {
	sum := ""
	for i := len(axes) - 1; i >= 0; i-- {
		sum = x.times(c[i], axes[i].strides[v], sum)
	}
	return sum
}

// step is an address so many elements further.
func step(address string, elements int) string {
	if elements == 0 {
		return "[" + address + "]"
	}
	return fmt.Sprintf("[%s+%d]", address, 4*elements)
}

// address is base plus off elements.
func (x *index) address(base, off string) string {
	if off == "" {
		return base
	}
	op := "mad.wide.u32"
	if x.wide {
		op = "mad.lo.u64"
	}
	key := op + " " + off + " " + base
	if x.memo[key] == "" {
		x.memo[key] = x.w.op('d', op, off, "4", base)
	}
	return x.memo[key]
}

func log2(n int) int {
	k := 0
	for 1<<k < n {
		k++
	}
	return k
}

// space is an expression with the arrays it touches.
type space struct {
	e      *expr.Expr
	on     []bool  // the steps in use
	arrays [][]int // strides: inputs, iotas, outputs
	types  []expr.Type
	offs   []int
	ins    []int       // numbers of the inputs in use, by array
	iotas  map[int]int // by axis: the array
	input  map[int]int // by number: the array
	outs   int         // the first output's array
}

func newSpace(e *expr.Expr, rank int, in, out []Array) *space {
	s := &space{e: e, on: needed(e), iotas: map[int]int{}, input: map[int]int{}}
	add := func(a Array) int {
		s.arrays, s.types, s.offs = append(s.arrays, a.Strides), append(s.types, a.Type), append(s.offs, a.Off)
		return len(s.arrays) - 1
	}
	for i, step := range e.Steps {
		if _, seen := s.input[step.Arg]; step.Fn == expr.Input && s.on[i] && !seen {
			s.input[step.Arg] = add(in[step.Arg])
			s.ins = append(s.ins, step.Arg)
		}
	}
	for i, step := range e.Steps {
		if _, seen := s.iotas[step.Arg]; step.Fn == expr.Iota && s.on[i] && !seen {
			strides := make([]int, rank)
			strides[step.Arg] = 1
			s.iotas[step.Arg] = add(Array{Strides: strides, Type: expr.Int})
		}
	}
	s.outs = len(s.arrays)
	for _, o := range out {
		add(o)
	}
	return s
}

// wide says whether offsets need more than 31 bits.
func (s *space) wide(axes []axis, n int) bool {
	most := n
	for v := range s.arrays {
		most = max(most, reach(axes, v))
	}
	return most > math.MaxInt32-4*block
}
