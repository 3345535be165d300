package ptx

import (
	"math/bits"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

func bitForms() []form {
	c := ClassInteger
	return []form{
		{op: "and", suffixes: "b32|b16", class: c, build: lanes2(func(d, a, b *vec[uint32]) {
			for i := range d {
				d[i] = a[i] & b[i]
			}
		})},
		{op: "and", suffixes: "b64", class: c, build: lane2(func(a, b uint64) uint64 { return a & b })},
		{op: "or", suffixes: "b32|b16", class: c, build: lanes2(func(d, a, b *vec[uint32]) {
			for i := range d {
				d[i] = a[i] | b[i]
			}
		})},
		{op: "or", suffixes: "b64", class: c, build: lane2(func(a, b uint64) uint64 { return a | b })},
		{op: "xor", suffixes: "b32|b16", class: c, build: lanes2(func(d, a, b *vec[uint32]) {
			for i := range d {
				d[i] = a[i] ^ b[i]
			}
		})},
		{op: "xor", suffixes: "b64", class: c, build: lane2(func(a, b uint64) uint64 { return a ^ b })},
		{op: "not", suffixes: "b16", class: c, build: half1(func(a uint32) uint32 { return ^a })},
		{op: "not", suffixes: "b32", class: c, build: lane1(func(a uint32) uint32 { return ^a })},
		{op: "not", suffixes: "b64", class: c, build: lane1(func(a uint64) uint64 { return ^a })},
		{op: "cnot", suffixes: "b16", class: c, build: half1(func(a uint32) uint32 { return toWord(a == 0) })},
		{op: "cnot", suffixes: "b32", class: c, build: lane1(func(a uint32) uint32 { return toWord(a == 0) })},
		{op: "cnot", suffixes: "b64", class: c, build: lane1(func(a uint64) uint64 { return uint64(toWord(a == 0)) })},
		{op: "and", suffixes: "pred", class: c, build: logic(func(a, b uint32) uint32 { return a & b })},
		{op: "or", suffixes: "pred", class: c, build: logic(func(a, b uint32) uint32 { return a | b })},
		{op: "xor", suffixes: "pred", class: c, build: logic(func(a, b uint32) uint32 { return a ^ b })},
		{op: "not", suffixes: "pred", class: c, build: func(d *decoder) {
			d.args(2, 2)
			d.in.d, d.in.a = d.dst(d.arg(0), widthPred), d.pred(d.arg(1))
			d.in.run = func(w *warp, in *instr, mask uint32) { setPredicate(w, in.d, ^*w.predicate(in.a), mask) }
		}},
		// The amount is always a word of 32 bits; amounts of the width and more give zeros, or copies of the sign.
		{op: "shl", suffixes: "b16", class: c,
			build: lane2(func(a, n uint32) uint32 { return uint32(arith.Shl(u16(a), n)) })},
		{op: "shl", suffixes: "b32", class: c, build: lanes2(func(d, a, n *vec[uint32]) {
			for i := range d {
				d[i] = a[i] << n[i]
			}
		})},
		{op: "shl", suffixes: "b64", class: c, build: lanes2(func(d, a *vec[uint64], n *vec[uint32]) {
			for i := range d {
				d[i] = a[i] << n[i]
			}
		})},
		{op: "shr", suffixes: "b16|u16", class: c,
			build: lane2(func(a, n uint32) uint32 { return uint32(arith.Shr(u16(a), n)) })},
		{op: "shr", suffixes: "s16", class: c,
			build: lane2(func(a, n uint32) uint32 { return uint32(u16(uint32(arith.Shr(s16(a), n)))) })},
		{op: "shr", suffixes: "b32|u32", class: c, build: lanes2(func(d, a, n *vec[uint32]) {
			for i := range d {
				d[i] = a[i] >> n[i]
			}
		})},
		{op: "shr", suffixes: "s32", class: c, build: lanes2(func(d, a *vec[int32], n *vec[uint32]) {
			for i := range d {
				d[i] = a[i] >> n[i]
			}
		})},
		{op: "shr", suffixes: "b64|u64", class: c, build: lane2(func(a uint64, n uint32) uint64 { return a >> n })},
		{op: "shr", suffixes: "s64", class: c, build: lane2(func(a int64, n uint32) int64 { return a >> n })},
		{op: "shf", suffixes: "l|r wrap|clamp b32", class: c, build: func(d *decoder) {
			f, wrap := arith.ShfL, d.has("wrap")
			if d.has("r") {
				f = arith.ShfR
			}
			bind3(d, each3(func(lo, hi, n uint32) uint32 { return f(lo, hi, n, wrap) }))
		}},
		{op: "bfe", suffixes: "u32", class: c, build: lane3(arith.Bfe[uint32])},
		{op: "bfe", suffixes: "s32", class: c, build: lane3(arith.Bfe[int32])},
		{op: "bfe", suffixes: "u64", class: c, build: lane3(arith.Bfe[uint64])},
		{op: "bfe", suffixes: "s64", class: c, build: lane3(arith.Bfe[int64])},
		{op: "bfi", suffixes: "b32", class: c, build: insertBits[uint32]},
		{op: "bfi", suffixes: "b64", class: c, build: insertBits[uint64]},
		{op: "bfind", suffixes: "shiftamt? u32", class: c, build: findBit[uint32]},
		{op: "bfind", suffixes: "shiftamt? s32", class: c, build: findBit[int32]},
		{op: "bfind", suffixes: "shiftamt? u64", class: c, build: findBit[uint64]},
		{op: "bfind", suffixes: "shiftamt? s64", class: c, build: findBit[int64]},
		{op: "brev", suffixes: "b32", class: c, build: lane1(bits.Reverse32)},
		{op: "brev", suffixes: "b64", class: c, build: lane1(bits.Reverse64)},
		{op: "clz", suffixes: "b32", class: c,
			build: lane1(func(a uint32) uint32 { return uint32(bits.LeadingZeros32(a)) })},
		{op: "clz", suffixes: "b64", class: c,
			build: lane1(func(a uint64) uint32 { return uint32(bits.LeadingZeros64(a)) })},
		{op: "popc", suffixes: "b32", class: c,
			build: lane1(func(a uint32) uint32 { return uint32(bits.OnesCount32(a)) })},
		{op: "popc", suffixes: "b64", class: c,
			build: lane1(func(a uint64) uint32 { return uint32(bits.OnesCount64(a)) })},
		{op: "fns", suffixes: "b32", class: c, build: lane3(arith.Fns)},
		{op: "lop3", suffixes: "b32", class: c, build: func(d *decoder) {
			d.args(5, 5)
			lut := d.constant(4)
			d.in.d, d.in.a, d.in.b, d.in.c = d.dst(d.arg(0), width32), d.src32(d.arg(1)), d.src32(d.arg(2)),
				d.src32(d.arg(3))
			d.in.run = run3(each3(func(a, b, c uint32) uint32 { return arith.Lop3(a, b, c, uint8(lut)) }))
		}},
		{op: "prmt", suffixes: "b32 f4e|b4e|rc8|ecl|ecr|rc16?", class: ClassMove, build: func(d *decoder) {
			mode, _ := arith.ParsePrmt(d.which("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"))
			bind3(d, each3(mode.Permute))
		}},
		{op: "szext", suffixes: "wrap|clamp u32|s32", class: c, build: func(d *decoder) {
			signed, wrap := d.has("s32"), d.has("wrap")
			bind2(d, each2(func(a, n uint32) uint32 { return arith.Szext(a, n, signed, wrap) }))
		}},
		{op: "bmsk", suffixes: "wrap|clamp b32", class: c, build: func(d *decoder) {
			wrap := d.has("wrap")
			bind2(d, each2(func(a, b uint32) uint32 { return arith.Bmsk(a, b, wrap) }))
		}},
	}
}

func toWord(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// constant is operand i as an integer known at decode time.
func (d *decoder) constant(i int) int64 {
	op := d.arg(i)
	if op.Kind != syntax.Integer {
		d.fail("operand %d must be a constant", i+1)
	}
	return int64(op.Bits)
}

func logic(f func(a, b uint32) uint32) func(*decoder) {
	return func(d *decoder) {
		d.args(3, 3)
		d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), widthPred), d.pred(d.arg(1)), d.pred(d.arg(2))
		flipA, flipB := flip(d.arg(1).Not), flip(d.arg(2).Not)
		d.in.run = func(w *warp, in *instr, mask uint32) {
			setPredicate(w, in.d, f(*w.predicate(in.a)^flipA, *w.predicate(in.b)^flipB), mask)
		}
	}
}

// flip is the mask that negates a predicate.
func flip(not bool) uint32 {
	if not {
		return fullMask
	}
	return 0
}

func insertBits[T uint32 | uint64](d *decoder) {
	d.args(5, 5)
	w := widthFor[T]()
	d.in.d, d.in.a, d.in.b, d.in.c = d.dst(d.arg(0), w), d.operand(d.arg(1), w), d.operand(d.arg(2), w),
		d.src32(d.arg(3))
	length := d.src32(d.arg(4))
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var t vec[T]
		a, b, c, n := reg[T](w, in.a), reg[T](w, in.b), reg[uint32](w, in.c), reg[uint32](w, length)
		for i := range t {
			t[i] = arith.Bfi(a[i], b[i], c[i], n[i])
		}
		blend(reg[T](w, in.d), &t, mask)
	}
}

func findBit[T uint32 | int32 | uint64 | int64](d *decoder) {
	shift := d.has("shiftamt")
	bind1(d, each1(func(a T) uint32 { return arith.Bfind(a, shift) }))
}
