package ptx

import (
	"math/bits"
	"strings"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

func convertForms() []form {
	const types = "u8|u16|u32|u64|s8|s16|s32|s64|f16|bf16|f32|f64"
	c := ClassConvert
	return []form{
		{op: "cvt", suffixes: "rn|rz|rm|rp|rni|rzi|rmi|rpi|rna? ftz? relu? satfinite? sat? " + types + "|tf32 " + types,
			class: c, build: convert},
		{op: "cvt", suffixes: "rn|rz relu? satfinite? f16x2|bf16x2 f32", class: c, build: convertPair},
		{op: "cvt", suffixes: "rn satfinite relu? e4m3x2|e5m2x2 f32", class: c, build: func(d *decoder) {
			f, err := arith.CvtToMini(d.mods[len(d.mods)-2], d.mode())
			d.refuse(err)
			bind2(d, each2(f))
		}},
		{op: "cvt", suffixes: "rn satfinite relu? e4m3x2|e5m2x2 f16x2", class: c, build: func(d *decoder) {
			f, err := arith.CvtHalvesToMini(d.mods[len(d.mods)-2], d.mode())
			d.refuse(err)
			bind1(d, each1(f))
		}},
		{op: "cvt", suffixes: "rn relu? f16x2 e4m3x2|e5m2x2", class: c, build: func(d *decoder) {
			f, err := arith.CvtMiniToHalves(d.typ(), d.mode())
			d.refuse(err)
			bind1(d, each1(f))
		}},
	}
}

// refuse fails with err, if there is one.
func (d *decoder) refuse(err error) {
	if err != nil {
		d.fail("%v", err)
	}
}

// quickConversions have loops of their own.
var quickConversions = map[string]func(*decoder){
	"s64.s32":    goConversion[int64, int32](),
	"u64.u32":    goConversion[uint64, uint32](),
	"u32.u64":    goConversion[uint32, uint64](),
	"rn.f32.s32": goConversion[float32, int32](),
	"rn.f32.u32": goConversion[float32, uint32](),
}

// goConversion is a conversion that Go has, with the same rounding.
func goConversion[D, S int32 | uint32 | int64 | uint64 | float32]() func(*decoder) {
	return lanes1(func(d *vec[D], a *vec[S]) {
		for i := range d {
			d[i] = D(a[i])
		}
	})
}

// convert is cvt (PTX ISA 9.7.9.21). Registers may be wider than the types: the source's low part counts, an integer
// result is extended to the register.
func convert(d *decoder) {
	d.args(2, 2)
	n := len(d.mods)
	dstType, srcType := d.mods[n-2], d.mods[n-1]
	dst, src := d.widest(d.arg(0)), d.widest(d.arg(1))
	if quick := quickConversions[strings.Join(d.mods, ".")]; quick != nil && dst == typeBits[dstType] &&
		(src == typeBits[srcType] || src == 0) {
		quick(d)
		return
	}
	f, err := arith.Cvt(dstType, srcType, d.mode())
	if err != nil {
		d.fail("%v", err)
	}
	if src == 0 {
		src = typeBits[srcType]
	}
	if dst < typeBits[dstType] || src < typeBits[srcType] {
		d.fail("the register is narrower than its type")
	}
	keep := ^uint64(0) >> (64 - dst)
	dw, sw := widthOf(dst), widthOf(src)
	d.in.d, d.in.a = d.dst(d.arg(0), dw), d.operand(d.arg(1), sw)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			i := bits.TrailingZeros32(mask)
			w.setLane(in.d, i, dw == width64, f(w.lane(in.a, i, sw == width64))&keep)
		}
	}
}

// widest is the size of the register that an operand names, 0 for other operands.
func (d *decoder) widest(op syntax.Operand) int {
	if r, ok := d.lookup(op.Name); ok && op.Kind == syntax.Register && r.width != widthPred {
		return r.bits
	}
	return 0
}

// convertPair is cvt.f16x2.f32 and cvt.bf16x2.f32: two numbers into one register, the first into its upper half.
func convertPair(d *decoder) {
	m := d.mode()
	f, err := arith.CvtPack(d.mods[len(d.mods)-2], m)
	if err != nil {
		d.fail("%v", err)
	}
	bind2(d, each2(f))
}
