package ptx

import (
	"bytes"
	"fmt"
	"math/bits"
	"unsafe"
)

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

// begin starts an access, whose lanes happen at once. What came before a releasing one has an earlier time.
func (s *sanitizer) begin(w *warp, a *access) {
	s.serial++
	if a.release {
		w.block.sync.now++
	}
	s.past, s.gaps = w.block.sync.past(w.id), false
}

// access checks one lane of a load, store or atomic before it takes place.
func (s *sanitizer) access(w *warp, in *instr, a *access, lane int, p place) {
	s.accessBytes(w, in, a, lane, p, a.bytes())
}

func (s *sanitizer) accessBytes(w *warp, in *instr, a *access, lane int, p place, n int) {
	y := w.block.sync
	size := uint64(n)
	switch p.space {
	case spaceGlobal:
		if a.copies {
			s.copied(w, in, a, lane, &shade{known: p.alloc.known}, p.off)
		} else if !a.store || a.atomic {
			s.initialised(w, in, lane, p.alloc.known, p, n)
		}
		if a.store {
			s.stored(w, in, a, lane)
			p.alloc.save(p.off, size)
			p.alloc.known.setRange(p.off, size)
		}
	case spaceShared:
		if y.pending.anyRange(p.off, size) {
			s.place(w, MissingAsyncWait, in, lane, p,
				fmt.Sprintf("a %s of %s that a cp.async has not brought yet: "+
					"no wait for it has taken place", a.verb(), bytesText(n)))
			if a.store {
				y.shared.known.setRange(p.off, size)
			}
			return
		}
		if a.copies {
			s.copied(w, in, a, lane, &y.shared, p.off)
		} else if a.atomic {
			s.initialised(w, in, lane, y.shared.known, p, n)
		}
		s.move(w, in, a, lane, &y.shared, p.off)
	case spaceLocal:
		s.move(w, in, a, lane, w.localShade, uint64(lane*w.prog.local)+p.off)
		return
	default:
		return
	}
	if (a.strong || a.atomic) && !(a.volatile && s.strictVolatile) {
		s.synchronise(w, a, lane, p)
	}
	if a.keeps && !a.store {
		return // a cas that fails: the one that succeeds tells a race, and a lock is tried very often
	}
	s.race(w, in, a, lane, p, n)
}

func (s *sanitizer) initialised(w *warp, in *instr, lane int, known bitmap, p place, n int) {
	if known.hasRange(p.off, uint64(n)) {
		return
	}
	be := "are"
	if n == 1 {
		be = "is"
	}
	s.place(w, UninitializedRead, in, lane, p,
		fmt.Sprintf("%s %s read that neither the host nor a kernel has written", bytesText(n), be))
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
	now := s.mark(w, in, a, p.space)
	now.lanes = 1 << lane
	for at, end := p.off, p.off+uint64(n); at < end; {
		c := y.cellOf(p, at)
		if c.bytes == nil && at%4 == 0 && end-at >= 4 {
			s.cell(w, in, a, lane, p, c, &now, at, 4)
			at += 4
			continue
		}
		c.split()
		for last := min(end, at&^3+4); at < last; at++ {
			s.cell(w, in, a, lane, p, &c.bytes[at%4], &now, at, 1)
		}
	}
}

// mark is the mark of an access at the present time. Shared memory needs no block: when another one starts in the same
// place, all that was is in the past of its barriers.
func (s *sanitizer) mark(w *warp, in *instr, a *access, where space) mark {
	y := w.block.sync
	m := mark{time: y.now, serial: s.serial, index: in.index, warp: uint8(w.id), scope: a.scope, effect: a.effect()}
	if where == spaceGlobal {
		m.block = y.id
	}
	// Volatile accesses of shared memory are ordinary ones: old code relies on warps in lockstep with them.
	if a.volatile && (where == spaceShared || s.strictVolatile) {
		m.scope = scopeWeak
	}
	return m
}

// cell compares an access of n bytes at p.off = at with the history of its cell, and enters it there.
func (s *sanitizer) cell(w *warp, in *instr, a *access, lane int, p place, c *cell, now *mark, at uint64, n int) {
	if now.races(&c.write, &s.past) {
		s.check(w, in, a, lane, p, &c.write, now, at, n)
	}
	if now.races(&c.strong, &s.past) {
		s.check(w, in, a, lane, p, &c.strong, now, at, n)
	}
	// A load need not look at the ordinary stores of the history: they wrote the value that is there now, or have been
	// reported.
	if h := c.more; h != nil && (now.write() || h.strong > 0) {
		for i := range h.marks {
			if m := &h.marks[i]; (now.write() || m.write() && m.scope != scopeWeak) && now.races(m, &s.past) {
				s.check(w, in, a, lane, p, m, now, at, n)
			}
		}
	}
	if !now.write() {
		s.read(c, now)
		return
	}
	for _, r := range [...]*mark{&c.reads[0], &c.reads[1], &c.foreign} {
		if now.races(r, &s.past) && r.serial != now.serial {
			s.check(w, in, a, lane, p, r, now, at, n)
		}
	}
	c.wrote(now, &s.past)
}

// races says that it takes a closer look to know that m is ordered before now.
func (now *mark) races(m *mark, past *[warpSize]uint32) bool {
	return m.time != 0 && (m.block != now.block || m.time > past[m.warp&31])
}

// check reports a race with the access m, if there is one.
func (s *sanitizer) check(w *warp, in *instr, a *access, lane int, p place, m, now *mark, at uint64, n int) {
	if s.conflicts(w, lane, m, now) && !(m.effect == stores && s.sameValue(w, a, lane, p, at, n)) {
		s.conflict(w, in, p, m, now)
	}
}

// sameValue says whether a store writes the bytes that are there already: then it does not matter which thread comes
// last.
func (s *sanitizer) sameValue(w *warp, a *access, lane int, p place, at uint64, n int) bool {
	if !a.store || a.atomic || a.indirect {
		return false
	}
	var value [16]byte
	for k, r := range a.regs {
		storeElement(unsafe.Pointer(&value[k*a.size]), a.size, false, w.lane(r, lane, a.wide))
	}
	from := int(at - p.off)
	there := unsafe.Slice((*byte)(unsafe.Add(p.ptr, from)), n)
	return bytes.Equal(there, value[from:from+n])
}

// accessName names an access in a message.
func (m *mark) accessName() string {
	switch {
	case m.effect == reads:
		return "load"
	case m.effect != stores:
		return "atomic"
	}
	return "store"
}

// conflict reports a race.
func (s *sanitizer) conflict(w *warp, in *instr, p place, m, now *mark) {
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
	lane := bits.TrailingZeros32(now.lanes)
	thread := w.block.warps[m.warp].thread(i)
	where := ""
	if m.block != now.block {
		n := uint64(m.block - 1)
		x, y := uint64(s.run.launch.Grid[0]), uint64(s.run.launch.Grid[1])
		where = fmt.Sprintf(" of block [%d %d %d]", n%x, n/x%y, n/x/y)
	}
	article := "a"
	if name := now.accessName(); name == "atomic" {
		article = "an"
	}
	s.place(w, kind, in, lane, p, fmt.Sprintf("%s %s races with the %s of thread %v%s at %s: %s", article,
		now.accessName(), m.accessName(), thread, where, w.place(m.index, i), s.why(w, lane, m, now)))
}

// why says what is missing between two accesses.
func (s *sanitizer) why(w *warp, lane int, m, now *mark) string {
	y := w.block.sync
	if t := y.threads[w.id]; t != nil {
		if s.covers(t[lane].seen[0], y, m, m.lanes) || s.covers(t[lane].seen[1], y, m, m.lanes) {
			return "the thread has read what is released behind the other access, but no fence that reaches there is " +
				"behind that read"
		}
	}
	foreign := m.block != now.block
	switch {
	case foreign && m.scope != scopeWeak && now.scope != scopeWeak:
		return "the scope of one ends with its block"
	case foreign:
		return "nothing orders the two blocks"
	case m.warp == now.warp && m.serial == now.serial:
		return "both are of one instruction"
	case m.warp == now.warp:
		return "no bar.warp.sync is between the lanes"
	}
	return "no barrier is between them"
}

// asyncIssued notes the bytes that a cp.async will write: hardware may write them from now on.
func (s *sanitizer) asyncIssued(w *warp, c *asyncCopy) {
	a := access{store: true, space: spaceShared, indirect: true}
	s.begin(w, &a)
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
	y.shared.known.setRange(off, uint64(c.size))
	s.serial++
	done := s.mark(w, c.in, &access{store: true}, spaceShared)
	done.lanes = 1 << lane
	for word := off / 4; word < (off+uint64(c.size))/4; word++ {
		at := &y.cells[word]
		at.write = done
		if at.bytes != nil {
			for i := range at.bytes {
				at.bytes[i].write = done
			}
		}
	}
}

// loads checks a load of whole words by the lanes of mask in global or shared memory whose places are all sound; first
// is where the first lane's is. It is access for each lane, but lanes with one address are one, and words whose last
// stores are behind everybody need no closer look.
func (s *sanitizer) loads(w *warp, in *instr, a *access, pat *pattern, first place) {
	s.begin(w, a)
	y, n := w.block.sync, uint64(a.bytes())
	now := s.mark(w, in, a, first.space)
	known := y.shared.known
	if first.alloc != nil {
		known = first.alloc.known
	}
	past := &s.past
	for _, g := range pat.sharers() {
		p := first
		p.off += g.rel
		p.ptr = unsafe.Add(first.ptr, int(g.rel))
		sound := known.hasRange(p.off, n) && (first.alloc != nil || !y.pending.anyRange(p.off, n))
		now.lanes = g.lanes
		for at := p.off; sound && at < p.off+n; at += 4 {
			c := y.cellOf(p, at)
			sound = c.bytes == nil && c.write.before(past, &now) && c.strong.before(past, &now) &&
				(c.more == nil || c.more.strong == 0)
			if sound {
				s.read(c, &now)
			}
		}
		for m := g.lanes; m != 0 && !sound; m &= m - 1 {
			s.access(w, in, a, bits.TrailingZeros32(m), p)
		}
	}
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
		return &y.cells[at/4]
	}
	return p.alloc.cellAt(at / 4)
}
