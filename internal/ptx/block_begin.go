package ptx

import "unsafe"

// newBlock makes the state of a block: registers hold immediates and what is the same in all blocks.
func newBlock(e *execution, t *tally) *block {
	threads := e.launch.Block[0] * e.launch.Block[1] * e.launch.Block[2]
	b := &block{run: e, shared: alignedBytes(e.sharedBytes()), threads: threads}
	for id := 0; id*warpSize < threads; id++ {
		w := &warp{block: b, prog: e.prog, id: id, count: t, san: e.san}
		w.file = make([]uint64, e.prog.fileSize/8+8)
		w.base = alignPointer(unsafe.Pointer(&w.file[0]))
		w.all = fullMask
		if n := threads - id*warpSize; n < warpSize {
			w.all = 1<<n - 1
		}
		*w.predicate(alwaysTrue) = fullMask
		w.local = alignedBytes(warpSize * e.prog.local)
		for _, c := range e.prog.consts32 {
			fill(reg[uint32](w, c.off), c.val, fullMask)
		}
		for _, c := range e.prog.consts64 {
			w.fill64(c.off, c.val)
		}
		for _, s := range e.prog.symbols {
			w.fill64(s.off, e.inst.addr[s.index]+uint64(s.add))
		}
		b.warps = append(b.warps, w)
		b.order = append(b.order, id)
	}
	for _, w := range b.warps {
		w.loadSpecials(false)
	}
	if e.san != nil {
		e.san.attach(b)
	}
	return b
}

// sharedBytes is the shared memory of a block with what the system keeps, if the kernel asks for that.
func (e *execution) sharedBytes() int {
	for _, s := range e.prog.specials {
		if s.reg == regReserved {
			return (e.shared+15)&^15 + reservedShared
		}
	}
	return e.shared
}

// alignPointer moves p up to a multiple of 32.
func alignPointer(p unsafe.Pointer) unsafe.Pointer {
	return unsafe.Add(p, -uintptr(p)&31)
}

func (w *warp) fill64(off int32, v uint64) {
	d := reg[uint64](w, off)
	for i := range d {
		d[i] = v
	}
}

// loadSpecials sets special registers: those that differ between blocks, or all.
func (w *warp) loadSpecials(perBlock bool) {
	for _, s := range w.prog.specials {
		if perBlock && !s.reg.perBlock() {
			continue
		}
		for lane := range warpSize {
			w.setLane(s.off, lane, s.wide, s.reg.value(w, lane))
		}
	}
}

// poison fills fresh shared memory: as a float it is a NaN.
const poison = 0x7fbadbad

// begin sets the block up to run as number n of the grid.
func (b *block) begin(n uint64) {
	x, y := uint64(b.run.launch.Grid[0]), uint64(b.run.launch.Grid[1])
	b.number = n
	b.at = [3]int{int(n % x), int(n / x % y), int(n / x / y)}
	b.live = b.threads
	if len(b.shared) >= 4 {
		words := unsafe.Slice((*uint32)(unsafe.Pointer(&b.shared[0])), len(b.shared)/4)
		for i := range words {
			words[i] = poison
		}
	}
	if b.run.refill != 0 {
		b.fillUndefined()
	}
	b.random = mix(b.run.machine.opt.WarpSeed ^ mix(n))
	seed := b.run.machine.opt.Seed
	b.backwards = false
	if seed != 0 {
		h := mix(seed ^ mix(n))
		b.backwards = h&1 != 0
		for i := len(b.order) - 1; i > 0; i-- {
			h = mix(h)
			k := int(h % uint64(i+1))
			b.order[i], b.order[k] = b.order[k], b.order[i]
		}
	}
	b.backwards = b.backwards != b.run.reversed
	for _, w := range b.warps {
		w.live = w.all
		w.groups = append(w.groups[:0], group{mask: w.all})
		w.carry, w.steps, w.yield, w.streak, w.turns, w.poll = 0, 0, false, 0, b.run.patience(), pollSteps
		w.async.reset()
		w.calls, w.depth = nil, nil
		w.last = nil
		w.loadSpecials(true)
	}
	if b.run.san != nil {
		b.run.san.beginBlock(b)
	}
}

// patience is the streak at which a warp first gives another group a turn.
func (e *execution) patience() int {
	switch {
	case e.machine.opt.Warps != WarpsInTurn:
		return stepPatience
	case e.san != nil && e.prog.spins:
		return spinPatience
	}
	return firstPatience
}
