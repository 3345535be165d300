package ptx

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// A launch in which all threads that are left repeat themselves will never end: a lock that nobody releases, a flag
// that nobody sets. It is found by proof, not by patience: while everything else stands still, every group of lanes
// that can run is run by itself until its registers and program counter are as they were before, and nothing it did has
// changed memory. Then no order of the threads changes anything any more.

const (
	firstCheck  = 1 << 20 // warp instructions before the first look; the next one is after as many again
	shortTurn   = 1 << 9
	checkBudget = 1 << 12 // warp instructions of a group in which it must repeat itself
)

// A watch notes what a group does to memory while it is checked.
type watch struct {
	changed bool
	polled  []int32 // instructions that read memory which other threads may write
}

// check ends the launch if it makes no progress. Other workers stand still meanwhile.
func (e *execution) check(total uint64) {
	e.world.Lock()
	defer e.world.Unlock()
	if total < e.checkAt.Load() {
		return // another worker was faster
	}
	e.checkAt.Store(2 * total)
	e.turn.Store(turnBranches)
	if e.stop.Load() || e.launch.Cooperative && e.begun.Load() < e.runs {
		return
	}
	more := !e.launch.Cooperative && e.next.Load() < e.runs
	var found *stuck
	still, moving := 0, 0
	for _, active := range e.active {
		for _, b := range active {
			if b.live == 0 {
				continue
			}
			s := b.stuck()
			if s == nil {
				moving++
				continue
			}
			if still++; found == nil {
				found = s
				continue
			}
			found.threads += s.threads
			for _, i := range s.polled {
				if !slices.Contains(found.polled, i) {
					found.polled = append(found.polled, i)
				}
			}
		}
	}
	if still <= moving {
		return
	}
	// Blocks that have not begun may bring what the others wait for, and so may those that are not stuck. Short turns
	// make the next look soon.
	room := e.holds - still - moving
	for id, active := range e.active {
		e.wanted[id] = min(max(room, 0)/len(e.active), max(1, len(active)))
	}
	if moving > 0 || more && room >= len(e.active) {
		e.checkAt.Store(total + firstCheck/4)
		e.turn.Store(shortTurn)
		return
	}
	found.report(more)
}

// stuck is a block that makes no progress.
type stuck struct {
	w       *warp
	group   group // one that spins
	threads int
	polled  []int32
}

// stuck returns nil where the block makes progress, or may.
func (b *block) stuck() *stuck {
	var s *stuck
	for _, w := range b.warps {
		if w.live == 0 {
			continue
		}
		if w.retry() {
			return nil
		}
		for _, g := range slices.Clone(w.groups) {
			if g.state != groupReady {
				continue
			}
			polled, spins := w.spins(g.mask)
			if !spins {
				return nil
			}
			if s == nil {
				s = &stuck{w: w, group: g}
			} else {
				s.threads += bits.OnesCount32(g.mask)
			}
			s.polled = append(s.polled, polled...)
		}
	}
	if s != nil {
		s.threads += bits.OnesCount32(s.group.mask)
	}
	return s // nil where all wait: a deadlock, which has reports of its own
}

// spins runs the group of those lanes until its state repeats (Brent's algorithm), and returns what it reads on its
// way. It says false when the group does anything else.
func (w *warp) spins(mask uint32) (polled []int32, yes bool) {
	seed := maphash.MakeSeed()
	w.watch = &watch{}
	defer func() { w.watch = nil }()
	n, start := len(w.groups), w.steps
	var saved uint64
	for round, power := 0, 1; w.steps-start < checkBudget && round < checkBudget; round++ {
		i := slices.IndexFunc(w.groups, func(g group) bool { return g.mask == mask && g.state == groupReady })
		if i < 0 || len(w.groups) != n || w.watch.changed || w.block.run.stop.Load() {
			return nil, false
		}
		state := maphash.Comparable(seed, w.groups[i].pc) ^ maphash.Bytes(seed,
			w.registers()) ^ maphash.Comparable(seed, w.carry)
		switch {
		case round > 0 && state == saved:
			return w.watch.polled, true
		case round == 0 || round == power:
			saved, power = state, 2*max(round, 1)
			w.watch.polled = nil
		}
		w.runGroup(i, 1)
		w.yield = false
	}
	return nil, false
}

// report ends the launch with the lines that spin.
func (s *stuck) report(more bool) {
	lane := bits.TrailingZeros32(s.group.mask)
	var places []string
	at := s.group.pc
	for k, i := range s.polled {
		if k == 0 {
			at = i
		}
		if place := s.w.place(i, lane); !slices.Contains(places, place) && len(places) < 4 {
			places = append(places, place)
		}
	}
	if places == nil {
		places = []string{s.w.place(at, lane)}
	}
	text := fmt.Sprintf(
		"no thread can go on: %d of them repeat %s and nothing that is still running changes what they wait for",
		s.threads, strings.Join(places, " and "))
	if more {
		text += "; the card holds no further blocks that could"
	}
	s.w.halt(NoProgress, &s.w.prog.code[at], s.group.mask, text)
}

// runWatched executes a plain instruction under the sanitizer, or while the warp is checked for progress, or both.
func (w *warp) runWatched(in *instr, m, mask uint32) {
	if w.san != nil {
		w.san.before(w, in, m, mask)
	}
	if w.watch == nil {
		in.run(w, in, m)
		return
	}
	a := in.memory()
	if a == nil || !a.store {
		if a != nil && a.space != spaceParam && a.space != spaceConst && a.space != spaceLocal {
			w.watch.poll(in.index)
		}
		if writesMemory[w.prog.meta[in.index].class] && a == nil {
			w.watch.changed = true
		}
		in.run(w, in, m)
		return
	}
	if a.atomic {
		w.watch.poll(in.index)
	}
	before := w.contents(a, m)
	in.run(w, in, m)
	if !bytes.Equal(before, w.contents(a, m)) {
		w.watch.changed = true
	}
}

func (c *watch) poll(index int32) {
	if !slices.Contains(c.polled, index) {
		c.polled = append(c.polled, index)
	}
}

// writesMemory lists the classes of instructions that may write memory by other ways than an access.
var writesMemory = map[Class]bool{ClassAsync: true, ClassTensor: true, ClassShared: true, ClassGlobal: true,
	ClassLocal: true, ClassAtomic: true}

// contents are the bytes that the lanes of an access reach.
func (w *warp) contents(a *access, mask uint32) (all []byte) {
	var addr vec[uint64]
	w.addresses(a, &addr)
	for ; mask != 0; mask &= mask - 1 {
		lane := bits.TrailingZeros32(mask) & 31
		at := addr[lane]
		switch a.space {
		case spaceShared:
			at += sharedWindow
		case spaceLocal:
			at += localWindow
		}
		all = append(all, w.peek(lane, at, a.bytes())...)
	}
	return all
}
