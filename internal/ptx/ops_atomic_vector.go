package ptx

import (
	"unsafe"

	"bilevel/internal/ptx/syntax"
)

// vectorAtomicForms are additions to several neighbours in global memory at once, each by itself atomic (PTX ISA 8.1,
// sm_90).
func vectorAtomicForms() []form {
	var rows []form
	for _, types := range []struct {
		words string
		f     func(typ string, global bool) update
	}{{"v2|v4 f32", floatAdd}, {"noftz v2|v4|v8 f16|bf16", halfAdd}, {"noftz v2|v4 f16x2|bf16x2", halfAdd}} {
		build := func(d *decoder) { d.vectorAtomic(types.f) }
		const where = "cta|cluster|gpu|sys? global? L2::cache_hint? add "
		rows = append(rows,
			form{op: "atom", suffixes: "relaxed|acquire|release|acq_rel? " + where + types.words, class: ClassAtomic,
				build: build},
			form{op: "red", suffixes: "relaxed|release? " + where + types.words, class: ClassAtomic, build: build})
	}
	return rows
}

func (d *decoder) vectorAtomic(f func(typ string, global bool) update) {
	typ, n := d.typ(), map[string]int{"v2": 2, "v4": 4, "v8": 8}[d.which("v2", "v4", "v8")]
	args := d.src.Args[:len(d.src.Args)-d.hints()]
	width := widthOf(typeBits[typ])
	to := make([]int32, n)
	for i := range to {
		to[i] = -1
	}
	list := func(op syntax.Operand) []syntax.Operand {
		if op.Kind != syntax.Vector || len(op.List) != n {
			d.fail("%d registers in braces are expected", n)
		}
		return op.List
	}
	if d.src.Op == "atom" {
		d.args(3, 4)
		if d.arg(0).Name != "_" {
			for i, x := range list(d.arg(0)) {
				if x.Name != "_" {
					to[i] = d.dst(x, width)
				}
			}
		}
		args = args[1:]
	}
	if len(args) != 2 {
		d.fail("an address and %d values are expected", n)
	}
	op := atomicOp{access: d.access(args[0])}
	a := &op.access
	a.atomic, a.store, a.wide, a.regs, a.scope = true, true, false, make([]int32, n), d.scope()
	if d.has("acq_rel") {
		a.acquire, a.release = true, true
	}
	if n*a.size > 16 {
		d.fail("%d bytes are too many for one access", n*a.size)
	}
	var values []int32
	for _, x := range list(args[1]) {
		values = append(values, d.operand(x, width))
	}
	op.float, d.meta.class, d.meta.flops = typ, ClassAtomic, n
	apply := f(typ, true)
	d.in.x = &extra{access: op.access}
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var addr vec[uint64]
		w.addresses(a, &addr)
		w.observe(in, a, &addr, mask)
		if w.san != nil {
			w.san.begin(w, a)
		}
		for m := mask; m != 0; {
			i := w.block.nextLane(m)
			m &^= 1 << i
			p := w.locate(in, a, i, addr[i&31], a.bytes())
			if p.ptr == nil || p.space != spaceGlobal {
				continue
			}
			if w.san != nil {
				w.san.access(w, in, a, i, p)
			}
			for k, v := range values {
				part := p
				part.ptr, part.off = unsafe.Add(p.ptr, k*a.size), p.off+uint64(k*a.size)
				b := w.lane(v, i, false)
				old := exchange(part.ptr, a.size, true, b, 0, apply)
				if w.san != nil {
					w.san.floatAdd(w, in, &op, i, part, old, b)
				}
				if to[k] >= 0 {
					w.setLane(to[k], i, false, old)
				}
			}
		}
	}
}
