package ptx

import (
	"fmt"
	"math/bits"
	"unsafe"
)

// Which bits are defined. Registers, local and shared memory carry for each bit whether anybody has written it,
// through copies and through operations whose result does not depend on it; what counts is a use: as an address, as
// what decides a branch or whether memory is accessed, as a value stored to global memory or given to an atomic, as an
// operand of synchronisation. Compilers copy and combine undefined bits whose value nobody uses, and so does code that
// moves whole tiles of which part is set; those stay silent.
//
// warp.known has a bit for each lane of each register: all of it is defined. That is all that is looked at mostly.
// Where it is not set, warp.partly says that warp.undefined has the bits that are not; else none is defined.

// undefinedBits are the bits of a lane's register that nobody has written.
func (w *warp) undefinedBits(off int32, lane int, wide bool) uint64 {
	switch {
	case w.known[off>>2]>>lane&1 != 0:
		return 0
	case w.undefined == nil || w.partly[off>>2]>>lane&1 == 0:
		return w.whole(wide)
	case wide:
		return w.undefined[int(off)/8+lane]
	}
	return w.undefined[(int(off)+4*lane)/8] >> (32 * (lane % 2)) & 0xffffffff
}

// whole has a one for every bit of a register.
func (w *warp) whole(wide bool) uint64 {
	if wide {
		return ^uint64(0)
	}
	return 0xffffffff
}

// setUndefined notes which bits of a lane's register nobody has written. Of a predicate bit 0 counts.
func (w *warp) setUndefined(off int32, lane int, wide bool, u uint64) {
	bit := uint32(1) << lane
	if u == 0 {
		w.known[off>>2] |= bit
		return
	}
	w.known[off>>2] &^= bit
	if u == w.whole(wide) {
		if w.undefined != nil {
			w.partly[off>>2] &^= bit
		}
		return
	}
	if w.undefined == nil { // few programs have such bits
		w.undefined, w.partly = make([]uint64, len(w.file)), make([]uint32, len(w.known))
	}
	w.partly[off>>2] |= bit
	if wide {
		w.undefined[int(off)/8+lane] = u
		return
	}
	at, shift := (int(off)+4*lane)/8, 32*(lane%2)
	w.undefined[at] = w.undefined[at]&^(0xffffffff<<shift) | u<<shift
}

// copyBits gives lanes of register to what is known of register from.
func (w *warp) copyBits(to, from int32, wide bool, mask uint32) {
	k := w.known[from>>2]
	w.known[to>>2] = w.known[to>>2]&^mask | k&mask
	for m := mask &^ k; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		w.setUndefined(to, i, wide, w.undefinedBits(from, i, wide))
	}
	w.san.inherit(to, from)
}

// A shade says which bits of a memory are defined: all those of bytes that are known; of the others those that defined
// has a one for.
type shade struct {
	known   bitmap
	defined []byte // nil: none
}

func newShade(n int) *shade { return &shade{known: newBitmap(n)} }

func (h *shade) clear() {
	clear(h.known)
	clear(h.defined)
}

// forget makes n bytes from off on such that nobody has written.
func (h *shade) forget(off, n uint64) {
	h.known.clearRange(off, n)
	if h.defined != nil {
		clear(h.defined[off : off+n])
	}
}

// undefinedBits are the bits of n bytes from off on that nobody has written.
func (h *shade) undefinedBits(off uint64, n int) (u uint64) {
	for i := range uint64(n) {
		if h.known.hasRange(off+i, 1) {
			continue
		}
		b := byte(0xff)
		if h.defined != nil {
			b = ^h.defined[off+i]
		}
		u |= uint64(b) << (8 * i)
	}
	return u
}

// setUndefined notes which bits of n bytes from off on nobody has written.
func (h *shade) setUndefined(off uint64, n int, u uint64) {
	for i := range uint64(n) {
		b := byte(u >> (8 * i))
		if b == 0 {
			h.known.setRange(off+i, 1)
			continue
		}
		h.known.clearRange(off+i, 1)
		if h.defined == nil {
			if b == 0xff {
				continue
			}
			h.defined = make([]byte, 64*len(h.known))
		}
		h.defined[off+i] = ^b
	}
}

// copyRange copies what is known of n bytes.
func (h *shade) copyRange(to, from, n uint64) {
	if h.known.hasRange(from, n) { // as mostly
		h.known.setRange(to, n)
		return
	}
	for i := range n {
		h.setUndefined(to+i, 1, h.undefinedBits(from+i, 1))
	}
}

// move takes what is known along with a load or store of a lane in shared or local memory.
func (s *sanitizer) move(w *warp, in *instr, a *access, lane int, h *shade, off uint64) {
	switch {
	case a.indirect: // of matrices, which look at their elements
		if !a.store {
			s.gaps = s.gaps || !h.known.hasRange(off, uint64(a.bytes()))
		} else {
			h.known.setRange(off, uint64(a.bytes()))
		}
		return
	case a.atomic:
		if a.store {
			h.known.setRange(off, uint64(a.size))
		}
		return
	case !a.store && h.known.hasRange(off, uint64(a.bytes())):
		return
	}
	for k, r := range a.regs {
		at := off + uint64(k*a.size)
		if !a.store {
			if r >= 0 {
				s.loaded(w, in, a, lane, r, h.undefinedBits(at, a.size))
			}
			continue
		}
		if w.known[r>>2]>>lane&1 != 0 {
			h.known.setRange(at, uint64(a.size))
		} else {
			h.setUndefined(at, a.size, w.undefinedBits(r, lane, a.wide)&(^uint64(0)>>(64-8*a.size)))
		}
	}
}

// copied notes what is known of the old value that an exch brings.
func (s *sanitizer) copied(w *warp, in *instr, a *access, lane int, h *shade, off uint64) {
	s.old = h.undefinedBits(off, a.size)
	if r := a.regs[0]; r >= 0 {
		s.loaded(w, in, a, lane, r, s.old)
	}
}

// carry takes along which of n bytes that are copied from shared to global memory nobody has wholly written.
func (s *sanitizer) carry(w *warp, from, to place, n uint64) {
	if from.space != spaceShared || to.alloc == nil {
		return
	}
	for i := range n {
		if w.block.sync.shared.undefinedBits(from.off+i, 1) != 0 {
			to.alloc.known.clearRange(to.off+i, 1)
		}
	}
}

// loaded notes that a register has got undefined bits from memory.
func (s *sanitizer) loaded(w *warp, in *instr, a *access, lane int, r int32, u uint64) {
	if u == 0 {
		return
	}
	if a.signed {
		shift := 64 - 8*a.size
		u = uint64(int64(u<<shift)>>shift) & w.whole(a.wide)
	}
	w.setUndefined(r, lane, a.wide, u)
	s.origins[r] = in.index + 1
}

// inherit makes a register's undefined bits come from where those of another come.
func (s *sanitizer) inherit(to, from int32) {
	if s.origins[from] != 0 {
		s.origins[to] = s.origins[from]
	} else if len(s.origins) > 0 {
		delete(s.origins, to)
	}
}

// stored checks the values that a lane stores to global memory.
func (s *sanitizer) stored(w *warp, in *instr, a *access, lane int) {
	if a.atomic || a.indirect {
		return
	}
	for k, r := range a.regs {
		if w.known[r>>2]>>lane&1 != 0 {
			continue
		}
		keep := ^uint64(0) >> (64 - 8*a.size)
		if u := w.undefinedBits(r, lane, a.wide) & keep; u != 0 {
			s.digest(w, in, lane, w.lane(r, lane, a.wide)&keep, bits.OnesCount64(u))
			s.use(w, in, lane, r, u, 8*a.size, w.prog.meta[in.index].nameOf(r, k), "is stored")
		}
	}
}

// nameOf is the name of a register that an instruction reads.
func (m *meta) nameOf(off int32, element int) string {
	for _, u := range m.uses {
		if u.off == off {
			return u.name
		}
	}
	return fmt.Sprintf("of element %d", element)
}

// use reports a use of undefined bits u among the size bits of a register that matter.
func (s *sanitizer) use(w *warp, in *instr, lane int, off int32, u uint64, size int, name, role string) {
	if s.seenBefore(UninitializedRead, in) {
		return
	}
	text := fmt.Sprintf("register %s, which %s, was never written", name, role)
	all := ^uint64(0) >> (64 - size)
	from := s.origins[off]
	if from != 0 {
		text = fmt.Sprintf("register %s, which %s, comes from memory that nobody has written, by %s", name, role,
			w.place(from-1, lane))
	}
	if u != all && size > 1 {
		text += fmt.Sprintf(" (of its bits %#x)", u)
	}
	s.report(w, UninitializedRead, in, lane, text)
}

// unknown reports the first of the lanes whose register is not wholly defined.
func (s *sanitizer) unknown(w *warp, in *instr, lanes uint32, off int32, name, role string) {
	s.storesOf(in).matters = true // not what it stores alone
	lane := bits.TrailingZeros32(lanes)
	size := w.prog.widths[off]
	if size == 0 {
		size = 1
	}
	s.use(w, in, lane, off, w.undefinedBits(off, lane, size == 64), size, name, role)
}

// before checks the registers that an instruction reads and notes what it writes.
func (s *sanitizer) before(w *warp, in *instr, m, mask uint32) {
	meta := &w.prog.meta[in.index]
	known := w.known
	mem := in.memory()
	unsure := uint32(0) // lanes whose guard is unknown
	if in.guard != alwaysTrue {
		if unsure = mask &^ known[in.guard>>2]; unsure != 0 && (mem != nil || in.flow != flowPlain) {
			s.unknown(w, in, unsure, in.guard, meta.src.Guard, "decides whether it executes")
			unsure = 0
		}
	}
	if in.flow == flowWarp && in.a >= 0 {
		s.members(w, in, m)
	}
	ok := fullMask
	for _, u := range meta.uses {
		k := known[u.off>>2]
		if m&^k == 0 {
			continue
		}
		ok &= k
		switch {
		case mem != nil && u.off == meta.address:
			s.unknown(w, in, m&^k, u.off, u.name, "is the address")
		case mem != nil && u.off != in.guard && (mem.atomic || mem.store && mem.indirect && mem.space != spaceShared):
			s.unknown(w, in, m&^k, u.off, u.name, "is stored")
		case in.flow == flowWarp && u.off == in.a:
			s.unknown(w, in, m&^k, u.off, u.name, "is the mask")
		case in.flow == flowBarrier:
			s.unknown(w, in, m&^k, u.off, u.name, "is an operand of the barrier")
		}
	}
	if ok&m == m && unsure == 0 || mem != nil || meta.check == checkShuffle {
		for _, d := range meta.defs { // what a load or a shuffle brings is noted there
			known[d.off>>2] |= m
		}
		return
	}
	s.propagate(w, in, meta, m, ok, unsure)
}

// branch checks the guard of a branch or exit.
func (s *sanitizer) branch(w *warp, in *instr, mask uint32) {
	if in.guard == alwaysTrue {
		return
	}
	if bad := mask &^ w.known[in.guard>>2]; bad != 0 {
		s.unknown(w, in, bad, in.guard, w.prog.meta[in.index].src.Guard, "decides the branch")
	}
}

// shuffled gives a lane's result the undefined bits of the lane that it reads.
func (s *sanitizer) shuffled(w *warp, dst, src int32, lane int, u uint64) {
	w.setUndefined(dst, lane, false, u)
	s.inherit(dst, src)
}

// sharedOffset is the offset of a place in shared memory.
func (w *warp) sharedOffset(p unsafe.Pointer) uint64 {
	return uint64(uintptr(p) - uintptr(unsafe.Pointer(&w.block.shared[0])))
}

// matrixBits are the undefined bits of what ldmatrix brings a lane of matrix k.
func (w *warp) matrixBits(rows *matrixRows, k, lane int, trans bool) (u uint64) {
	for e := range 2 {
		if p := rows.element(k, lane, e, trans); p != nil {
			u |= w.block.sync.shared.undefinedBits(w.sharedOffset(unsafe.Pointer(p)), 2) << (16 * e)
		}
	}
	return u
}

// elementBits takes what is known along with an element of a WMMA fragment: the bits of keep, shifted in a lane's
// register.
func (w *warp) elementBits(a *access, off int32, lane, shift int, keep, at uint64) {
	known := w.known[off>>2]>>lane&1 != 0
	if a.store && !known {
		w.block.sync.shared.setUndefined(at, a.size, w.undefinedBits(off, lane, false)>>shift&keep)
	} else if !a.store && (w.san.gaps || !known) {
		u := w.block.sync.shared.undefinedBits(at, a.size) & keep
		w.setUndefined(off, lane, false, w.undefinedBits(off, lane, false)&^(keep<<shift)|u<<shift)
	}
}
