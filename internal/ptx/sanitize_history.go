package ptx

import "math/bits"

// A mark is an access to a cell.
type mark struct {
	time   uint32 // 0: none
	lanes  uint32
	serial uint32
	block  uint32 // 0 in shared memory
	index  int32
	warp   uint8
	scope  scope // scopeWeak for ordinary accesses
	effect effect
}

// An effect is what an access does to its place.
type effect uint8

const (
	reads   effect = iota
	stores         // not as an atomic
	changes        // as an atomic
	keeps          // as an atomic that writes the value that is there
)

func (m *mark) write() bool { return m.effect != reads }

// effect is that of an access which takes place.
func (a *access) effect() effect {
	switch {
	case !a.store:
		return reads
	case !a.atomic:
		return stores
	case a.keeps:
		return keeps
	}
	return changes
}

// A cell is the history of a word of four bytes: its last ordinary store, its last strong store or atomic, the last
// loads of two warps, and the accesses that these have pushed aside though they were not ordered before them. Once a
// narrower access has touched the word, each byte has a history of its own, since the bytes of a word may belong to
// different threads.
//
// In a program whose warps only barriers of the whole block order (program.simple), loads need no such history:
// whoever stores races with one of the last loads of two warps of a block, or with one of another block.
type cell struct {
	write   mark
	strong  mark
	reads   [2]mark
	foreign mark // a load of another block, of a simple program
	more    *history
	bytes   *[4]cell // nil: the marks are of the whole word
}

// split gives each byte the history of the word.
func (c *cell) split() {
	if c.bytes == nil {
		c.bytes = &[4]cell{*c, *c, *c, *c}
		for i := range c.bytes {
			if c.more != nil {
				h := *c.more
				h.marks = append([]mark(nil), h.marks...)
				c.bytes[i].more = &h
			}
		}
	}
}

// A history is the older accesses of a cell that later ones may yet race with.
type history struct {
	marks  []mark
	strong int // of them strong stores and atomics
	// The last marks are of one block; a bit for each of its warps among them.
	block uint32
	warps uint32
}

const (
	mostForeign = 64 // accesses of other blocks that are kept in a history
	mostKept    = 512
	mostStrong  = 4 // strong stores and atomics: any one of them tells a race with an ordinary access
)

// follows says that the access now makes m needless: whoever is unordered with m and conflicts with it does so with
// now too. That is so when m is ordered before now, and now conflicts with all that m conflicts with.
func (now *mark) follows(m *mark, past *[warpSize]uint32) bool {
	if m.time == 0 {
		return true
	}
	if m.block != now.block || m.scope < now.scope || m.write() && !now.write() {
		return false
	}
	return m.time <= past[m.warp&31] || m.warp == now.warp && m.lanes&^now.lanes == 0
}

// read enters a load.
func (s *sanitizer) read(c *cell, now *mark) {
	r := &c.reads[0]
	if !s.run.prog.simple || now.scope != scopeWeak || r.scope != scopeWeak {
		c.read(now, &s.past)
		return
	}
	switch {
	case r.time == 0:
		*r = *now
	case r.block != now.block:
		c.foreign, c.reads[1], *r = *r, mark{}, *now
	case r.warp != now.warp:
		c.reads[1], *r = *r, *now
	case r.time == now.time || r.time > s.past[r.warp&31]: // other lanes, which nothing orders either
		r.lanes |= now.lanes
		r.time, r.index, r.serial = now.time, now.index, now.serial
	default:
		*r = *now
	}
}

// read enters a load where anything may order accesses.
func (c *cell) read(now *mark, past *[warpSize]uint32) {
	for i := range c.reads {
		r := &c.reads[i]
		if r.time == now.time && r.warp == now.warp && r.block == now.block && r.scope == now.scope {
			r.lanes |= now.lanes
			r.index, r.serial = now.index, now.serial
			return
		}
		if now.follows(r, past) {
			*r = *now
			return
		}
	}
	c.push(&c.reads[1], now, past)
	c.reads[1], c.reads[0] = c.reads[0], *now
}

// wrote enters a store. An atomic that keeps the value stands beside the one that has made it: that one tells whose
// lock it is.
func (c *cell) wrote(now *mark, past *[warpSize]uint32) {
	old := &c.write
	if now.scope != scopeWeak {
		old = &c.strong
	}
	if old.serial == now.serial && old.time == now.time && old.warp == now.warp && old.block == now.block {
		old.lanes |= now.lanes
		return
	}
	if old.effect == changes && now.effect == keeps {
		c.push(now, now, past)
		return
	}
	if !now.follows(old, past) {
		c.push(old, now, past)
	}
	*old = *now
	for i := range c.reads {
		if r := &c.reads[i]; r.time != 0 && now.follows(r, past) {
			*r = mark{}
		}
	}
	if h := c.more; h != nil && len(h.marks) > 0 && now.follows(&h.marks[0], past) {
		h.prune(now, past)
	}
}

// push keeps a mark that now takes the place of.
func (c *cell) push(m, now *mark, past *[warpSize]uint32) {
	if c.more == nil {
		c.more = new(history)
	}
	h := c.more
	if n := len(h.marks); n > 0 && now.follows(&h.marks[n-1], past) {
		h.prune(now, past)
	}
	if m.write() && m.scope != scopeWeak {
		if h.strong >= mostStrong {
			return
		}
		h.strong++
	}
	if m.block != h.block {
		h.block, h.warps = m.block, 0
		h.compact()
	}
	if h.warps>>(m.warp&31)&1 != 0 {
		for i := len(h.marks) - 1; i >= 0 && h.marks[i].block == m.block; i-- {
			o := &h.marks[i]
			if o.warp == m.warp && o.effect == m.effect && o.scope == m.scope && o.lanes&^m.lanes == 0 {
				if m.write() && m.scope != scopeWeak {
					h.strong--
				}
				*o = *m
				return
			}
		}
	}
	if len(h.marks) >= mostKept {
		h.marks = append(h.marks[:0], h.marks[mostKept/2:]...)
	}
	h.warps |= 1 << (m.warp & 31)
	h.marks = append(h.marks, *m)
}

// prune drops what now follows.
func (h *history) prune(now *mark, past *[warpSize]uint32) {
	keep := h.marks[:0]
	h.strong, h.warps = 0, 0
	for i := range h.marks {
		m := &h.marks[i]
		if now.follows(m, past) {
			continue
		}
		if m.write() && m.scope != scopeWeak {
			h.strong++
		}
		if m.block == h.block {
			h.warps |= 1 << (m.warp & 31)
		}
		keep = append(keep, *m)
	}
	h.marks = keep
}

// compact bounds what is kept of other blocks than the last: of each its latest access, and of the blocks the latest
// ones. A store that is ordered behind all of these and yet not behind one that was dropped goes unnoticed.
func (h *history) compact() {
	if len(h.marks) < 2*mostForeign {
		return
	}
	keep := []mark{}
	seen := map[uint32]bool{}
	for i := len(h.marks) - 1; i >= 0 && len(keep) < mostForeign; i-- {
		if m := h.marks[i]; !seen[m.block] {
			seen[m.block] = true
			keep = append(keep, m)
		}
	}
	h.marks, h.strong = h.marks[:0], 0
	for i := len(keep) - 1; i >= 0; i-- {
		if keep[i].write() && keep[i].scope != scopeWeak {
			h.strong++
		}
		h.marks = append(h.marks, keep[i])
	}
}

// before says that the access of the mark is ordered before all accesses of the present warp, or has not been.
func (m *mark) before(past *[warpSize]uint32, now *mark) bool {
	return m.time <= past[m.warp&31] && m.block == now.block || m.time == 0
}

// conflicts says whether the access m and the present one of a lane to the same bytes race: one of them writes, they
// are not both strong with scopes that reach each other, and nothing orders m before.
func (s *sanitizer) conflicts(w *warp, lane int, m, now *mark) bool {
	if m.time == 0 || !m.write() && !now.write() {
		return false
	}
	foreign := m.block != now.block
	if least := min(m.scope, now.scope); least == scopeCard || least == scopeBlock && !foreign {
		return false
	}
	y := w.block.sync
	others := m.lanes
	switch {
	case foreign:
	case m.warp != now.warp:
		if m.time <= y.know[now.warp][m.warp] {
			return false
		}
	default:
		if others &^= now.lanes; others == 0 || m.time <= y.lanes[now.warp] {
			return false
		}
		if p := y.pairs[now.warp]; p != nil {
			for o := others; o != 0; o &= o - 1 {
				if j := bits.TrailingZeros32(o); m.time <= p[lane*warpSize+j] {
					others &^= 1 << j
				}
			}
			if others == 0 {
				return false
			}
		}
	}
	return !s.acquired(w, lane, m, others)
}
