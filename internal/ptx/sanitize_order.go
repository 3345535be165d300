package ptx

import "math/bits"

// What orders accesses (PTX ISA 9.1, chapter 8): barriers of the block; bar.warp.sync within a warp, but no shuffle,
// vote or other .sync instruction; and a release that an acquire reads.
//
// A release is a strong store or atomic that carries .release or comes after a fence of its thread; it publishes what
// that thread knew at the fence. An acquire is a strong load or atomic that reads it, if it carries .acquire or a
// fence of its thread comes after it. Atomics in between pass a release on, other stores end it. The scopes of all of
// them, fences included, must reach from one thread to the other. In four places the rules here are wider than the
// letter of the model, where much sound code relies on it: the ordinary load that begins a loop of compare and swap
// does not race with atomics (see guesses); a barrier of the block stands for the reader's fence, and so does an atomic
// that reads the release of a flag or counter (the last block of a reduction seldom has another), though not of a lock;
// and what threads have fenced before a barrier, others may release behind it. A lock is released by the thread whose
// atomic was the last to change it.

// A scope is how far a strong access or a fence reaches.
type scope uint8

const (
	scopeWeak  scope = iota // of an access that is not strong
	scopeBlock              // .cta; .cluster too, since every cluster has one block
	scopeCard               // .gpu and .sys
)

// A laneSync is what a thread has learnt and may publish beyond what its whole warp knows.
type laneSync struct {
	extra  *clock // acquired
	seen   [2]*clock
	fenced [2]*clock
	at     [2]uint32
	// By reach, 0 for the block and 1 for the card: seen has been read from releases, without a fence behind it yet;
	// strong stores release what is in fenced, and the thread's own accesses up to the time at.
}

// A barrierState is what the threads know that have arrived at a barrier.
type barrierState struct {
	before []uint32 // by warp, of warps that arrived as a whole
	extra  *clock
	fenced [2]*clock
}

// An object is a place that threads synchronise by: what has been released there.
type object struct {
	lock, flag released
}

// released is what has been released at a place.
type released struct {
	card   *clock
	blocks map[uint32]*clock // to threads of the releasing block itself
}

func (r *released) add(block uint32, toBlock, toCard *clock) {
	if r.blocks == nil {
		r.blocks = map[uint32]*clock{}
	}
	r.blocks[block] = join(r.blocks[block], toBlock)
	r.card = join(r.card, toCard)
}

// An objectKey is an address, or an offset in the shared memory of a block.
type objectKey struct {
	block uint32
	addr  uint64
}

func keyOf(w *warp, p place) objectKey {
	if p.space == spaceShared {
		return objectKey{w.block.sync.id, p.off}
	}
	return objectKey{0, p.alloc.base + p.off}
}

// lanesOf is the laneSyncs of a warp.
func (y *blockSync) lanesOf(warp int) *[warpSize]laneSync {
	if y.threads[warp] == nil {
		y.threads[warp] = new([warpSize]laneSync)
	}
	return y.threads[warp]
}

// knows is what a thread knows of others.
func (s *sanitizer) knows(w *warp, lane int) *clock {
	y := w.block.sync
	if y.bases[w.id] == nil {
		y.bases[w.id] = s.shape.root(y.id, y.baseNode(w.id))
	}
	c := y.bases[w.id]
	if p := y.pairs[w.id]; p != nil {
		c = join(c, s.times(w, (*[warpSize]uint32)(p[lane*warpSize:])))
	}
	if y.threads[w.id] != nil {
		c = join(c, y.threads[w.id][lane].extra)
	}
	return c
}

// baseNode is the node of what a whole warp knows of its block.
func (y *blockSync) baseNode(warp int) *clock {
	know := append([]uint32(nil), y.know[warp]...)
	know[warp] = y.lanes[warp]
	c := &clock{all: know[0]}
	for _, t := range know {
		c.all = min(c.all, t)
	}
	for j, t := range know {
		if t > c.all {
			if c.kids == nil {
				c.kids = new([32]*clock)
			}
			c.kids[j] = &clock{all: t}
		}
	}
	return c
}

// times is the clock that knows the lanes of a warp up to these times.
func (s *sanitizer) times(w *warp, lanes *[warpSize]uint32) *clock {
	kids := new([32]*clock)
	kids[w.id] = &clock{lanes: lanes}
	return s.shape.root(w.block.sync.id, &clock{kids: kids})
}

// upTo is c with a thread's own accesses up to the time t.
func (s *sanitizer) upTo(w *warp, lane int, c *clock, t uint32) *clock {
	if t == 0 {
		return c
	}
	own := new([warpSize]uint32)
	own[lane] = t
	return join(c, s.times(w, own))
}

// acquired says whether a thread has acquired the accesses of a mark by the lanes of others.
func (s *sanitizer) acquired(w *warp, lane int, m *mark, others uint32) bool {
	y := w.block.sync
	return y.threads[w.id] != nil && s.covers(y.threads[w.id][lane].extra, y, m, others)
}

// covers says whether a clock knows the accesses of a mark by some lanes.
func (s *sanitizer) covers(c *clock, y *blockSync, m *mark, lanes uint32) bool {
	if c == nil {
		return false
	}
	block := m.block
	if block == 0 {
		block = y.id
	}
	all, by := s.shape.warp(c, block, m.warp)
	if m.time <= all {
		return true
	}
	if by == nil {
		return false
	}
	for ; lanes != 0; lanes &= lanes - 1 {
		if by[bits.TrailingZeros32(lanes)&31] < m.time {
			return false
		}
	}
	return true
}

// fence acquires what the lanes have read of releases, and notes what they may release from now on.
func (s *sanitizer) fence(w *warp, mask uint32, reach scope) {
	y := w.block.sync
	threads := y.lanesOf(w.id)
	for ; mask != 0; mask &= mask - 1 {
		i := bits.TrailingZeros32(mask) & 31
		t := &threads[i]
		for r := range int(reach) {
			t.extra, t.seen[r] = join(t.extra, t.seen[r]), nil
		}
		known := s.knows(w, i)
		for r := range int(reach) {
			t.fenced[r], t.at[r] = known, y.now
		}
	}
	y.now++
}

// synchronise handles the ordering that a strong access or atomic of one lane carries.
func (s *sanitizer) synchronise(w *warp, a *access, lane int, p place) {
	y := w.block.sync
	if len(s.objects) == 0 && y.threads[w.id] == nil && !a.release {
		return
	}
	k := keyOf(w, p)
	o := s.objects[k]
	if o != nil && (!a.store || a.atomic && !a.blind) {
		s.acquire(w, a, lane, &o.lock, a.acquire)
		s.acquire(w, a, lane, &o.flag, a.acquire || a.atomic)
	}
	if a.store {
		s.release(w, a, lane, p, k)
	}
}

// acquire notes what a thread reads of what has been released. At once says that it needs no fence behind it.
func (s *sanitizer) acquire(w *warp, a *access, lane int, r *released, atOnce bool) {
	y := w.block.sync
	read := [2]*clock{r.blocks[y.id], nil}
	if a.scope == scopeCard {
		read[1] = r.card
	}
	if read == [2]*clock{} {
		return
	}
	s.handedOn = s.handedOn || a.atomic && a.store
	t := &y.lanesOf(w.id)[lane]
	for r, c := range read {
		if atOnce {
			t.extra = join(t.extra, c)
		} else {
			t.seen[r] = join(t.seen[r], c)
		}
	}
}

// release publishes what a thread may release.
func (s *sanitizer) release(w *warp, a *access, lane int, p place, k objectKey) {
	y := w.block.sync
	if !a.atomic {
		delete(s.objects, k)
	}
	var publish [2]*clock
	switch {
	case a.release:
		publish[0] = s.upTo(w, lane, s.knows(w, lane), y.now-1) // begin has begun a new time
		publish[1] = publish[0]
	case y.threads[w.id] != nil:
		t := &y.threads[w.id][lane]
		for r := range publish {
			publish[r] = s.upTo(w, lane, t.fenced[r], t.at[r])
		}
	}
	if a.scope != scopeCard {
		publish[1] = nil
	}
	if publish == [2]*clock{} {
		return
	}
	o := s.objects[k]
	if o == nil {
		o = &object{}
		s.objects[k] = o
	}
	to := &o.flag
	if m := &y.cellOf(p, p.off).strong; m.taken(y, w, lane, p.space) {
		to = &o.lock
	}
	to.add(y.id, publish[0], publish[1])
}

// taken says whether a mark is of an atomic by which the thread itself has changed the value.
func (m *mark) taken(y *blockSync, w *warp, lane int, where space) bool {
	block := y.id
	if where == spaceShared {
		block = 0
	}
	return m.time > 0 && m.effect == changes && m.block == block && int(m.warp) == w.id && m.lanes == 1<<lane
}
