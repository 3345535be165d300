package ptx

import (
	"bytes"
	"fmt"
	"math/bits"
	"unsafe"
)

// A mark is the last access of a kind to a cell.
type mark struct {
	time   uint32 // 0: none
	lanes  uint32
	serial uint32
	block  uint32 // 0 in shared memory
	index  int32
	warp   uint8
	atomic bool
}

// A cell is the history of a word of four bytes: its last ordinary store, its last atomic (or strong store), its last load,
// and the last load by another warp. Once a narrower access has touched the word, each byte has a history of its own, since
// the bytes of a word may belong to different threads.
type cell struct {
	write  mark
	atomic mark
	reads  [2]mark
	bytes  *[4]cell // nil: the marks are of the whole word
}

// split gives each byte the history of the word.
func (c *cell) split() {
	if c.bytes == nil {
		c.bytes = &[4]cell{*c, *c, *c, *c}
	}
}

const pageWords = 256

type shadowPage [pageWords]cell

// cellAt is the cell of a word of global memory.
func (a *allocation) cellAt(word uint64) *cell {
	if a.shadow == nil {
		a.shadow = make([]*shadowPage, a.size/4/pageWords+1)
	}
	p := a.shadow[word/pageWords]
	if p == nil {
		p = new(shadowPage)
		a.shadow[word/pageWords] = p
	}
	return &p[word%pageWords]
}

// begin starts an access, whose lanes happen at once.
func (s *sanitizer) begin() { s.serial++ }

// access checks one lane of a load, store or atomic before it takes place.
func (s *sanitizer) access(w *warp, in *instr, a *access, lane int, p place) {
	s.accessBytes(w, in, a, lane, p, a.bytes())
}

func (s *sanitizer) accessBytes(w *warp, in *instr, a *access, lane int, p place, n int) {
	y := w.block.sync
	off, size := p.off, uint64(n)
	switch p.space {
	case spaceGlobal:
		if !a.store || a.atomic {
			s.initialised(w, in, lane, p.alloc.known, p, n)
		}
		if a.store {
			p.alloc.known.setRange(off, size)
		}
	case spaceShared:
		if y.pending.anyRange(off, size) {
			s.place(w, MissingAsyncWait, in, lane, p, fmt.Sprintf("a %s of %d bytes that a cp.async has not brought yet: no wait for it has taken place", a.verb(), n))
			if a.store {
				y.known.setRange(off, size)
			}
			return
		}
		if !a.store || a.atomic {
			s.initialised(w, in, lane, y.known, p, n)
		}
		if a.store {
			y.known.setRange(off, size)
		}
	case spaceLocal:
		s.local(w, a, lane, p)
		return
	default:
		return
	}
	if a.strong || a.atomic {
		s.synchronise(w, a, p)
	}
	s.race(w, in, a, lane, p, n)
}

// local keeps track of local memory as of registers: a load of bytes never written gives an uninitialised register.
func (s *sanitizer) local(w *warp, a *access, lane int, p place) {
	at := uint64(lane*w.prog.local) + p.off
	for k, r := range a.regs {
		from := at + uint64(k*a.size)
		switch {
		case a.store && w.known[r>>2]>>lane&1 != 0:
			w.localKnown.setRange(from, uint64(a.size))
		case a.store:
			w.localKnown.clearRange(from, uint64(a.size))
		case r >= 0 && !w.localKnown.hasRange(from, uint64(a.size)):
			w.known[r>>2] &^= 1 << lane
		}
	}
}

func (s *sanitizer) initialised(w *warp, in *instr, lane int, known bitmap, p place, n int) {
	if known.hasRange(p.off, uint64(n)) {
		return
	}
	s.place(w, UninitializedRead, in, lane, p, fmt.Sprintf("%d bytes are read that neither the host nor a kernel has written", n))
}

// place reports a fault at a place in memory.
func (s *sanitizer) place(w *warp, kind Kind, in *instr, lane int, p place, message string) {
	if s.seenBefore(kind, in) {
		return
	}
	r := w.describe(kind, in, lane, message)
	o := int64(p.off)
	r.Offset, r.Allocation = &o, spaceNames[p.space]
	if p.alloc != nil {
		r.Allocation = p.alloc.label
	}
	s.add(in, r)
}

// anyRange says whether any of n bits from i up is set.
func (b bitmap) anyRange(i, n uint64) bool {
	for n > 0 {
		k := min(n, 64-i&63)
		if b[i>>6]&((^uint64(0)>>(64-k))<<(i&63)) != 0 {
			return true
		}
		i, n = i+k, n-k
	}
	return false
}

// race compares an access with what other threads did to the same bytes and no synchronisation orders before it.
func (s *sanitizer) race(w *warp, in *instr, a *access, lane int, p place, n int) {
	y := w.block.sync
	now := s.mark(w, in, p.space)
	now.lanes = 1 << lane
	// Volatile accesses of shared memory are ordinary ones: old code relies on warps in lockstep with them.
	now.atomic = a.atomic || a.strong && (p.space == spaceGlobal || a.acquire || a.release || !volatile(w, in))
	for at, end := p.off, p.off+uint64(n); at < end; {
		c := y.cellOf(p, at)
		if c.bytes == nil && at%4 == 0 && end-at >= 4 {
			s.cell(w, in, a, p, c, &now, at, 4)
			at += 4
			continue
		}
		c.split()
		for last := min(end, at&^3+4); at < last; at++ {
			s.cell(w, in, a, p, &c.bytes[at%4], &now, at, 1)
		}
	}
}

// mark is the mark of an access at the present time. Shared memory needs no block: when another one starts in the same place,
// all that was is in the past of its barriers.
func (s *sanitizer) mark(w *warp, in *instr, where space) mark {
	y := w.block.sync
	m := mark{time: y.now, serial: s.serial, index: in.index, warp: uint8(w.id)}
	if where == spaceGlobal {
		m.block = y.id
	}
	return m
}

func volatile(w *warp, in *instr) bool {
	for _, m := range w.prog.meta[in.index].src.Mods {
		if m == "volatile" {
			return true
		}
	}
	return false
}

// cell compares an access of n bytes at p.off = at with the history of its cell, and enters it there.
func (s *sanitizer) cell(w *warp, in *instr, a *access, p place, c *cell, now *mark, at uint64, n int) {
	y := w.block.sync
	if !a.store {
		if c.write.conflicts(y, now) {
			s.conflict(w, in, p, &c.write, now, "a load", "the store")
		}
		if c.atomic.conflicts(y, now) {
			s.conflict(w, in, p, &c.atomic, now, "a load", "the atomic")
		}
		c.read(now)
		return
	}
	if c.write.conflicts(y, now) && !s.sameValue(w, in, a, p, &c.write, now, at, n) {
		s.conflict(w, in, p, &c.write, now, "a store", "the store")
	}
	if c.atomic.conflicts(y, now) {
		s.conflict(w, in, p, &c.atomic, now, "a store", "the atomic")
	}
	for i := range c.reads {
		if r := &c.reads[i]; r.serial != now.serial && r.conflicts(y, now) {
			s.conflict(w, in, p, r, now, "a store", "the load")
		}
	}
	old := &c.write
	if now.atomic {
		old = &c.atomic
	}
	if old.serial == now.serial && old.time == now.time && old.warp == now.warp && old.block == now.block {
		old.lanes |= now.lanes
		return
	}
	*old = *now
}

// read enters a load.
func (c *cell) read(now *mark) {
	r := &c.reads[0]
	switch {
	case r.time == now.time && r.block == now.block && r.warp == now.warp && r.atomic == now.atomic:
		r.lanes |= now.lanes
		r.index, r.serial = now.index, now.serial
	case r.time != 0 && (r.block != now.block || r.warp != now.warp):
		c.reads[1], c.reads[0] = *r, *now
	default:
		*r = *now
	}
}

// conflicts says whether the access m and the present one to the same bytes are not both atomic and not ordered.
func (m *mark) conflicts(y *blockSync, now *mark) bool {
	if m.time == 0 || m.atomic && now.atomic {
		return false
	}
	if m.block != now.block {
		return !y.published(m)
	}
	if m.warp != now.warp {
		return m.time > y.know[now.warp][m.warp]
	}
	others := m.lanes &^ now.lanes
	if others == 0 || m.time <= y.lanes[now.warp] {
		return false
	}
	if p := y.pairs[now.warp]; p != nil {
		i := bits.TrailingZeros32(now.lanes)
		for ; others != 0; others &= others - 1 {
			if m.time > p[i*warpSize+bits.TrailingZeros32(others)] {
				return true
			}
		}
		return false
	}
	return true
}

// sameValue says whether a store writes, by the same instruction, the bytes that are there already: then it does not
// matter which thread comes last.
func (s *sanitizer) sameValue(w *warp, in *instr, a *access, p place, old, now *mark, at uint64, n int) bool {
	if old.index != in.index || a.atomic || len(a.regs) == 0 || a.size*len(a.regs) != a.bytes() || in.memory() != a {
		return false
	}
	lane := bits.TrailingZeros32(now.lanes)
	var value [16]byte
	for k, r := range a.regs {
		storeElement(unsafe.Pointer(&value[k*a.size]), a.size, false, w.lane(r, lane, a.wide))
	}
	from := int(at - p.off)
	there := unsafe.Slice((*byte)(unsafe.Add(p.ptr, from)), n)
	return bytes.Equal(there, value[from:from+n])
}

// conflict reports a race.
func (s *sanitizer) conflict(w *warp, in *instr, p place, m, now *mark, what, other string) {
	kind := GlobalRace
	if p.space == spaceShared {
		kind = SharedRace
	}
	if s.seenBefore(kind, in) {
		return
	}
	i := bits.TrailingZeros32(m.lanes &^ now.lanes)
	if m.block != now.block || m.warp != now.warp {
		i = bits.TrailingZeros32(m.lanes)
	}
	thread := w.block.warps[m.warp].thread(i)
	where, why := "", "no barrier is between them"
	switch {
	case m.block != now.block:
		n := uint64(m.block - 1)
		x, y := uint64(s.run.launch.Grid[0]), uint64(s.run.launch.Grid[1])
		where = fmt.Sprintf(" of block [%d %d %d]", n%x, n/x%y, n/x/y)
		why = "nothing orders the two blocks"
	case m.warp == now.warp && m.serial == now.serial:
		why = "both are of one instruction"
	case m.warp == now.warp:
		why = "no bar.warp.sync is between the lanes"
	}
	s.place(w, kind, in, bits.TrailingZeros32(now.lanes), p, fmt.Sprintf("%s races with %s of thread %v%s at %s: %s", what, other, thread, where,
		w.prog.place(w.prog.meta[m.index].src, w.prog.meta[m.index].text), why))
}

// asyncIssued notes the bytes that a cp.async will write: hardware may write them from now on.
func (s *sanitizer) asyncIssued(w *warp, c *asyncCopy) {
	s.serial++
	a := access{store: true, space: spaceShared, size: 1, regs: make([]int32, c.size)}
	for m := c.mask; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		p := place{c.to[i&31], spaceShared, nil, uint64(c.off[i&31])}
		s.race(w, c.in, &a, i, p, c.size)
		w.block.sync.pending.setRange(p.off, uint64(c.size))
	}
}

// asyncDone is called when a copy has taken place for a lane: it is a store of that lane at the wait.
func (s *sanitizer) asyncDone(w *warp, c *asyncCopy, lane int) {
	y := w.block.sync
	off := uint64(c.off[lane&31])
	y.pending.clearRange(off, uint64(c.size))
	y.known.setRange(off, uint64(c.size))
	s.serial++
	done := s.mark(w, c.in, spaceShared)
	done.lanes = 1 << lane
	for word := off / 4; word < (off+uint64(c.size))/4; word++ {
		at := &y.shared[word]
		at.write = done
		if at.bytes != nil {
			for i := range at.bytes {
				at.bytes[i].write = done
			}
		}
	}
}

// loads checks a load of whole words by the lanes of mask in global or shared memory whose places are all sound; first is
// where the first lane's is. It is access for each lane, but lanes with one address are one, and words whose last stores are
// behind everybody need no closer look.
func (s *sanitizer) loads(w *warp, in *instr, a *access, pat *pattern, first place) {
	s.begin()
	y, n := w.block.sync, uint64(a.bytes())
	now := s.mark(w, in, first.space)
	known := y.known
	if first.alloc != nil {
		known = first.alloc.known
	}
	past := y.past(w.id)
	for _, g := range pat.sharers() {
		p := first
		p.off += g.rel
		p.ptr = unsafe.Add(first.ptr, int(g.rel))
		sound := known.hasRange(p.off, n) && (first.alloc != nil || !y.pending.anyRange(p.off, n))
		now.lanes = g.lanes
		for at := p.off; sound && at < p.off+n; at += 4 {
			c := y.cellOf(p, at)
			if sound = c.bytes == nil && c.write.before(&past, &now) && c.atomic.before(&past, &now); sound {
				c.read(&now)
			}
		}
		for m := g.lanes; m != 0 && !sound; m &= m - 1 {
			s.access(w, in, a, bits.TrailingZeros32(m), p)
		}
	}
}

// before says that the access of the mark is ordered before all accesses of the present warp, or has not been.
func (m *mark) before(past *[warpSize]uint32, now *mark) bool {
	return m.time <= past[m.warp&31] && m.block == now.block || m.time == 0
}

// past is the time, by warp of the block, up to which accesses are ordered before what any lane of warp i does now.
func (y *blockSync) past(i int) (t [warpSize]uint32) {
	copy(t[:], y.know[i])
	t[i] = y.lanes[i]
	return t
}

// cellOf is the cell of the word at an offset in the memory of p.
func (y *blockSync) cellOf(p place, at uint64) *cell {
	if p.space == spaceShared {
		return &y.shared[at/4]
	}
	return p.alloc.cellAt(at / 4)
}
