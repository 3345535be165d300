package ptx

import (
	"math/bits"
	"strings"

	"bilevel/internal/ptx/arith"
)

// Registers of 16 bits keep their value in the low half of a word, zero extended; s16 and u16 read them.
func s16(a uint32) int16  { return int16(a) }
func u16(a uint32) uint16 { return uint16(a) }

// half2 and half1 are 16-bit operations: on the low halves, with the upper half of the result zero.
func half2(f func(a, b uint32) uint32) func(*decoder) {
	return lane2(func(a, b uint32) uint32 { return f(a&0xffff, b&0xffff) & 0xffff })
}

func half1(f func(a uint32) uint32) func(*decoder) {
	return lane1(func(a uint32) uint32 { return f(a&0xffff) & 0xffff })
}

func half3(f func(a, b, c uint32) uint32) func(*decoder) {
	return lane3(func(a, b, c uint32) uint32 { return f(a&0xffff, b&0xffff, c&0xffff) & 0xffff })
}

func integerForms() []form {
	c := ClassInteger
	return []form{
		{op: "add", suffixes: "u32|s32", class: c, build: lanes2(addInt[uint32])},
		{op: "add", suffixes: "u64|s64", class: c, build: lanes2(addInt[uint64])},
		{op: "add", suffixes: "u16|s16", class: c, build: half2(func(a, b uint32) uint32 { return a + b })},
		{op: "add", suffixes: "u16x2|s16x2", class: c,
			build: lane2(func(a, b uint32) uint32 { return (a+b)&0xffff | (a&^0xffff + b&^0xffff) })},
		{op: "add", suffixes: "sat s32", class: c, build: lane2(arith.AddSat)},
		{op: "add", suffixes: "cc u32|s32|u64|s64", class: c, build: carryOp(carryAdd)},
		{op: "addc", suffixes: "cc? u32|s32|u64|s64", class: c, build: carryOp(carryAdd)},
		{op: "sub", suffixes: "u32|s32", class: c, build: lanes2(subInt[uint32])},
		{op: "sub", suffixes: "u64|s64", class: c, build: lanes2(subInt[uint64])},
		{op: "sub", suffixes: "u16|s16", class: c, build: half2(func(a, b uint32) uint32 { return a - b })},
		{op: "sub", suffixes: "sat s32", class: c, build: lane2(arith.SubSat)},
		{op: "sub", suffixes: "cc u32|s32|u64|s64", class: c, build: carryOp(carrySub)},
		{op: "subc", suffixes: "cc? u32|s32|u64|s64", class: c, build: carryOp(carrySub)},
		{op: "mul", suffixes: "lo u32|s32", class: c, build: lanes2(mulInt[uint32])},
		{op: "mul", suffixes: "lo u64|s64", class: c, build: lanes2(mulInt[uint64])},
		{op: "mul", suffixes: "lo u16|s16", class: c, build: half2(func(a, b uint32) uint32 { return a * b })},
		{op: "mul", suffixes: "hi u32", class: c, build: lane2(arith.MulHiU32)},
		{op: "mul", suffixes: "hi s32", class: c, build: lane2(arith.MulHiS32)},
		{op: "mul", suffixes: "hi u64", class: c, build: lane2(arith.MulHiU64)},
		{op: "mul", suffixes: "hi s64", class: c, build: lane2(arith.MulHiS64)},
		{op: "mul", suffixes: "hi u16", class: c, build: half2(func(a, b uint32) uint32 { return a * b >> 16 })},
		{op: "mul", suffixes: "hi s16", class: c,
			build: half2(func(a, b uint32) uint32 { return uint32(int32(s16(a)) * int32(s16(b)) >> 16) })},
		{op: "mul", suffixes: "wide u32", class: c, build: lanes2(mulWideU)},
		{op: "mul", suffixes: "wide s32", class: c, build: lanes2(mulWideS)},
		{op: "mul", suffixes: "wide u16", class: c,
			build: lane2(func(a, b uint32) uint32 { return a & 0xffff * (b & 0xffff) })},
		{op: "mul", suffixes: "wide s16", class: c,
			build: lane2(func(a, b uint32) uint32 { return uint32(int32(s16(a)) * int32(s16(b))) })},
		{op: "mad", suffixes: "lo u32|s32", class: c, build: lanes3(madInt[uint32])},
		{op: "mad", suffixes: "lo u64|s64", class: c, build: lanes3(madInt[uint64])},
		{op: "mad", suffixes: "lo u16|s16", class: c, build: half3(func(a, b, c uint32) uint32 { return a*b + c })},
		{op: "mad", suffixes: "hi u16", class: c, build: half3(func(a, b, c uint32) uint32 { return a*b>>16 + c })},
		{op: "mad", suffixes: "hi s16", class: c,
			build: half3(func(a, b, c uint32) uint32 { return uint32(int32(s16(a))*int32(s16(b))>>16) + c })},
		{op: "mad", suffixes: "hi u32", class: c,
			build: lane3(func(a, b, c uint32) uint32 { return arith.MulHiU32(a, b) + c })},
		{op: "mad", suffixes: "hi s32", class: c,
			build: lane3(func(a, b, c int32) int32 { return arith.MulHiS32(a, b) + c })},
		{op: "mad", suffixes: "hi sat s32", class: c, build: lane3(arith.MadHiSat)},
		{op: "mad", suffixes: "hi u64", class: c,
			build: lane3(func(a, b, c uint64) uint64 { return arith.MulHiU64(a, b) + c })},
		{op: "mad", suffixes: "hi s64", class: c,
			build: lane3(func(a, b, c int64) int64 { return arith.MulHiS64(a, b) + c })},
		{op: "mad", suffixes: "wide u32", class: c,
			build: lane3(func(a, b uint32, c uint64) uint64 { return uint64(a)*uint64(b) + c })},
		{op: "mad", suffixes: "wide s32", class: c,
			build: lane3(func(a, b int32, c int64) int64 { return int64(a)*int64(b) + c })},
		{op: "mad", suffixes: "wide u16", class: c,
			build: lane3(func(a, b, c uint32) uint32 { return a&0xffff*(b&0xffff) + c })},
		{op: "mad", suffixes: "wide s16", class: c,
			build: lane3(func(a, b, c uint32) uint32 { return uint32(int32(s16(a))*int32(s16(b))) + c })},
		{op: "mad", suffixes: "lo|hi cc u32|s32|u64|s64", class: c, build: carryOp(carryMad)},
		{op: "madc", suffixes: "lo|hi cc? u32|s32|u64|s64", class: c, build: carryOp(carryMad)},
		{op: "mul24", suffixes: "lo u32", class: c,
			build: lane2(func(a, b uint32) uint32 { return uint32(arith.Mul24U(a, b)) })},
		{op: "mul24", suffixes: "hi u32", class: c,
			build: lane2(func(a, b uint32) uint32 { return uint32(arith.Mul24U(a, b) >> 16) })},
		{op: "mul24", suffixes: "lo s32", class: c,
			build: lane2(func(a, b int32) int32 { return int32(arith.Mul24S(a, b)) })},
		{op: "mul24", suffixes: "hi s32", class: c,
			build: lane2(func(a, b int32) int32 { return int32(arith.Mul24S(a, b) >> 16) })},
		{op: "mad24", suffixes: "lo u32", class: c,
			build: lane3(func(a, b, c uint32) uint32 { return uint32(arith.Mul24U(a, b)) + c })},
		{op: "mad24", suffixes: "lo s32", class: c,
			build: lane3(func(a, b, c int32) int32 { return int32(arith.Mul24S(a, b)) + c })},
		{op: "div", suffixes: "u16", class: c,
			build: half2(func(a, b uint32) uint32 { q, _ := arith.Div(u16(a), u16(b)); return uint32(q) })},
		{op: "div", suffixes: "s16", class: c,
			build: half2(func(a, b uint32) uint32 { q, _ := arith.Div(s16(a), s16(b)); return uint32(q) })},
		{op: "div", suffixes: "u32", class: c, build: quotient[uint32]},
		{op: "div", suffixes: "s32", class: c, build: quotient[int32]},
		{op: "div", suffixes: "u64", class: c, build: quotient[uint64]},
		{op: "div", suffixes: "s64", class: c, build: quotient[int64]},
		{op: "rem", suffixes: "u16", class: c,
			build: half2(func(a, b uint32) uint32 { r, _ := arith.Rem(u16(a), u16(b)); return uint32(r) })},
		{op: "rem", suffixes: "s16", class: c,
			build: half2(func(a, b uint32) uint32 { r, _ := arith.Rem(s16(a), s16(b)); return uint32(r) })},
		{op: "rem", suffixes: "u32", class: c, build: remainder[uint32]},
		{op: "rem", suffixes: "s32", class: c, build: remainder[int32]},
		{op: "rem", suffixes: "u64", class: c, build: remainder[uint64]},
		{op: "rem", suffixes: "s64", class: c, build: remainder[int64]},
		{op: "abs", suffixes: "s16", class: c,
			build: half1(func(a uint32) uint32 { return uint32(absolute(int32(s16(a)))) })},
		{op: "abs", suffixes: "s32", class: c, build: lane1(absolute[int32])},
		{op: "abs", suffixes: "s64", class: c, build: lane1(absolute[int64])},
		{op: "neg", suffixes: "s16", class: c, build: half1(func(a uint32) uint32 { return -a })},
		{op: "neg", suffixes: "s32", class: c, build: lane1(func(a uint32) uint32 { return -a })},
		{op: "neg", suffixes: "s64", class: c, build: lane1(func(a uint64) uint64 { return -a })},
		{op: "min", suffixes: "u16", class: c, build: half2(func(a, b uint32) uint32 { return min(a, b) })},
		{op: "min", suffixes: "s16", class: c,
			build: half2(func(a, b uint32) uint32 { return uint32(min(s16(a), s16(b))) })},
		{op: "min", suffixes: "u32", class: c, build: lanes2(minInt[uint32])},
		{op: "min", suffixes: "s32", class: c, build: lanes2(minInt[int32])},
		{op: "min", suffixes: "relu s32", class: c, build: lane2(func(a, b int32) int32 { return max(0, min(a, b)) })},
		{op: "min", suffixes: "u64", class: c, build: lanes2(minInt[uint64])},
		{op: "min", suffixes: "s64", class: c, build: lanes2(minInt[int64])},
		{op: "max", suffixes: "u16", class: c, build: half2(func(a, b uint32) uint32 { return max(a, b) })},
		{op: "max", suffixes: "s16", class: c,
			build: half2(func(a, b uint32) uint32 { return uint32(max(s16(a), s16(b))) })},
		{op: "max", suffixes: "u32", class: c, build: lanes2(maxInt[uint32])},
		{op: "max", suffixes: "s32", class: c, build: lanes2(maxInt[int32])},
		{op: "max", suffixes: "relu s32", class: c, build: lane2(func(a, b int32) int32 { return max(0, a, b) })},
		{op: "max", suffixes: "u64", class: c, build: lanes2(maxInt[uint64])},
		{op: "max", suffixes: "s64", class: c, build: lanes2(maxInt[int64])},
		{op: "sad", suffixes: "u16", class: c,
			build: half3(func(a, b, c uint32) uint32 { return uint32(arith.Sad(u16(a), u16(b), u16(c))) })},
		{op: "sad", suffixes: "s16", class: c,
			build: half3(func(a, b, c uint32) uint32 { return uint32(arith.Sad(s16(a), s16(b), s16(c))) })},
		{op: "sad", suffixes: "u32", class: c, build: lane3(arith.Sad[uint32])},
		{op: "sad", suffixes: "s32", class: c, build: lane3(arith.Sad[int32])},
		{op: "sad", suffixes: "u64", class: c, build: lane3(arith.Sad[uint64])},
		{op: "sad", suffixes: "s64", class: c, build: lane3(arith.Sad[int64])},
		{op: "dp4a", suffixes: "u32|s32 u32|s32", class: c, build: func(d *decoder) {
			sa, sb := d.mods[0] == "s32", d.mods[1] == "s32"
			bind3(d, each3(func(a, b, c uint32) uint32 { return arith.Dp4a(a, b, c, sa, sb) }))
		}},
		{op: "dp2a", suffixes: "lo|hi u32|s32 u32|s32", class: c, build: func(d *decoder) {
			hi, sa, sb := d.has("hi"), d.mods[1] == "s32", d.mods[2] == "s32"
			bind3(d, each3(func(a, b, c uint32) uint32 { return arith.Dp2a(a, b, c, sa, sb, hi) }))
		}},
	}
}

func addInt[T word](d, a, b *vec[T]) {
	for i := range d {
		d[i] = a[i] + b[i]
	}
}

func subInt[T word](d, a, b *vec[T]) {
	for i := range d {
		d[i] = a[i] - b[i]
	}
}

func mulInt[T word](d, a, b *vec[T]) {
	for i := range d {
		d[i] = a[i] * b[i]
	}
}

func madInt[T uint32 | uint64](d, a, b, c *vec[T]) {
	for i := range d {
		d[i] = a[i]*b[i] + c[i]
	}
}

func mulWideU(d *vec[uint64], a, b *vec[uint32]) {
	for i := range d {
		d[i] = uint64(a[i]) * uint64(b[i])
	}
}

func mulWideS(d *vec[int64], a, b *vec[int32]) {
	for i := range d {
		d[i] = int64(a[i]) * int64(b[i])
	}
}

func minInt[T uint32 | int32 | uint64 | int64](d, a, b *vec[T]) {
	for i := range d {
		d[i] = min(a[i], b[i])
	}
}

func maxInt[T uint32 | int32 | uint64 | int64](d, a, b *vec[T]) {
	for i := range d {
		d[i] = max(a[i], b[i])
	}
}

func absolute[T int32 | int64](a T) T {
	if a < 0 {
		return -a
	}
	return a
}

// quotient and remainder: division by zero is unspecified in PTX and a result like any other here.
func quotient[T uint32 | int32 | uint64 | int64](d *decoder) {
	bind2(d, each2(func(a, b T) T { q, _ := arith.Div(a, b); return q }))
}

func remainder[T uint32 | int32 | uint64 | int64](d *decoder) {
	bind2(d, each2(func(a, b T) T { r, _ := arith.Rem(a, b); return r }))
}

// Carry chains (PTX ISA 9.7.2) pass a bit from lane to the same lane through CC.CF, which is w.carry.
type carryFunc func(x carryArgs) (sum, carry uint64)

// carryArgs are the operands of one lane. Words of 32 bits are zero extended.
type carryArgs struct {
	a, b, c, in uint64
	wide        bool // 64 bits
	signed, hi  bool
}

func carryAdd(x carryArgs) (uint64, uint64) { return x.add(x.a, x.b, x.in) }

// carrySub keeps the borrow in CC.CF, as the hardware's subc takes it.
func carrySub(x carryArgs) (uint64, uint64) {
	if x.wide {
		return bits.Sub64(x.a, x.b, x.in)
	}
	v := x.a - x.b - x.in
	return v & 0xffffffff, v >> 32 & 1
}

func carryMad(x carryArgs) (uint64, uint64) {
	return x.add(x.product(), x.c, x.in)
}

func (x carryArgs) add(a, b, in uint64) (uint64, uint64) {
	if x.wide {
		return bits.Add64(a, b, in)
	}
	v := a + b + in
	return v & 0xffffffff, v >> 32
}

func (x carryArgs) product() uint64 {
	switch {
	case x.wide && x.hi && x.signed:
		return uint64(arith.MulHiS64(int64(x.a), int64(x.b)))
	case x.wide && x.hi:
		return arith.MulHiU64(x.a, x.b)
	case x.wide:
		return x.a * x.b
	case x.hi && x.signed:
		return uint64(uint32(arith.MulHiS32(int32(x.a), int32(x.b))))
	case x.hi:
		return uint64(arith.MulHiU32(uint32(x.a), uint32(x.b)))
	}
	return x.a * x.b & 0xffffffff
}

func carryOp(f carryFunc) func(*decoder) {
	return func(d *decoder) {
		typ := d.typ()
		x := carryArgs{wide: typeBits[typ] == 64, signed: typ[0] == 's', hi: d.has("hi")}
		takes, sets := strings.HasSuffix(d.src.Op, "c"), d.has("cc")
		w := widthOf(typeBits[typ])
		d.args(3, 4)
		d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), w), d.operand(d.arg(1), w), d.operand(d.arg(2), w)
		d.in.c = d.in.b
		if d.src.Op == "mad" || d.src.Op == "madc" {
			d.in.c = d.operand(d.arg(3), w)
		}
		d.in.run = func(w *warp, in *instr, mask uint32) {
			x := x
			for m := mask; m != 0; m &= m - 1 {
				i := bits.TrailingZeros32(m) & 31
				x.a, x.b, x.c = w.lane(in.a, i, x.wide), w.lane(in.b, i, x.wide), w.lane(in.c, i, x.wide)
				x.in = 0
				if takes {
					x.in = uint64(w.carry >> i & 1)
				}
				v, carry := f(x)
				w.setLane(in.d, i, x.wide, v)
				if sets {
					w.carry = w.carry&^(1<<i) | uint32(carry)<<i
				}
			}
		}
	}
}

// lane reads one lane of a register, zero extended.
func (w *warp) lane(off int32, i int, wide bool) uint64 {
	if wide {
		return reg[uint64](w, off)[i&31]
	}
	return uint64(reg[uint32](w, off)[i&31])
}

func (w *warp) setLane(off int32, i int, wide bool, v uint64) {
	if wide {
		reg[uint64](w, off)[i&31] = v
	} else {
		reg[uint32](w, off)[i&31] = uint32(v)
	}
}
