package ptx

import (
	"math/bits"

	"bilevel/internal/ptx/syntax"
)

func moveForms() []form {
	c := ClassMove
	return []form{
		{op: "mov", suffixes: "b16|u16|s16", class: c, build: move},
		{op: "mov", suffixes: "b32|u32|s32|f32", class: c, build: move},
		{op: "mov", suffixes: "b64|u64|s64|f64", class: c, build: move},
		{op: "mov", suffixes: "pred", class: c, build: movePredicate},
		{op: "selp", suffixes: "b16|u16|s16|b32|u32|s32|f32", class: c, build: choose[uint32]},
		{op: "selp", suffixes: "b64|u64|s64|f64", class: c, build: choose[uint64]},
		{op: "slct", suffixes: "b16|u16|s16|b32|u32|s32|f32 s32", class: c, build: selectBySign[uint32]},
		{op: "slct", suffixes: "b64|u64|s64|f64 s32", class: c, build: selectBySign[uint64]},
		{op: "slct", suffixes: "ftz? b16|u16|s16|b32|u32|s32|f32 f32", class: c, build: selectBySign[uint32]},
		{op: "slct", suffixes: "ftz? b64|u64|s64|f64 f32", class: c, build: selectBySign[uint64]},
		{op: "cvta", suffixes: "to? global|shared|shared::cta|local|const|param u64", class: c, build: convertAddress},
		{op: "isspacep", suffixes: "global|shared|shared::cta|local|const|param", class: c, build: isSpace},
	}
}

// move is mov between registers, from constants, special registers and addresses, and the packing forms.
func move(d *decoder) {
	d.args(2, 2)
	w := widthOf(typeBits[d.typ()])
	dst, src := d.arg(0), d.arg(1)
	switch {
	case dst.Kind == syntax.Vector:
		d.unpack(dst.List, d.operand(src, w), typeBits[d.typ()])
	case src.Kind == syntax.Vector:
		d.pack(d.dst(dst, w), src.List, typeBits[d.typ()])
	case src.Kind == syntax.Register && specials[src.Name].dynamic:
		d.in.d = d.dst(dst, w)
		s := specials[src.Name].reg
		d.in.run = readClock(s, w == width64)
	case w == width64:
		bind1(d, copyLanes[uint64])
	default:
		bind1(d, copyLanes[uint32])
	}
}

func readClock(s special, wide bool) runner {
	return func(w *warp, in *instr, mask uint32) {
		v := s.value(w, 0)
		for ; mask != 0; mask &= mask - 1 {
			w.setLane(in.d, bits.TrailingZeros32(mask), wide, v)
		}
	}
}

func copyLanes[T word](d, a *vec[T]) { *d = *a }

// unpack is mov.b32 {a, b}, c and the like: equal parts of a register, the lowest first.
func (d *decoder) unpack(parts []syntax.Operand, src int32, size int) {
	part := size / len(parts)
	wide, partWide := size == 64, part == 64
	var dst []int32
	for _, p := range parts {
		if p.Kind == syntax.Register && p.Name == "_" {
			dst = append(dst, -1)
			continue
		}
		dst = append(dst, d.dst(p, widthOf(part)))
	}
	keep := uint64(1)<<part - 1
	d.in.a = src
	d.in.run = func(w *warp, in *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			i := bits.TrailingZeros32(mask)
			v := w.lane(in.a, i, wide)
			for _, off := range dst {
				if off >= 0 {
					w.setLane(off, i, partWide, v&keep)
				}
				v >>= part
			}
		}
	}
}

// pack is mov.b32 c, {a, b} and the like.
func (d *decoder) pack(dst int32, parts []syntax.Operand, size int) {
	part := size / len(parts)
	wide, partWide := size == 64, part == 64
	var src []int32
	for _, p := range parts {
		src = append(src, d.operand(p, widthOf(part)))
	}
	keep := uint64(1)<<part - 1
	d.in.d = dst
	d.in.run = func(w *warp, in *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			i := bits.TrailingZeros32(mask)
			var v uint64
			for k, off := range src {
				v |= w.lane(off, i, partWide) & keep << (k * part)
			}
			w.setLane(in.d, i, wide, v)
		}
	}
}

func movePredicate(d *decoder) {
	d.args(2, 2)
	d.in.d = d.dst(d.arg(0), widthPred)
	if src := d.arg(1); src.Kind == syntax.Integer {
		value := flip(src.Bits != 0)
		d.in.run = func(w *warp, in *instr, mask uint32) { setPredicate(w, in.d, value, mask) }
		return
	}
	d.in.a = d.pred(d.arg(1))
	not := flip(d.arg(1).Not)
	d.in.run = func(w *warp, in *instr, mask uint32) { setPredicate(w, in.d, *w.predicate(in.a)^not, mask) }
}

func choose[T uint32 | uint64](d *decoder) {
	d.args(4, 4)
	w := widthFor[T]()
	d.in.d, d.in.a, d.in.b = d.dst(d.arg(0), w), d.operand(d.arg(1), w), d.operand(d.arg(2), w)
	d.in.c = d.pred(d.arg(3))
	not := flip(d.arg(3).Not)
	d.in.imm = int64(not)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		d, a, b := reg[T](w, in.d), reg[T](w, in.a), reg[T](w, in.b)
		p := *w.predicate(in.c) ^ not
		if mask == fullMask {
			for i := range d {
				v := b[i]
				if p>>i&1 != 0 {
					v = a[i]
				}
				d[i] = v
			}
			return
		}
		for ; mask != 0; mask &= mask - 1 {
			i := bits.TrailingZeros32(mask) & 31
			v := b[i]
			if p>>i&1 != 0 {
				v = a[i]
			}
			d[i] = v
		}
	}
}

// selectBySign is slct: a where c ≥ 0, b elsewhere; NaN and -0 as comparisons have it.
func selectBySign[T uint32 | uint64](d *decoder) {
	if d.typ() == "f32" {
		ftz := d.has("ftz")
		bind3(d, each3(func(a, b T, c float32) T {
			if c >= 0 || ftz && c > -0x1p-126 {
				return a
			}
			return b
		}))
		return
	}
	bind3(d, each3(func(a, b T, c int32) T {
		if c >= 0 {
			return a
		}
		return b
	}))
}

// windowOf is what cvta adds to an address of the space. Addresses of global and constant space are generic ones.
func windowOf(space string) uint64 {
	switch space {
	case "shared", "shared::cta":
		return sharedWindow
	case "local":
		return localWindow
	case "param":
		return paramWindow
	}
	return 0
}

func convertAddress(d *decoder) {
	add := windowOf(d.mods[len(d.mods)-2])
	if d.has("to") {
		add = -add
	}
	bind1(d, each1(func(a uint64) uint64 { return a + add }))
}

func isSpace(d *decoder) {
	d.args(2, 2)
	base := windowOf(d.mods[0])
	constant := d.mods[0] == "const"
	d.in.d, d.in.a = d.dst(d.arg(0), widthPred), d.src64(d.arg(1))
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var p uint32
		for i, addr := range reg[uint64](w, in.a) {
			hit := addr-base < windowBytes
			if base == 0 {
				a := w.block.run.machine.mem.at(addr)
				hit = addr >= paramWindow+windowBytes && (a != nil && a.readonly) == constant
			}
			p |= toWord(hit) << i
		}
		setPredicate(w, in.d, p, mask)
	}
}
