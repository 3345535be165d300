package ptx

import (
	"fmt"
	"math/bits"
)

// A barrier is one of the sixteen of a block. A generation lasts from the first arrival to the opening.
type barrier struct {
	used    bool
	arrived []uint32 // lanes by warp
	waiting []uint32 // of them those that wait (bar.arrive does not)
	at      []int32  // the instruction, by warp
	want    int      // threads; 0: all that have not exited
	count   int      // for bar.red: lanes whose predicate held
	lanes   int      // lanes that brought one
}

// A block is a block of threads in execution. It is reused for block after block by its worker.
type block struct {
	run       *execution
	at        [3]int
	number    uint64
	warps     []*warp
	order     []int // in which warps take turns
	shared    []byte
	bars      [16]barrier
	threads   int
	live      int        // threads that have not exited
	yields    bool       // a warp's turn was over before it had to wait
	random    uint64     // state of WarpsRandom
	backwards bool       // atomics take lanes from the highest down
	sync      *blockSync // of the sanitizer
}

const turnBranches = 1 << 16

// step runs each warp once, until it waits or its turn is over.
func (b *block) step() status {
	b.yields = false
	progress := false
	if order := b.run.machine.opt.Warps; order != WarpsInTurn {
		progress = b.interleave(order)
	} else {
		turn := int(b.run.turn.Load())
		for k := range b.order {
			w := b.turn(k)
			if len(w.groups) == 0 {
				continue
			}
			if b.run.stop.Load() {
				return running
			}
			if w.run(turn) == running {
				progress, b.yields = true, true
			}
		}
	}
	if b.live == 0 {
		return done
	}
	if progress || b.ready() {
		return running
	}
	b.resolve()
	return running
}

// turn is the warp whose turn is number k.
func (b *block) turn(k int) *warp {
	if b.run.reversed {
		k = len(b.order) - 1 - k
	}
	return b.warps[b.order[k]]
}

// ready says whether any warp can run.
func (b *block) ready() bool {
	for _, w := range b.warps {
		for _, g := range w.groups {
			if g.state == groupReady {
				return true
			}
		}
	}
	return false
}

// barrier takes lanes m of group i to the barrier instruction in.
func (w *warp) barrier(i int, in *instr, m uint32) {
	op := &in.x.barrier
	g := &w.groups[i]
	pc := g.pc
	if rest := g.mask &^ m; rest != 0 { // lanes that the guard lets pass
		g.mask = m
		w.groups = append(w.groups, group{pc: pc + 1, mask: rest})
		w.merge(len(w.groups) - 1)
		i = w.indexOf(pc, m)
	}
	if op.aligned {
		for k := 0; k < len(w.groups); k++ {
			if o := &w.groups[k]; k != i && o.pc == pc && o.state == groupAligned {
				m |= o.mask
				w.groups[i].mask = m
				w.drop(k)
				i = w.indexOf(pc, m)
				k = -1
			}
		}
		if m != w.live {
			w.groups[i].state = groupAligned
			return
		}
	}
	w.arrive(i)
}

func (w *warp) indexOf(pc int32, mask uint32) int {
	for k, g := range w.groups {
		if g.pc == pc && g.mask == mask {
			return k
		}
	}
	panic("ptx: a group is lost")
}

// arrive brings group i to its barrier.
func (w *warp) arrive(i int) {
	w.countIn(i, w.prog.code[w.groups[i].pc].x.barrier.kind == barrierArrive)
}

// pass counts group i in without waiting.
func (w *warp) pass(i int) { w.countIn(i, true) }

// countIn counts group i in at its barrier; it waits there unless it may go on.
func (w *warp) countIn(i int, goOn bool) {
	g := &w.groups[i]
	in := &w.prog.code[g.pc]
	op := &in.x.barrier
	first := bits.TrailingZeros32(g.mask)
	id := int(reg[uint32](w, op.id)[first&31])
	if id > 15 {
		w.halt(Trap, in, g.mask, fmt.Sprintf("barrier %d: a block has barriers 0 to 15", id))
	}
	b := &w.block.bars[id]
	if !b.used {
		b.begin(len(w.block.warps))
	}
	want := 0
	if op.count >= 0 {
		want = int(reg[uint32](w, op.count)[first&31])
	}
	if san := w.san; san != nil {
		san.arrive(w, in, g.mask, b, id, want)
	}
	b.want = want
	w.count.barriers++
	b.arrived[w.id] |= g.mask
	b.at[w.id] = g.pc
	if op.pred >= 0 {
		held := (*w.predicate(op.pred) ^ op.not) & g.mask
		b.count += bits.OnesCount32(held)
		b.lanes += bits.OnesCount32(g.mask)
	}
	if goOn {
		g.pc++
		g.state = groupReady
	} else {
		b.waiting[w.id] |= g.mask
		g.state, g.barrier = groupAtBar, uint8(id)
	}
	w.block.tryOpen(id)
}

func (b *barrier) begin(warps int) {
	if len(b.arrived) != warps {
		b.arrived, b.waiting, b.at = make([]uint32, warps), make([]uint32, warps), make([]int32, warps)
	}
	b.used = true
}

// complete says whether everybody has arrived. A barrier with a count counts whole warps.
func (b *block) complete(bar *barrier) bool {
	arrived := 0
	for i, m := range bar.arrived {
		n := bits.OnesCount32(m)
		if bar.want > 0 && m != 0 && b.warps[i].live&^m == 0 {
			n = warpSize
		}
		arrived += n
	}
	if bar.want > 0 {
		return arrived >= bar.want
	}
	return arrived >= b.live
}

func (b *block) tryOpen(id int) {
	if bar := &b.bars[id]; bar.used && b.complete(bar) {
		b.open(id)
	}
}

// open lets all who wait at the barrier go on.
func (b *block) open(id int) {
	bar := &b.bars[id]
	if b.sync != nil {
		b.run.san.opened(b, bar, id)
	}
	for i, w := range b.warps {
		if bar.waiting[i] == 0 {
			continue
		}
		for k := range w.groups {
			g := &w.groups[k]
			if g.state != groupAtBar || int(g.barrier) != id {
				continue
			}
			in := &w.prog.code[g.pc]
			w.reduced(in, g.mask, bar)
			g.state = groupReady
			g.pc++
		}
		w.join()
	}
	clear(bar.arrived)
	clear(bar.waiting)
	bar.used, bar.want, bar.count, bar.lanes = false, 0, 0, 0
}

// reduced writes the result of bar.red.
func (w *warp) reduced(in *instr, mask uint32, bar *barrier) {
	switch in.x.barrier.kind {
	case barrierPopc:
		d := reg[uint32](w, in.d)
		for ; mask != 0; mask &= mask - 1 {
			d[bits.TrailingZeros32(mask)&31] = uint32(bar.count)
		}
	case barrierAnd:
		setPredicate(w, in.d, flip(bar.count == bar.lanes), mask)
	case barrierOr:
		setPredicate(w, in.d, flip(bar.count > 0), mask)
	}
}

// join merges all ready groups that stand at one place.
func (w *warp) join() {
	for i := 0; i < len(w.groups); i++ {
		if w.groups[i].state == groupReady {
			n := len(w.groups)
			if w.merge(i); len(w.groups) < n {
				i = -1
			}
		}
	}
}

// exited is called when threads have left: barriers may be complete without them.
func (b *block) exited() {
	if b.live == 0 {
		return
	}
	for id := range b.bars {
		b.tryOpen(id)
	}
}

// resolve is called when no warp can run: the kernel is in a deadlock. It is reported, and one step is forced, so that
// the sanitizer sees the rest too; without the sanitizer it ends the launch. Within a warp the group that stands lowest
// in the text goes first: the others mostly wait for it.
func (b *block) resolve() {
	for _, w := range b.warps {
		low := -1
		for i, g := range w.groups {
			if g.state != groupAtBar && (low < 0 || g.pc < w.groups[low].pc) {
				low = i
			}
		}
		if low < 0 {
			continue
		}
		g := w.groups[low]
		if g.state == groupAtSync {
			w.forceSync(low)
			return
		}
		away := w.live &^ g.mask
		w.deadlock(DivergentBarrier, g,
			fmt.Sprintf("the barrier needs all threads of the warp; lanes %s are elsewhere: %s", lanesText(away),
				w.whereabouts(away)))
		w.pass(low)
		return
	}
	for id := range b.bars {
		bar := &b.bars[id]
		if !bar.used {
			continue
		}
		for i, w := range b.warps {
			if bar.waiting[i] == 0 {
				continue
			}
			for _, g := range w.groups {
				if g.state == groupAtBar && int(g.barrier) == id {
					w.deadlock(DivergentBarrier, g, b.missing(id))
					b.open(id)
					return
				}
			}
		}
	}
	panic("ptx: no thread can run and none waits")
}

// missing says which threads a barrier waits for in vain.
func (b *block) missing(id int) string {
	bar := &b.bars[id]
	text := fmt.Sprintf("barrier %d is never complete", id)
	if bar.want > 0 {
		text += fmt.Sprintf(": it counts %d threads", bar.want)
	}
	for i, w := range b.warps {
		if away := w.live &^ bar.arrived[i]; away != 0 {
			return fmt.Sprintf("%s: warp %d, lanes %s: %s", text, i, lanesText(away), w.whereabouts(away))
		}
	}
	return text
}

// forceSync reports the .sync instruction that group i waits at in vain and executes it for the lanes that are there.
func (w *warp) forceSync(i int) {
	g := w.groups[i]
	in := &w.prog.code[g.pc]
	need := w.live
	if in.a >= 0 {
		need = reg[uint32](w, in.a)[bits.TrailingZeros32(g.mask)&31] & w.live
	}
	kind := MismatchedMask
	if w.prog.meta[in.index].src.Op == "shfl" {
		kind = InactiveLaneShuffle
	}
	away := need &^ g.mask
	w.deadlock(kind, g, fmt.Sprintf("it waits for lanes %s, which do not come: %s", lanesText(away),
		w.whereabouts(away)))
	if w.san != nil && in.rendezvous() {
		w.san.synced(w, in, g.mask)
	}
	in.run(w, in, g.mask)
	w.groups[i].state = groupReady
	w.groups[i].pc++
	w.join()
}

// deadlock reports what group g waits for; without the sanitizer the launch ends.
func (w *warp) deadlock(kind Kind, g group, message string) {
	in := &w.prog.code[g.pc]
	if w.san == nil {
		w.halt(kind, in, g.mask, message)
	}
	w.san.report(w, kind, in, bits.TrailingZeros32(g.mask), message)
}

// whereabouts says where the lanes of mask are.
func (w *warp) whereabouts(mask uint32) string {
	for _, g := range w.groups {
		if g.mask&mask != 0 {
			return fmt.Sprintf("lanes %s wait at %s", lanesText(g.mask&mask),
				w.place(g.pc, bits.TrailingZeros32(g.mask&mask)))
		}
	}
	return "they have exited"
}

// lanesText writes a lane mask as ranges: 0-15, 20.
func lanesText(m uint32) string {
	text := ""
	for i := 0; i < warpSize; i++ {
		if m>>i&1 == 0 {
			continue
		}
		k := i
		for k+1 < warpSize && m>>(k+1)&1 != 0 {
			k++
		}
		if text != "" {
			text += ", "
		}
		if text += fmt.Sprint(i); k > i {
			text += fmt.Sprintf("-%d", k)
		}
		i = k
	}
	if text == "" {
		return "none"
	}
	return text
}
