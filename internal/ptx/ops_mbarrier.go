package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"

	"bilevel/internal/ptx/syntax"
)

// A barrier object (PTX ISA 9.7.13.15) is an opaque word of 64 bits in shared memory. Here it holds, from the lowest
// bit up, the arrivals that a phase expects (20 bits), those it still waits for (20 bits), the bytes of copies it still
// waits for (21 bits, signed) and the parity of the phase.
type barrierObject struct {
	expected, pending int64
	bytes             int64
	phase             uint64
}

const maxArrivals = 1<<20 - 1

func unpackObject(u uint64) barrierObject {
	return barrierObject{int64(u & maxArrivals), int64(u >> 20 & maxArrivals), int64(u<<3) >> 43, u >> 63}
}

func (b barrierObject) pack() uint64 {
	return uint64(b.expected)&maxArrivals | uint64(b.pending)&maxArrivals<<20 | uint64(b.bytes)&(1<<21-1)<<40 |
		b.phase<<63
}

// complete ends the phase when nothing is missing.
func (b *barrierObject) complete() {
	if b.pending == 0 && b.bytes == 0 {
		b.phase ^= 1
		b.pending = b.expected
	}
}

func barrierObjectForms() []form {
	const (
		at     = "shared|shared::cta? b64"
		remote = "shared|shared::cta|shared::cluster? b64" // a cluster has one block
	)
	c := ClassAtomic
	return []form{
		{op: "mbarrier", suffixes: "init " + at, class: c, build: objectOp(objectInit)},
		{op: "mbarrier", suffixes: "inval " + at, class: c, build: objectOp(objectInvalid)},
		{op: "mbarrier", suffixes: "expect_tx " + remote, class: c, build: objectOp(objectExpect)},
		{op: "mbarrier", suffixes: "expect_tx relaxed cta|cluster " + remote, class: c, build: objectOp(objectExpect)},
		{op: "mbarrier", suffixes: "complete_tx " + remote, class: c, build: objectOp(objectComplete)},
		{op: "mbarrier", suffixes: "complete_tx relaxed cta|cluster " + remote, class: c,
			build: objectOp(objectComplete)},
		{op: "mbarrier", suffixes: "arrive|arrive_drop expect_tx? " + remote, class: c, build: objectOp(objectArrive)},
		{op: "mbarrier", suffixes: "arrive|arrive_drop expect_tx? release|relaxed cta|cluster " + remote, class: c,
			build: objectOp(objectArrive)},
		{op: "mbarrier", suffixes: "arrive|arrive_drop noComplete " + at, class: c, build: objectOp(objectArrive)},
		{op: "mbarrier", suffixes: "arrive|arrive_drop noComplete release cta " + at, class: c,
			build: objectOp(objectArrive)},
		{op: "mbarrier", suffixes: "test_wait|try_wait parity? " + at, class: c, build: objectWait},
		{op: "mbarrier", suffixes: "test_wait|try_wait parity? acquire|relaxed cta|cluster " + at, class: c,
			build: objectWait},
		{op: "mbarrier", suffixes: "pending_count b64", class: c, build: func(d *decoder) {
			bind1(d, each1(func(state uint64) uint32 { return uint32(unpackObject(state).pending) }))
		}},
		{op: "cp", suffixes: "async mbarrier arrive noinc? shared|shared::cta? b64", class: ClassAsync,
			build: objectOp(objectAsync)},
	}
}

// An objectStep changes a barrier object by an operand. Its error ends the launch.
type objectStep func(b *barrierObject, n int64, d objectMods) error

// objectMods are the suffixes that change what a step does.
type objectMods struct{ expect, drop, noinc bool }

func objectInit(b *barrierObject, n int64, _ objectMods) error {
	if n < 1 || n > maxArrivals {
		return fmt.Errorf("a barrier object expects 1 to %d arrivals, not %d", maxArrivals, n)
	}
	*b = barrierObject{expected: n, pending: n}
	return nil
}

func objectInvalid(b *barrierObject, _ int64, _ objectMods) error { *b = barrierObject{}; return nil }

func objectExpect(b *barrierObject, n int64, _ objectMods) error {
	if b.bytes += n; b.bytes >= 1<<20 {
		return fmt.Errorf("a barrier object waits for at most %d bytes", 1<<20-1)
	}
	return nil
}

func objectComplete(b *barrierObject, n int64, _ objectMods) error {
	b.bytes -= n
	b.complete()
	return nil
}

func objectArrive(b *barrierObject, n int64, m objectMods) error {
	arrivals := n
	if m.expect {
		arrivals, b.bytes = 1, b.bytes+n
	}
	if b.pending < arrivals {
		return fmt.Errorf("%d arrivals at a barrier object that waits for %d: was it initialised, and for "+
			"enough threads?", arrivals, b.pending)
	}
	if m.drop {
		b.expected -= arrivals
	}
	b.pending -= arrivals
	b.complete()
	return nil
}

// objectAsync counts a thread whose copies are done; without .noinc the object expects one arrival more for that.
func objectAsync(b *barrierObject, _ int64, m objectMods) error {
	if !m.noinc {
		return nil
	}
	return objectArrive(b, 1, objectMods{})
}

// objectAccess is the access to the object behind operand op.
func (d *decoder) objectAccess(op syntax.Operand) access {
	a := access{size: 8, regs: []int32{-1}, wide: true, base: -1, scope: scopeBlock}
	for _, m := range d.mods {
		if s, ok := spaces[m]; ok {
			a.space = s
		}
	}
	if d.has("shared::cluster") { // a cluster of one block
		a.space = spaceShared
	}
	d.address(&a, op)
	return a
}

func objectOp(step objectStep) func(*decoder) {
	return func(d *decoder) {
		args := d.src.Args
		dst := int32(-1)
		if d.which("arrive", "arrive_drop") != "" && d.src.Op == "mbarrier" && len(args) > 0 &&
			args[0].Kind != syntax.Address {
			if args[0].Name != "_" {
				dst = d.dst(args[0], width64)
			}
			args = args[1:]
		}
		if len(args) < 1 || len(args) > 2 {
			d.fail("%d operands, expected an address and a number", len(args))
		}
		a := d.objectAccess(args[0])
		a.store, a.atomic = true, true
		a.release, a.acquire = !d.has("relaxed"), false
		n := d.immediate(1, width32)
		if len(args) > 1 {
			n = d.src32(args[1])
		}
		init := d.has("init") || d.has("inval")
		if init {
			a.atomic, a.release, a.scope = false, false, scopeWeak
		}
		async := d.src.Op == "cp"
		m := objectMods{expect: d.has("expect_tx"), drop: d.has("arrive_drop"), noinc: d.has("noinc")}
		if init { // what is written has no register of its own
			a.regs = []int32{d.immediate(0, width64)}
		}
		d.in.x = &extra{access: a}
		d.in.run = func(w *warp, in *instr, mask uint32) {
			if async {
				w.complete(mask, func(int, uint32) bool { return true })
			}
			w.object(in, &a, mask, func(lane int, b *barrierObject) {
				before := b.pack()
				if err := step(b, int64(reg[uint32](w, n)[lane]), m); err != nil {
					w.halt(Trap, in, 1<<lane, err.Error())
				}
				if dst >= 0 {
					reg[uint64](w, dst)[lane] = before
				}
			})
		}
	}
}

// object runs f on the barrier object of each lane.
func (w *warp) object(in *instr, a *access, mask uint32, f func(lane int, b *barrierObject)) {
	var addr vec[uint64]
	w.addresses(a, &addr)
	w.observe(in, a, &addr, mask)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & 31
		p := w.locate(in, a, lane, addr[lane], 8)
		if p.ptr == nil {
			continue
		}
		if w.san != nil {
			w.san.access(w, in, a, lane, p)
		}
		word := (*uint64)(p.ptr)
		b := unpackObject(*word)
		f(lane, &b)
		*word = b.pack()
	}
}

// objectWait is test_wait and try_wait: whether the phase that a state or a parity names is over. A warp that asks in
// vain lets others run, for it mostly asks again at once.
func objectWait(d *decoder) {
	d.args(3, 4)
	parity := d.has("parity")
	dst := d.dst(d.arg(0), widthPred)
	a := d.objectAccess(d.arg(1))
	a.strong, a.acquire = true, !d.has("relaxed")
	state := int32(-1)
	if parity {
		state = d.src32(d.arg(2))
	} else {
		state = d.src64(d.arg(2))
	}
	if len(d.src.Args) == 4 {
		d.src32(d.arg(3))
	}
	d.in.x = &extra{access: a}
	d.in.run = func(w *warp, in *instr, mask uint32) {
		var over uint32
		w.object(in, &a, mask, func(lane int, b *barrierObject) {
			phase := uint64(0)
			if parity {
				phase = uint64(reg[uint32](w, state)[lane] & 1)
			} else {
				phase = reg[uint64](w, state)[lane] >> 63
			}
			over |= toWord(b.phase != phase) << lane
		})
		setPredicate(w, dst, over, mask)
		if w.san != nil && over != 0 {
			w.san.phaseOver(w)
		}
		if over != mask {
			w.yield = true
		}
	}
}

// phaseOver orders the lanes of a warp, of which one has seen the end of a phase: what they did before they arrived
// comes before what they do now. Other warps are ordered by the release and acquire of the object.
func (s *sanitizer) phaseOver(w *warp) {
	y := w.block.sync
	y.now++
	y.lanes[w.id], y.pairs[w.id] = y.now-1, nil
}

func bulkForms() []form {
	const c = ClassAsync
	return []form{
		{op: "cp", suffixes: "async bulk shared::cluster|shared::cta global mbarrier::complete_tx::bytes " +
			"L2::cache_hint?", class: c, build: bulkToShared},
		{op: "cp", suffixes: "async bulk global shared::cta bulk_group L2::cache_hint?", class: c, build: bulkToGlobal},
		{op: "cp", suffixes: "async bulk commit_group", class: c, build: nothing},
		{op: "cp", suffixes: "async bulk wait_group read?", class: c, build: nothing},
		{op: "cp", suffixes: "async bulk prefetch L2 global L2::cache_hint?", class: c, build: nothing},
	}
}

// Copies in bulk take place at once: what waits for them sees them.
func bulkToShared(d *decoder) {
	hints := d.hints()
	d.args(4+hints, 4+hints)
	to, from := d.bulkEnds(spaceShared, spaceGlobal)
	object := access{space: spaceShared, size: 8, regs: []int32{-1}, wide: true, base: -1, store: true, atomic: true,
		release: true, scope: scopeBlock}
	d.address(&object, d.arg(3))
	size := d.src32(d.arg(2))
	d.in.run = func(w *warp, in *instr, mask uint32) {
		w.copyBulk(in, &to, &from, size, mask)
		w.object(in, &object, mask, func(lane int, b *barrierObject) {
			_ = objectComplete(b, int64(reg[uint32](w, size)[lane]), objectMods{})
		})
	}
}

func bulkToGlobal(d *decoder) {
	hints := d.hints()
	d.args(3+hints, 3+hints)
	to, from := d.bulkEnds(spaceGlobal, spaceShared)
	size := d.src32(d.arg(2))
	d.in.run = func(w *warp, in *instr, mask uint32) { w.copyBulk(in, &to, &from, size, mask) }
}

// bulkEnds are the two ends of a copy, in units of 16 bytes.
func (d *decoder) bulkEnds(toSpace, fromSpace space) (to, from access) {
	zero := d.immediate(0, width64)
	to = access{space: toSpace, store: true, size: 8, regs: []int32{zero, zero}, wide: true, base: -1}
	from = access{space: fromSpace, size: 8, regs: []int32{-1, -1}, wide: true, base: -1}
	d.address(&to, d.arg(0))
	d.address(&from, d.arg(1))
	return to, from
}

func (w *warp) copyBulk(in *instr, to, from *access, size int32, mask uint32) {
	var src, dst vec[uint64]
	w.addresses(from, &src)
	w.addresses(to, &dst)
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & 31
		n := uint64(reg[uint32](w, size)[lane])
		if n%16 != 0 {
			w.halt(Misaligned, in, 1<<lane, fmt.Sprintf("a copy in bulk of %d bytes, which is not a multiple of 16", n))
		}
		w.count.async += n
		for off := uint64(0); off < n; off += 16 {
			p, q := w.locate(in, from, lane, src[lane]+off, 16), w.locate(in, to, lane, dst[lane]+off, 16)
			if p.ptr == nil || q.ptr == nil {
				break
			}
			if w.san != nil {
				w.san.begin(w, to)
				w.san.access(w, in, from, lane, p)
				w.san.access(w, in, to, lane, q)
				w.san.carry(w, p, q, 16)
			}
			copy(unsafe.Slice((*byte)(q.ptr), 16), unsafe.Slice((*byte)(p.ptr), 16))
		}
	}
}
