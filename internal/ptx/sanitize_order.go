package ptx

import (
	"fmt"
	"math/bits"
	"slices"
)

// What orders accesses: barriers of the block, .sync instructions within a warp, and release–acquire pairs: a fence
// followed by an atomic or a volatile, relaxed or releasing store, whose place an atomic or a volatile, relaxed or acquiring
// load reads later. The reader's own fence is not asked for: an atomic's result that other threads wait for is taken as
// acquired, as the widespread last-block reductions have it. Fences and releases count for the whole warp.

// synced is called when the lanes of ready pass a .sync instruction together.
func (s *sanitizer) synced(w *warp, in *instr, ready uint32) {
	y := w.block.sync
	y.now++
	if in.a < 0 || w.live&^reg[uint32](w, in.a)[bits.TrailingZeros32(ready)&31] == 0 && ready == w.live {
		y.lanes[w.id] = y.now - 1
		y.pairs[w.id] = nil
		return
	}
	if y.pairs[w.id] == nil {
		y.pairs[w.id] = make([]uint32, warpSize*warpSize)
	}
	p := y.pairs[w.id]
	w.teams(in, ready, func(team uint32) {
		for a := team; a != 0; a &= a - 1 {
			i := bits.TrailingZeros32(a)
			for b := team; b != 0; b &= b - 1 {
				p[i*warpSize+bits.TrailingZeros32(b)] = y.now - 1
			}
		}
	})
}

// arrive is called before a group is counted in at a barrier.
func (s *sanitizer) arrive(w *warp, in *instr, mask uint32, b *barrier, id, want int) {
	y := w.block.sync
	y.arrived[id][w.id] = y.now
	y.now++
	if len(b.arrived) == 0 {
		return
	}
	for i, m := range b.arrived {
		if m == 0 {
			continue
		}
		if b.want != want {
			s.report(w, DivergentBarrier, in, bits.TrailingZeros32(mask), fmt.Sprintf("it counts %d threads, others came to barrier %d for %d", want, id, b.want))
			return
		}
		other := &w.prog.code[b.at[i]]
		if b.at[i] != in.index && in.x.barrier.aligned && other.x.barrier.aligned && in.x.barrier.kind == other.x.barrier.kind && want == 0 {
			s.report(w, DivergentBarrier, in, bits.TrailingZeros32(mask), fmt.Sprintf("warp %d waits for the same barrier at another instruction, %s", i, w.prog.place(w.prog.meta[b.at[i]].src, "")))
			return
		}
	}
}

// opened is called when a barrier opens: all that arrived is before all that goes on.
func (s *sanitizer) opened(b *block, bar *barrier) {
	y := b.sync
	y.now++
	y.epoch++
	id := 0
	for i := range b.bars {
		if &b.bars[i] == bar {
			id = i
		}
	}
	before := make([]uint32, len(b.warps))
	for i, m := range bar.arrived {
		if m == 0 {
			continue
		}
		for j, t := range y.know[i] {
			before[j] = max(before[j], t)
		}
		before[i] = max(before[i], y.arrived[id][i])
	}
	for i, m := range bar.waiting {
		if m == 0 {
			continue
		}
		for j, t := range before {
			y.know[i][j] = max(y.know[i][j], t)
		}
		y.lanes[i], y.pairs[i] = y.now-1, nil
	}
	if bar.want == 0 {
		s.absent(b, bar)
	}
}

// absent reports threads that exited before a barrier for all: hardware since compute_70 goes on without them, CUDA does
// not promise it.
func (s *sanitizer) absent(b *block, bar *barrier) {
	if b.live == b.threads {
		return
	}
	for i, w := range b.warps {
		gone := w.all &^ w.live
		if gone == 0 {
			continue
		}
		for k, m := range bar.waiting {
			if m != 0 {
				in := &b.warps[k].prog.code[bar.at[k]]
				s.report(b.warps[k], DivergentBarrier, in, bits.TrailingZeros32(m), fmt.Sprintf("lanes %s of warp %d have exited: %d of %d threads are left at the barrier", lanesText(gone), i, b.live, b.threads))
				return
			}
		}
	}
}

// An objectKey is a place that threads synchronise by: an address, or an offset in the shared memory of a block.
type objectKey struct {
	block uint32
	addr  uint64
}

// An object is the history of releases at one place.
type object struct {
	log     []release
	byBlock map[uint32][]int
}

// A release publishes what its warp knew at its last fence.
type release struct {
	block uint32
	times []uint32 // by warp of the block: accesses up to this time are published
	wide  bool     // to other blocks too
	seen  map[*object]int
}

// fence notes what the warp may publish from now on.
func (s *sanitizer) fence(w *warp, wide bool) {
	y := w.block.sync
	times := slices.Clone(y.know[w.id])
	times[w.id] = y.now
	y.now++
	y.fenced[w.id] = times
	y.wide[w.id] = wide
}

func keyOf(w *warp, p place) objectKey {
	if p.space == spaceShared {
		return objectKey{w.block.sync.id, p.off}
	}
	return objectKey{0, p.alloc.base + p.off}
}

// synchronise handles the ordering that a strong access or atomic carries.
func (s *sanitizer) synchronise(w *warp, a *access, p place) {
	y := w.block.sync
	if !a.store || a.atomic {
		if o := s.objects[keyOf(w, p)]; o != nil {
			s.acquire(w, o)
		}
	}
	if !a.store {
		return
	}
	if a.release {
		s.fence(w, true)
	}
	times := y.fenced[w.id]
	if times == nil {
		return
	}
	k := keyOf(w, p)
	o := s.objects[k]
	if o == nil {
		o = &object{byBlock: map[uint32][]int{}}
		s.objects[k] = o
	}
	seen := make(map[*object]int, len(y.seen))
	for x, n := range y.seen {
		seen[x] = n
	}
	o.byBlock[y.id] = append(o.byBlock[y.id], len(o.log))
	o.log = append(o.log, release{y.id, times, y.wide[w.id], seen})
}

// acquire makes the warp know what has been released at o since it looked last.
func (s *sanitizer) acquire(w *warp, o *object) {
	y := w.block.sync
	from := y.seen[o]
	for _, i := range o.byBlock[y.id] { // releases of other warps of the block
		for j, t := range o.log[i].times {
			y.know[w.id][j] = max(y.know[w.id][j], t)
		}
	}
	for _, r := range o.log[from:] {
		if !r.wide {
			continue
		}
		for x, n := range r.seen {
			y.seen[x] = max(y.seen[x], n)
		}
	}
	y.seen[o] = len(o.log)
}

// published says whether an access of another block up to time t has been acquired by this one.
func (y *blockSync) published(m *mark) bool {
	for o, n := range y.seen {
		list := o.byBlock[m.block]
		for k := len(list) - 1; k >= 0; k-- {
			if i := list[k]; i < n && o.log[i].wide && m.time <= o.log[i].times[m.warp] {
				return true
			}
		}
	}
	return false
}
