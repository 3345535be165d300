package ptx

import (
	"bytes"
	"fmt"
	"math/bits"
	"unsafe"
)

// A mark is the last access of a kind to a word.
type mark struct {
	block  uint32
	time   uint32 // 0: none
	serial uint32
	lanes  uint32
	index  int32
	warp   uint8
	bytes  uint8 // of the word, a bit each
	atomic bool
}

// A cell is the history of a word of four bytes: its last ordinary store, its last atomic (or strong store), its last load,
// and the last load by another warp.
type cell struct {
	write  mark
	atomic mark
	reads  [2]mark
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

// race compares an access with what other threads did to the same words and no synchronisation orders before it.
func (s *sanitizer) race(w *warp, in *instr, a *access, lane int, p place, n int) {
	y := w.block.sync
	now := mark{block: y.id, time: y.now, serial: s.serial, lanes: 1 << lane, index: in.index, warp: uint8(w.id),
		// Volatile accesses of shared memory are ordinary ones: old code relies on warps in lockstep with them.
		atomic: a.atomic || a.strong && (p.space == spaceGlobal || a.acquire || a.release || !volatile(w, in))}
	for at, end := p.off, p.off+uint64(n); at < end; {
		word := at / 4
		last := min(end, word*4+4)
		now.bytes = uint8((1<<(last-word*4) - 1) &^ (1<<(at-word*4) - 1))
		var c *cell
		if p.space == spaceShared {
			c = &y.shared[word]
			c.forget(y.start)
		} else {
			c = p.alloc.cellAt(word)
		}
		s.cell(w, in, a, lane, p, c, &now, at)
		at = last
	}
}

// forget drops what a block did that ran before in the same place.
func (c *cell) forget(start uint32) {
	for _, m := range [...]*mark{&c.write, &c.atomic, &c.reads[0], &c.reads[1]} {
		if m.time <= start {
			m.time = 0
		}
	}
}

func volatile(w *warp, in *instr) bool {
	for _, m := range w.prog.meta[in.index].src.Mods {
		if m == "volatile" {
			return true
		}
	}
	return false
}

func (s *sanitizer) cell(w *warp, in *instr, a *access, lane int, p place, c *cell, now *mark, at uint64) {
	y := w.block.sync
	if !a.store {
		if c.write.conflicts(y, now) {
			s.conflict(w, in, lane, p, &c.write, "a load", "the store")
		}
		if c.atomic.conflicts(y, now) {
			s.conflict(w, in, lane, p, &c.atomic, "a load", "the atomic")
		}
		r := &c.reads[0]
		switch {
		case r.time == now.time && r.block == now.block && r.warp == now.warp && r.atomic == now.atomic:
			r.lanes |= now.lanes
			r.bytes |= now.bytes
			r.index, r.serial = now.index, now.serial
		case r.time != 0 && (r.block != now.block || r.warp != now.warp):
			c.reads[1], c.reads[0] = *r, *now
		default:
			*r = *now
		}
		return
	}
	if c.write.conflicts(y, now) && !s.sameValue(w, in, a, lane, p, &c.write, at, now) {
		s.conflict(w, in, lane, p, &c.write, "a store", "the store")
	}
	if c.atomic.conflicts(y, now) {
		s.conflict(w, in, lane, p, &c.atomic, "a store", "the atomic")
	}
	for i := range c.reads {
		if r := &c.reads[i]; r.serial != now.serial && r.conflicts(y, now) {
			s.conflict(w, in, lane, p, r, "a store", "the load")
		}
	}
	old := &c.write
	if now.atomic {
		old = &c.atomic
	}
	if old.serial == now.serial && old.time == now.time && old.warp == now.warp && old.block == now.block {
		old.lanes |= now.lanes
		old.bytes |= now.bytes
		return
	}
	*old = *now
}

// conflicts says whether the access m and the present one touch the same bytes, are not both atomic, and are not ordered.
func (m *mark) conflicts(y *blockSync, now *mark) bool {
	if m.time == 0 || m.bytes&now.bytes == 0 || m.atomic && now.atomic {
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
func (s *sanitizer) sameValue(w *warp, in *instr, a *access, lane int, p place, old *mark, at uint64, now *mark) bool {
	if old.index != in.index || a.atomic || len(a.regs) == 0 || a.size*len(a.regs) != a.bytes() || in.memory() != a {
		return false
	}
	var value [16]byte
	for k, r := range a.regs {
		storeElement(unsafe.Pointer(&value[k*a.size]), a.size, false, w.lane(r, lane, a.wide))
	}
	n := bits.OnesCount8(now.bytes)
	from := int(at - p.off)
	there := unsafe.Slice((*byte)(unsafe.Add(p.ptr, from)), n)
	return bytes.Equal(there, value[from:from+n])
}

// conflict reports a race.
func (s *sanitizer) conflict(w *warp, in *instr, lane int, p place, m *mark, what, other string) {
	kind := GlobalRace
	if p.space == spaceShared {
		kind = SharedRace
	}
	if s.seenBefore(kind, in) {
		return
	}
	b := w.block
	i := bits.TrailingZeros32(m.lanes &^ (1 << lane))
	if m.block != b.sync.id || int(m.warp) != w.id {
		i = bits.TrailingZeros32(m.lanes)
	}
	thread := b.warps[m.warp].thread(i)
	where, why := "", "no barrier is between them"
	switch {
	case m.block != b.sync.id:
		n := uint64(m.block - 1)
		x, y := uint64(s.run.launch.Grid[0]), uint64(s.run.launch.Grid[1])
		where = fmt.Sprintf(" of block [%d %d %d]", n%x, n/x%y, n/x/y)
		why = "nothing orders the two blocks"
	case int(m.warp) == w.id && m.serial == s.serial:
		why = "both are of one instruction"
	case int(m.warp) == w.id:
		why = "no bar.warp.sync is between the lanes"
	}
	s.place(w, kind, in, lane, p, fmt.Sprintf("%s races with %s of thread %v%s at %s: %s", what, other, thread, where,
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
	for word := off / 4; word < (off+uint64(c.size))/4; word++ {
		s.serial++
		y.shared[word].write = mark{block: y.id, time: y.now, serial: s.serial, lanes: 1 << lane, index: c.in.index, warp: uint8(w.id), bytes: 15}
	}
}
