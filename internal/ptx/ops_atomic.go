package ptx

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/syntax"
)

// An update computes the new value of an atomic from the old one and its operands, bits of the type in the low part.
type update func(old, b, c uint64) uint64

func atomicForms() []form {
	const where = "cta|cluster|gpu|sys? global|shared|shared::cta? L2::cache_hint? "
	orders := map[string]string{"atom": "relaxed|acquire|release|acq_rel? " + where, "red": "relaxed|release? " + where}
	var rows []form
	for _, r := range []struct {
		suffixes string
		both     bool // red has it too
		f        func(typ string, global bool) update
	}{
		{"and b32|b64", true, fixed(func(old, b, _ uint64) uint64 { return old & b })},
		{"or b32|b64", true, fixed(func(old, b, _ uint64) uint64 { return old | b })},
		{"xor b32|b64", true, fixed(func(old, b, _ uint64) uint64 { return old ^ b })},
		{"exch b32|b64", false, fixed(func(_, b, _ uint64) uint64 { return b })},
		{"cas b16|b32|b64", false, fixed(func(old, b, c uint64) uint64 {
			if old == b {
				return c
			}
			return old
		})},
		{"add u32|s32|u64", true, fixed(func(old, b, _ uint64) uint64 { return old + b })},
		{"add f32|f64", true, floatAdd},
		{"add noftz f16|f16x2|bf16|bf16x2", true, halfAdd},
		{"inc u32", true, fixed(func(old, b, _ uint64) uint64 {
			if old >= b {
				return 0
			}
			return old + 1
		})},
		{"dec u32", true, fixed(func(old, b, _ uint64) uint64 {
			if old == 0 || old > b {
				return b
			}
			return old - 1
		})},
		{"min u32|s32|u64|s64", true, extreme(true)},
		{"max u32|s32|u64|s64", true, extreme(false)},
	} {
		build := func(d *decoder) { d.atomic(r.f) }
		for _, name := range []string{"atom", "red"} {
			if name == "red" && !r.both {
				continue
			}
			rows = append(rows, form{op: name, suffixes: orders[name] + r.suffixes, class: ClassAtomic, build: build})
		}
	}
	return rows
}

func fixed(f update) func(string, bool) update { return func(string, bool) update { return f } }

// floatAdd is the addition of atomics: of f32 in global memory with subnormals flushed, elsewhere not (PTX ISA 9.7.13).
func floatAdd(typ string, global bool) update {
	if typ == "f64" {
		return func(old, b, _ uint64) uint64 { return arith.Mode{}.AddF64(old, b) }
	}
	if global {
		m := arith.Mode{FTZ: true}
		return func(old, b, _ uint64) uint64 { return uint64(m.AddF32(uint32(old), uint32(b))) }
	}
	return func(old, b, _ uint64) uint64 { return uint64(arith.AddRN(uint32(old), uint32(b))) }
}

func halfAdd(typ string, _ bool) update {
	h := arith.F16()
	if typ == "bf16" || typ == "bf16x2" {
		h = arith.BF16()
	}
	add := func(a, b uint16) uint16 { return h.Add(arith.Mode{}, a, b) }
	if typ == "f16" || typ == "bf16" {
		return func(old, b, _ uint64) uint64 { return uint64(add(uint16(old), uint16(b))) }
	}
	return func(old, b, _ uint64) uint64 { return uint64(arith.Pack2(add, uint32(old), uint32(b))) }
}

func extreme(least bool) func(string, bool) update {
	return func(typ string, _ bool) update {
		less := map[string]func(a, b uint64) bool{
			"u32": func(a, b uint64) bool { return a < b },
			"u64": func(a, b uint64) bool { return a < b },
			"s32": func(a, b uint64) bool { return int32(a) < int32(b) },
			"s64": func(a, b uint64) bool { return int64(a) < int64(b) },
		}[typ]
		return func(old, b, _ uint64) uint64 {
			if less(b, old) == least {
				return b
			}
			return old
		}
	}
}

// An atomicOp is a decoded atom or red.
type atomicOp struct {
	access access
	keeps  access    // where the new value is the old one
	apply  [2]update // by whether the place is in global memory
	dst    int32     // -1 for red
	b, c   int32
	float  string // type of a floating-point addition, for the sanitizer
}

func (d *decoder) atomic(f func(typ string, global bool) update) {
	typ := d.typ()
	args := d.src.Args
	op := atomicOp{dst: -1}
	hints := d.hints()
	args = args[:len(args)-hints]
	if d.src.Op == "atom" {
		d.args(3+hints, 4+hints)
		args = args[1:]
	} else {
		d.args(2+hints, 2+hints)
	}
	op.access = d.access(args[0])
	op.access.atomic, op.access.store, op.access.scope = true, true, d.scope()
	op.access.blind = d.src.Op == "red"
	op.access.copies = d.has("exch")
	op.access.wide = op.access.size == 8
	op.access.regs = make([]int32, 1)
	if d.has("acq_rel") {
		op.access.acquire, op.access.release = true, true
	}
	op.keeps = op.access
	op.keeps.keeps = true
	d.meta.class = ClassAtomic
	w := widthOf(typeBits[typ])
	op.b = d.operand(args[1], w)
	op.c = op.b
	if d.has("cas") {
		if len(args) < 3 {
			d.fail("cas needs two values")
		}
		op.c = d.operand(args[2], w)
		op.keeps.store, op.keeps.release = false, false // a cas that fails only reads
	} else if len(args) > 2 {
		d.fail("too many operands")
	}
	if d.src.Op == "atom" && !(d.arg(0).Kind == syntax.Register && d.arg(0).Name == "_") {
		op.dst = d.dst(d.arg(0), w)
	}
	op.access.regs[0] = op.dst
	if d.has("add") && (typ[0] == 'f' || typ[0] == 'b') {
		op.float = typ
		d.meta.flops = 1
		if typ == "f64" {
			d.meta.kind = flop64
		}
	}
	op.apply = [2]update{f(typ, false), f(typ, true)}
	d.in.x = &extra{access: op.access}
	d.in.run = func(w *warp, in *instr, mask uint32) { w.atomic(in, &op, mask) }
}

// atomic executes an atomic lane by lane, in an order that the seed turns round.
func (w *warp) atomic(in *instr, op *atomicOp, mask uint32) {
	a := &op.access
	var addr vec[uint64]
	w.addresses(a, &addr)
	w.observe(in, a, &addr, mask)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for m := mask; m != 0; {
		i := w.block.nextLane(m)
		m &^= 1 << i
		p := w.locate(in, a, i, addr[i], a.size)
		if p.ptr == nil {
			continue
		}
		b, c := w.lane(op.b, i, a.wide), w.lane(op.c, i, a.wide)
		if w.san != nil {
			w.san.access(w, in, op.effect(p, b, c), i, p)
		}
		global := p.space == spaceGlobal
		old := exchange(p.ptr, a.size, global, b, c, op.apply[toWord(global)])
		if w.san != nil && op.float != "" {
			w.san.floatAdd(w, in, op, i, p, old, b)
		}
		if w.san != nil && a.copies && w.block.run.refill != 0 {
			old ^= mix(w.block.run.refill) & w.san.old // see fillUndefined
		}
		if op.dst >= 0 {
			w.setLane(op.dst, i, a.wide, old)
		}
	}
}

// nextLane is the lane of a mask whose atomic comes next.
func (b *block) nextLane(mask uint32) int {
	if b.backwards {
		return 31 - bits.LeadingZeros32(mask)
	}
	return bits.TrailingZeros32(mask)
}

// effect is the access that an atomic is in the end: it may write the value that is there already.
func (op *atomicOp) effect(p place, b, c uint64) *access {
	keep := ^uint64(0) >> (64 - 8*op.access.size)
	old := loadElement(p.ptr, op.access.size, false)
	if op.apply[toWord(p.space == spaceGlobal)](old, b&keep, c&keep)&keep == old {
		return &op.keeps
	}
	return &op.access
}

// exchange replaces the value at p by f of it. Blocks share global memory, so there it is one atomic step.
func exchange(p unsafe.Pointer, size int, shared bool, b, c uint64, f update) uint64 {
	if !shared {
		old := loadElement(p, size, false)
		storeElement(p, size, false, f(old, b, c))
		return old
	}
	switch size {
	case 2:
		word := (*uint32)(unsafe.Pointer(uintptr(p) &^ 3))
		shift := (uintptr(p) & 2) * 8
		for {
			old := atomic.LoadUint32(word)
			v := uint32(f(uint64(old>>shift&0xffff), b&0xffff, c&0xffff)) & 0xffff
			if atomic.CompareAndSwapUint32(word, old, old&^(0xffff<<shift)|v<<shift) {
				return uint64(old >> shift & 0xffff)
			}
		}
	case 4:
		for {
			old := atomic.LoadUint32((*uint32)(p))
			if atomic.CompareAndSwapUint32((*uint32)(p), old, uint32(f(uint64(old), b, c))) {
				return uint64(old)
			}
		}
	}
	for {
		old := atomic.LoadUint64((*uint64)(p))
		if atomic.CompareAndSwapUint64((*uint64)(p), old, f(old, b, c)) {
			return old
		}
	}
}
