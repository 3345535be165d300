package ptx

import (
	"fmt"
	"math/bits"
)

// How barriers of the block and of warps order what the sanitizer sees; sanitize_order.go has the rest.

// synced is called when the lanes of ready pass a bar.warp.sync together.
func (s *sanitizer) synced(w *warp, in *instr, ready uint32) {
	y := w.block.sync
	y.now++
	y.bases[w.id] = nil
	s.share(w, in, ready)
	if w.live&^reg[uint32](w, in.a)[bits.TrailingZeros32(ready)&31] == 0 && ready == w.live {
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

// share gives the lanes of each team what any of them has acquired or fenced.
func (s *sanitizer) share(w *warp, in *instr, ready uint32) {
	threads := w.block.sync.threads[w.id]
	if threads == nil {
		return
	}
	w.teams(in, ready, func(team uint32) {
		var sum laneSync
		for m := team; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			sum.extra = join(sum.extra, threads[i].extra)
			s.joinFenced(w, i, &sum.fenced)
		}
		for m := team; m != 0; m &= m - 1 {
			t := &threads[bits.TrailingZeros32(m)&31]
			t.extra, t.fenced, t.at = sum.extra, sum.fenced, [2]uint32{}
		}
	})
}

// joinFenced adds what a thread may release.
func (s *sanitizer) joinFenced(w *warp, lane int, to *[2]*clock) {
	t := &w.block.sync.threads[w.id][lane]
	for reach := range to {
		to[reach] = join(to[reach], s.upTo(w, lane, t.fenced[reach], t.at[reach]))
	}
}

// arrive is called before a group is counted in at a barrier.
func (s *sanitizer) arrive(w *warp, in *instr, mask uint32, b *barrier, id, want int) {
	s.checkArrival(w, in, mask, b, id, want)
	y := w.block.sync
	a := &y.bars[id]
	if a.before == nil {
		a.before = make([]uint32, len(y.know))
	}
	if mask == w.live {
		for j, t := range y.know[w.id] {
			a.before[j] = max(a.before[j], t)
		}
		a.before[w.id] = y.now
	}
	if threads := y.threads[w.id]; threads != nil || mask != w.live {
		for m := mask; m != 0; m &= m - 1 {
			i := bits.TrailingZeros32(m)
			if mask != w.live {
				a.extra = join(a.extra, s.upTo(w, i, s.knows(w, i), y.now))
			}
			if threads != nil {
				t := &threads[i&31]
				a.extra = join(join(a.extra, t.extra), join(t.seen[0], t.seen[1]))
				s.joinFenced(w, i, &a.fenced)
			}
		}
	}
	y.now++
}

// checkArrival compares an arrival with those before it.
func (s *sanitizer) checkArrival(w *warp, in *instr, mask uint32, b *barrier, id, want int) {
	for i, m := range b.arrived {
		if m == 0 {
			continue
		}
		if b.want != want {
			s.report(w, DivergentBarrier, in, bits.TrailingZeros32(mask),
				fmt.Sprintf("it counts %d threads, others came to barrier %d for %d", want, id, b.want))
			return
		}
		op, other := &in.x.barrier, &w.prog.code[b.at[i]].x.barrier
		if b.at[i] == in.index || !op.aligned || !other.aligned || op.kind != other.kind || want != 0 {
			continue
		}
		kind, more := SplitBarrier,
			"; each warp came as a whole, so that hardware pairs the two, but CUDA does not allow it"
		if mask != w.live {
			kind, more = DivergentBarrier, ""
		}
		s.report(w, kind, in, bits.TrailingZeros32(mask),
			fmt.Sprintf("warp %d waits for the same barrier at another instruction, %s%s", i,
				w.place(b.at[i], bits.TrailingZeros32(m)), more))
		return
	}
}

// opened is called when a barrier opens: all that arrived is before all that goes on.
func (s *sanitizer) opened(b *block, bar *barrier, id int) {
	y := b.sync
	y.now++
	y.epoch++
	a := &y.bars[id]
	for i, m := range bar.waiting {
		if m != 0 && m == bar.arrived[i] && m == b.warps[i].live {
			a.before[i] = y.now - 1 // it has done nothing since it arrived
		}
	}
	for i, m := range bar.waiting {
		if m == 0 {
			continue
		}
		s.goOn(b.warps[i], m, a)
	}
	clear(a.before)
	a.extra, a.fenced = nil, [2]*clock{}
	if bar.want == 0 {
		s.absent(b, bar)
	}
}

// goOn gives lanes that have waited at a barrier what all know who arrived.
func (s *sanitizer) goOn(w *warp, mask uint32, a *barrierState) {
	y := w.block.sync
	extra := a.extra
	if mask == w.live {
		know := y.know[w.id]
		for j, t := range a.before {
			know[j] = max(know[j], t)
		}
		if a.before[w.id] > y.lanes[w.id] {
			y.lanes[w.id], y.pairs[w.id] = a.before[w.id], nil
		}
		y.bases[w.id] = nil
	} else {
		kids := new([32]*clock)
		for j, t := range a.before {
			kids[j] = &clock{all: t}
		}
		extra = join(extra, s.shape.root(y.id, &clock{kids: kids}))
	}
	if extra == nil && y.threads[w.id] == nil {
		return
	}
	threads := y.lanesOf(w.id)
	for ; mask != 0; mask &= mask - 1 {
		t := &threads[bits.TrailingZeros32(mask)&31]
		*t = laneSync{extra: join(t.extra, extra), fenced: a.fenced}
	}
}

// absent reports threads that exited before a barrier for all: hardware since compute_70 goes on without them, CUDA
// does not promise it.
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
				s.report(b.warps[k], DivergentBarrier, in, bits.TrailingZeros32(m),
					fmt.Sprintf("lanes %s of warp %d have exited: %d of %d threads are left at the barrier",
						lanesText(gone), i, b.live, b.threads))
				return
			}
		}
	}
}
