package ptx

import (
	"math"
	"math/bits"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

// recentForms are instructions of targets after sm_90 that NVIDIA's compilers and Triton write: packed and mixed
// arithmetic of f32 and reductions of f32 (PTX ISA 8.6 and 8.8).
func recentForms() []form {
	c := ClassFP32
	return []form{
		{op: "fma", suffixes: rounds + " ftz? f32x2", class: c, build: packedFloats(3, arith.Mode.FmaF32)},
		{op: "add", suffixes: rounds + "? ftz? f32x2", class: c, build: packedFloats(2, two(arith.Mode.AddF32))},
		{op: "sub", suffixes: rounds + "? ftz? f32x2", class: c, build: packedFloats(2, two(arith.Mode.SubF32))},
		{op: "mul", suffixes: rounds + "? ftz? f32x2", class: c, build: packedFloats(2, two(arith.Mode.MulF32))},
		{op: "add", suffixes: rounds + "? sat? f32 f16|bf16", class: c,
			build: mixed(1, func(m arith.Mode, a, c, _ uint32) uint32 { return m.AddF32(a, c) })},
		{op: "sub", suffixes: rounds + "? sat? f32 f16|bf16", class: c,
			build: mixed(1, func(m arith.Mode, a, c, _ uint32) uint32 { return m.SubF32(a, c) })},
		{op: "fma", suffixes: rounds + " sat? f32 f16|bf16", class: c, build: mixed(2, arith.Mode.FmaF32)},
		{op: "redux", suffixes: "sync min|max abs? NaN? f32", class: ClassWarp, build: reduceFloats},
	}
}

// two makes a function of three operands of one of two.
func two(f func(m arith.Mode, a, b uint32) uint32) func(m arith.Mode, a, b, c uint32) uint32 {
	return func(m arith.Mode, a, b, _ uint32) uint32 { return f(m, a, b) }
}

// packedFloats is an operation on pairs of f32 in registers of 64 bits.
func packedFloats(operands int, f func(m arith.Mode, a, b, c uint32) uint32) func(*decoder) {
	return func(d *decoder) {
		m := d.mode()
		d.meta.flops = 2 * (operands - 1)
		pair := func(a, b, c uint64) uint64 {
			return uint64(f(m, uint32(a), uint32(b), uint32(c))) |
				uint64(f(m, uint32(a>>32), uint32(b>>32), uint32(c>>32)))<<32
		}
		if operands == 2 {
			bind2(d, each2(func(a, b uint64) uint64 { return pair(a, b, 0) }))
		} else {
			bind3(d, each3(pair))
		}
	}
}

// mixed is an operation of f32 whose first operands are f16 or bf16; the last is f32.
func mixed(narrow int, f func(m arith.Mode, a, b, c uint32) uint32) func(*decoder) {
	return func(d *decoder) {
		typ := d.typ()
		d.mods = d.mods[:len(d.mods)-1]
		m := d.mode()
		d.meta.flops = narrow
		wide, err := arith.Cvt("f32", typ, arith.Mode{})
		if err != nil {
			d.fail("%v", err)
		}
		widen := func(a uint32) uint32 { return uint32(wide(uint64(a & 0xffff))) }
		if narrow == 1 {
			bind2(d, each2(func(a, c uint32) uint32 { return f(m, widen(a), c, 0) }))
		} else {
			bind3(d, each3(func(a, b, c uint32) uint32 { return f(m, widen(a), widen(b), c) }))
		}
	}
}

// extremeFloat is min or max of two numbers, or of three.
func extremeFloat(f func(m arith.Mode, a, b uint32) uint32) func(*decoder) {
	return func(d *decoder) {
		if len(d.src.Args) == 4 && !d.has("xorsign") {
			threeFloats(f)(d)
			return
		}
		flops(1, mode2(f))(d)
	}
}

// threeFloats is min or max of three numbers; with .abs of their magnitudes.
func threeFloats(f func(m arith.Mode, a, b uint32) uint32) func(*decoder) {
	return func(d *decoder) {
		m := arith.Mode{FTZ: d.has("ftz"), NaN: d.has("NaN")}
		keep := ^uint32(0)
		if d.has("abs") {
			keep = math.MaxInt32
		}
		d.meta.flops = 2
		bind3(d, each3(func(a, b, c uint32) uint32 { return f(m, f(m, a&keep, b&keep), c&keep) }))
	}
}

// reduceFloats is redux.sync of f32.
func reduceFloats(d *decoder) {
	d.args(3, 3)
	f := arith.Mode.MinF32
	if d.has("max") {
		f = arith.Mode.MaxF32
	}
	m := arith.Mode{NaN: d.has("NaN")}
	keep := ^uint32(0)
	if d.has("abs") {
		keep = math.MaxInt32
	}
	dst, src := d.dst(d.arg(0), width32), d.src32(d.arg(1))
	d.members(2)
	d.in.run = func(w *warp, in *instr, mask uint32) {
		a := reg[uint32](w, src)
		w.teams(in, mask, func(team uint32) {
			first := bits.TrailingZeros32(team) & 31
			v := f(m, a[first]&keep, a[first]&keep) // a NaN alone becomes the canonical one
			for rest := team & (team - 1); rest != 0; rest &= rest - 1 {
				v = f(m, v, a[bits.TrailingZeros32(rest)&31]&keep)
			}
			fill(reg[uint32](w, dst), v, team)
		})
	}
}

// policies are cache policies: advice, of which nothing is left but the register that holds one.
func policyForms() []form {
	const (
		kinds = "L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged "
		rest  = "L2::evict_first|L2::evict_unchanged? b64"
	)
	policy := func(d *decoder) {
		d.in.d = d.dst(d.arg(0), width64)
		for _, op := range d.src.Args[1:] {
			switch op.Kind {
			case syntax.Register:
				r, ok := d.lookup(op.Name)
				if !ok {
					d.fail("%s is not a register", op.Name)
				}
				d.use(r.off, op.Name)
			case syntax.Address:
				a := access{base: -1}
				d.address(&a, op)
			}
		}
		d.in.run = func(w *warp, in *instr, mask uint32) {
			for ; mask != 0; mask &= mask - 1 {
				w.setLane(in.d, bits.TrailingZeros32(mask), true, 0)
			}
		}
	}
	return []form{
		{op: "createpolicy", suffixes: "fractional " + kinds + rest, class: ClassMove, build: policy},
		{op: "createpolicy", suffixes: "range global? " + kinds + rest, class: ClassMove, build: policy},
		{op: "createpolicy", suffixes: "cvt L2 b64", class: ClassMove, build: policy},
	}
}
