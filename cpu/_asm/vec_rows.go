package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The loops over rows: reductions of each row to one number, of all rows to one row, and rows combined with a number
// each. The generic loops are in reduce_kernels.go of package cpu.

// sumLanes is the number of running values of a row; see rowSums.
const sumLanes = 64

// reduction is a way to reduce a row: terms are operands combined (a dot product has two), then joined.
type reduction struct {
	name     string
	operands string // parameters: a, or a and b
	term     func(s isa, x []vec) vec
	join     func(s isa, a, b vec) vec
	none     Op2 // what joins without effect
}

func sum(s isa, a, b vec) vec { return s.do(add, a, b) }

var reductions = []reduction{
	{"rowSums", "a", func(s isa, x []vec) vec { return x[0] }, sum, f32(0)},
	{"rowDots", "ab", func(s isa, x []vec) vec { return s.do(mul, x[0], x[1]) }, sum, f32(0)},
	{"rowMaxima", "a", func(s isa, x []vec) vec { return x[0] }, isa.maximum, f32inf | signBit},
}

func (s isa) rows() {
	for _, r := range reductions {
		s.rowReduction(r)
	}
	s.columns("columnSums", sum)
	s.columns("columnMaxima", isa.maximum)
	s.rowByNumber("rowSub", &sub)
	s.rowByNumber("rowDiv", &div)
	s.rowByNumber("rowSpread", nil)
	s.copyRows8()
}

// prefetch writes func(a []float32): the lines of a are on their way into the second-level cache.
func prefetch(c *build.Context) {
	c.Function("prefetch")
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func(a []float32)")
	c.Doc("prefetch brings the lines of a into the second-level cache, later; it does not wait.")
	a, n := c.Load(c.Param("a").Base(), c.GP64()), c.Load(c.Param("a").Len(), c.GP64())
	c.JMP(LabelRef("test"))
	c.Label("line")
	c.PREFETCHT1(Mem{Base: a})
	c.ADDQ(U32(64), a)
	c.SUBQ(U32(16), n)
	c.Label("test")
	c.CMPQ(n, U32(0))
	c.JG(LabelRef("line"))
	c.RET()
}

// rowsAtOnce is the number of rows that copyRows8 walks together.
const rowsAtOnce = 8

// copyRows8 writes func(dst []float32, ldd int, src []float32, lds int, rows *[8]int32, n int): dst[r·ldd + i] =
// src[rows[r]·lds + i] for the eight r and i < n. The rows are walked side by side: each lies in pages of its own, and
// the processor fetches ahead in several at once, which brings twice the bytes per second that one row after the other
// does.
func (s isa) copyRows8() {
	s.begin("copyRows8", "func(dst []float32, ldd int, src []float32, lds int, rows *[8]int32, n int)", "")
	dst, ldd, n := s.Load(s.Param("dst").Base(), s.GP64()), s.Load(s.Param("ldd"), s.GP64()),
		s.Load(s.Param("n"), s.GP64())
	src, lds, numbers := s.Load(s.Param("src").Base(), s.GP64()), s.Load(s.Param("lds"), s.GP64()),
		s.Load(s.Param("rows"), s.GP64())
	s.SHLQ(U8(2), ldd)
	rows := make([]reg.Register, rowsAtOnce)
	for r := range rows {
		row := s.GP64()
		s.MOVLQSX(Mem{Base: numbers, Disp: 4 * r}, row)
		s.IMULQ(lds, row)
		s.LEAQ(Mem{Base: src, Index: row, Scale: 4}, row)
		rows[r] = row
	}
	i := s.GP64()
	s.XORQ(i, i)
	move := func(disp int, part *mask) {
		values := make([]vec, rowsAtOnce)
		for r := range rows {
			values[r] = s.read(Mem{Base: rows[r], Index: i, Scale: 4, Disp: disp}, part)
		}
		to := s.GP64()
		s.LEAQ(Mem{Base: dst, Index: i, Scale: 4}, to)
		for r := range rows {
			s.write(values[r], Mem{Base: to, Disp: disp}, part)
			if r+1 < rowsAtOnce {
				s.ADDQ(ldd, to)
			}
		}
	}
	s.JMP(LabelRef("test"))
	s.Label("whole")
	move(0, nil)
	s.ADDQ(U32(s.lanes()), i)
	s.SUBQ(U32(s.lanes()), n)
	s.Label("test")
	s.CMPQ(n, U32(s.lanes()))
	s.JGE(LabelRef("whole"))
	part := s.tail(n)
	move(0, &part)
	s.end()
}

// rowReduction writes func(dst, a[, b] []float32, n int): dst[i] = the reduction of the n terms of row i.
func (s isa) rowReduction(r reduction) {
	signature := "func(dst, a []float32, n int)"
	if len(r.operands) == 2 {
		signature = "func(dst, a, b []float32, n int)"
	}
	s.begin(r.name, signature, "")
	dst, rows := s.Load(s.Param("dst").Base(), s.GP64()), s.Load(s.Param("dst").Len(), s.GP64())
	n := s.Load(s.Param("n"), s.GP64())
	var from []reg.Register
	for _, name := range r.operands {
		from = append(from, s.Load(s.Param(string(name)).Base(), s.GP64()))
	}
	none := s.load(r.none.(constant))
	stride := s.GP64() // bytes of a row
	s.MOVQ(n, stride)
	s.SHLQ(U8(2), stride)
	s.TESTQ(rows, rows)
	s.JE(LabelRef("done"))

	// term is the terms of one vector at element i + at/4; lanes outside part have no effect.
	term := func(i reg.Register, at int, part *mask) vec {
		args := make([]vec, len(from))
		for j := range from {
			args[j] = s.read(Mem{Base: from[j], Index: i, Scale: 4, Disp: at}, part)
		}
		t := r.term(s, args)
		if part != nil && r.none != f32(0) {
			t = s.choose(*part, t, none)
		}
		return t
	}
	finish := func(v vec, again string) {
		s.VMOVSS(s.across(v, r.join), Mem{Base: dst})
		s.ADDQ(U32(4), dst)
		for _, p := range from {
			s.ADDQ(stride, p)
		}
		s.DECQ(rows)
		s.JNE(LabelRef(again))
		s.JMP(LabelRef("done"))
	}
	zero := s.GP64()
	s.XORQ(zero, zero)

	s.CMPQ(n, U32(16))
	s.JG(LabelRef("long"))
	var parts []mask // of a row of at most 16 elements
	if s.wide() {
		parts = []mask{s.tail(n)}
	} else {
		first, second := s.GP64(), s.GP64()
		eight := s.GP64()
		s.MOVQ(U32(8), eight)
		s.MOVQ(n, first)
		s.CMPQ(n, eight)
		s.CMOVQGT(eight, first)
		s.MOVQ(n, second)
		s.SUBQ(first, second)
		parts = []mask{s.tail(first), s.tail(second)}
	}
	s.Label("short")
	v := term(zero, 0, &parts[0])
	if len(parts) > 1 {
		v = r.join(s, v, term(zero, s.bytes, &parts[1]))
	}
	finish(r.join(s, v, none), "short") // the running sums of the long way start from +0

	s.Label("long")
	rest := s.GP64()
	s.MOVQ(n, rest)
	s.ANDQ(U32(s.lanes()-1), rest)
	part := s.tail(rest)
	count := sumLanes / s.lanes()
	acc := make([]vec, count)
	for j := range acc {
		acc[j] = s.reg()
	}
	left, i := s.GP64(), s.GP64()
	s.Label("row")
	for j := range acc {
		s.VMOVAPS(none, acc[j])
	}
	s.MOVQ(n, left)
	s.XORQ(i, i)
	s.JMP(LabelRef("test"))
	s.Label("by64")
	for j := range acc {
		s.set(acc[j], r.join(s, acc[j], term(i, j*s.bytes, nil)))
	}
	s.ADDQ(U32(sumLanes), i)
	s.SUBQ(U32(sumLanes), left)
	s.Label("test")
	s.CMPQ(left, U32(sumLanes))
	s.JGE(LabelRef("by64"))
	for j := range acc {
		s.CMPQ(left, U32(s.lanes()))
		s.JL(LabelRef(fmt.Sprintf("part%d", j)))
		if j == count-1 {
			break // fewer than 64 are left
		}
		s.set(acc[j], r.join(s, acc[j], term(i, 0, nil)))
		s.ADDQ(U32(s.lanes()), i)
		s.SUBQ(U32(s.lanes()), left)
	}
	for j := range acc {
		s.Label(fmt.Sprintf("part%d", j))
		s.set(acc[j], r.join(s, acc[j], term(i, 0, &part)))
		if j < count-1 {
			s.JMP(LabelRef("tree"))
		}
	}
	s.Label("tree")
	tree := append([]vec(nil), acc...)
	for h := count / 2; h > 0; h /= 2 {
		for j := range h {
			tree[j] = r.join(s, tree[j], tree[j+h])
		}
	}
	finish(tree[0], "row")
	s.Label("done")
	s.end()
}

// set copies a vector: the way to give a new value to a register of a loop.
func (s isa) set(to, from vec) { s.VMOVAPS(from, to) }

// across joins the lanes of v by halves: lane j with lane j + half. The result is in lane 0.
func (s isa) across(v vec, join func(s isa, a, b vec) vec) reg.Register {
	half := s
	if half.bytes == 64 {
		high := s.YMM()
		s.VEXTRACTF32X8(U8(1), v, high)
		half.bytes = 32
		v = join(half, v.AsY().(vec), high)
	}
	high := s.XMM()
	s.VEXTRACTF128(U8(1), v, high)
	half.bytes = 16
	v = join(half, v.AsX().(vec), high)
	for _, move := range []int{0xee, 0x55} {
		high := s.XMM()
		s.VPERMILPS(U8(move), v, high)
		v = join(half, v, high)
	}
	return v
}

// columns writes func(acc, a []float32): acc = join(acc, row) for each row of a, in order.
func (s isa) columns(name string, join func(s isa, a, b vec) vec) {
	s.begin(name, "func(acc, a []float32)", "")
	acc, k := s.Load(s.Param("acc").Base(), s.GP64()), s.Load(s.Param("acc").Len(), s.GP64())
	a, end := s.Load(s.Param("a").Base(), s.GP64()), s.Load(s.Param("a").Len(), s.GP64())
	s.LEAQ(Mem{Base: a, Index: end, Scale: 4}, end)
	stride, p := s.GP64(), s.GP64()
	s.MOVQ(k, stride)
	s.SHLQ(U8(2), stride)
	s.CMPQ(a, end)
	s.JGE(LabelRef("done"))
	const most = 4 // vectors of columns at a time
	pass := func(count int, part *mask, label string) {
		sums := make([]vec, count)
		for j := range sums {
			sums[j] = s.read(Mem{Base: acc, Disp: j * s.bytes}, part)
		}
		s.MOVQ(a, p)
		s.Label(label)
		for j := range sums {
			s.set(sums[j], join(s, sums[j], s.read(Mem{Base: p, Disp: j * s.bytes}, part)))
		}
		s.ADDQ(stride, p)
		s.CMPQ(p, end)
		s.JL(LabelRef(label))
		for j := range sums {
			s.write(sums[j], Mem{Base: acc, Disp: j * s.bytes}, part)
		}
		if part == nil {
			s.ADDQ(U32(count*s.bytes), acc)
			s.ADDQ(U32(count*s.bytes), a)
			s.SUBQ(U32(count*s.lanes()), k)
		}
	}
	for _, count := range []int{most, 1} {
		here, next := fmt.Sprintf("by%d", count), fmt.Sprintf("past%d", count)
		s.Label(here)
		s.CMPQ(k, U32(count*s.lanes()))
		s.JL(LabelRef(next))
		pass(count, nil, fmt.Sprintf("rows%d", count))
		s.JMP(LabelRef(here))
		s.Label(next)
	}
	s.TESTQ(k, k)
	s.JE(LabelRef("done"))
	part := s.tail(k)
	pass(1, &part, "rows")
	s.Label("done")
	s.end()
}

// rowByNumber writes func(dst, a, by []float32, n int): row i of dst = row i of a ∘ by[i], the rows having n elements;
// without a step func(dst, by []float32, n int): row i of dst = by[i].
func (s isa) rowByNumber(name string, o *step) {
	signature := "func(dst, by []float32, n int)"
	if o != nil {
		signature = "func(dst, a, by []float32, n int)"
	}
	s.begin(name, signature, "")
	dst, a := s.Load(s.Param("dst").Base(), s.GP64()), s.GP64()
	if o != nil {
		s.Load(s.Param("a").Base(), a)
	}
	by, rows := s.Load(s.Param("by").Base(), s.GP64()), s.Load(s.Param("by").Len(), s.GP64())
	n := s.Load(s.Param("n"), s.GP64())
	s.TESTQ(rows, rows)
	s.JE(LabelRef("done"))
	rest, left := s.GP64(), s.GP64()
	s.MOVQ(n, rest)
	s.ANDQ(U32(s.lanes()-1), rest)
	part := s.tail(rest)
	s.Label("row")
	number := s.broadcast(Mem{Base: by})
	s.MOVQ(n, left)
	s.JMP(LabelRef("test"))
	s.Label("by1")
	vector := func(part *mask) {
		v := number
		if o != nil {
			v = s.do(*o, s.read(Mem{Base: a}, part), number)
		}
		s.write(v, Mem{Base: dst}, part)
	}
	vector(nil)
	if o != nil {
		s.ADDQ(U32(s.bytes), a)
	}
	s.ADDQ(U32(s.bytes), dst)
	s.SUBQ(U32(s.lanes()), left)
	s.Label("test")
	s.CMPQ(left, U32(s.lanes()))
	s.JGE(LabelRef("by1"))
	s.TESTQ(left, left)
	s.JE(LabelRef("next"))
	vector(&part)
	if o != nil {
		s.LEAQ(Mem{Base: a, Index: left, Scale: 4}, a)
	}
	s.LEAQ(Mem{Base: dst, Index: left, Scale: 4}, dst)
	s.Label("next")
	s.ADDQ(U32(4), by)
	s.DECQ(rows)
	s.JNE(LabelRef("row"))
	s.Label("done")
	s.end()
}
