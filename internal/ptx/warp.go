package ptx

import (
	"math"
	"math/bits"
	"unsafe"
)

// groupState says what a group of lanes does.
type groupState uint8

const (
	groupReady   groupState = iota
	groupAtSync             // at a .sync instruction, for the lanes of its mask
	groupAligned            // at an aligned barrier, for the rest of its warp
	groupAtBar              // arrived at a barrier of the block
)

// A group is a set of lanes with one program counter.
type group struct {
	pc      int32
	mask    uint32
	state   groupState
	barrier uint8
}

// A warp is 32 threads: registers, and the groups its lanes form. The ready group with the lowest program counter
// runs until it meets another one, and then they are one again; groups wait at .sync instructions and barriers.
type warp struct {
	base   unsafe.Pointer // of file
	file   []uint64
	block  *block
	prog   *program
	id     int
	all    uint32 // lanes that have a thread
	live   uint32 // lanes that have not exited
	groups []group
	local  []byte // of all lanes, one after the other
	carry  uint32 // CC.CF of each lane
	async  asyncQueue
	calls  [][]activation // of each lane: calls through a register or of functions that call themselves; nil: none yet
	depth  []int          // bytes of each lane's saved registers
	steps  uint64         // warp instructions executed
	yield  bool           // let other warps run
	single bool           // one instruction at a time
	streak int            // branches since groups last met, while others were ready
	turns  int            // patience: streak at which another group gets a turn
	last   *allocation
	poll   uint64 // steps at which to see whether the launch was stopped
	watch  *watch // not nil while the warp is checked for progress
	count  *tally // the worker's counters
	san    *sanitizer

	// For the sanitizer: what is defined of local memory and, by register offset / 4, of registers.
	localShade *shade
	known      []uint32
	partly     []uint32
	undefined  []uint64
}

const (
	firstPatience = 1 << 16
	leastPatience = 16
	stepPatience  = 2  // where warps execute single instructions
	spinPatience  = 64 // at first, of programs that may spin, with the sanitizer: it makes long waits expensive
)

// status is how a warp or block left its turn.
type status uint8

const (
	running status = iota // the turn was over
	waiting               // nothing can run before a barrier opens
	done
)

// run executes the warp until all its groups wait, or its turn of so many branches is over.
func (w *warp) run(turn int) status {
	for turn > 0 {
		if w.steps >= w.poll && w.stopped() {
			return running
		}
		i := w.pick()
		if i < 0 {
			if len(w.groups) == 0 {
				return done
			}
			if w.retry() {
				continue
			}
			return waiting
		}
		turn -= w.runGroup(i, turn)
		if w.yield {
			w.yield = false
			return running
		}
	}
	return running
}

// pollSteps is after how many instructions a warp sees whether the launch was stopped.
const pollSteps = 1 << 12

func (w *warp) stopped() bool {
	w.poll = w.steps + pollSteps
	return w.block.run.stop.Load()
}

// pick returns the group to run, -1 if none is ready: the lowest, or for a turn another one when the lowest has
// only branched for long (it may wait for what the other is to do).
func (w *warp) pick() int {
	best := -1
	for i := range w.groups {
		if g := &w.groups[i]; g.state == groupReady && (best < 0 || g.pc < w.groups[best].pc) {
			best = i
		}
	}
	if best < 0 || w.streak < w.turns || len(w.groups) == 1 {
		return best
	}
	w.streak = 0
	w.turns = max(min(leastPatience, w.turns), w.turns/4)
	// The others in turn: the last one moves to the front of the list each time.
	n := len(w.groups)
	for k := 1; k < n; k++ {
		i := (best + k) % n
		if w.groups[i].state == groupReady {
			return i
		}
	}
	return best
}

// retry lets groups that wait within the warp look again: lanes they waited for may have exited.
func (w *warp) retry() bool {
	for i := range w.groups {
		g := &w.groups[i]
		in := &w.prog.code[g.pc]
		switch {
		case g.state == groupAtSync && w.arrived(in, g.mask) != 0,
			g.state == groupAligned && g.mask == w.live:
			g.state = groupReady
			return true
		}
	}
	return w.matchSyncs()
}

// runGroup runs group i until it meets another, waits or exits, or has taken limit branches; it returns the branches.
func (w *warp) runGroup(i, limit int) int {
	g := &w.groups[i]
	pc, mask := g.pc, g.mask
	stop := int32(math.MaxInt32) // where the next group stands
	others := false
	for k := range w.groups {
		if o := &w.groups[k]; k != i && o.state == groupReady {
			others = true
			if o.pc >= pc && o.pc < stop {
				stop = o.pc
			}
		}
	}
	if w.single {
		stop = min(stop, pc+1)
	}
	if others && w.turns < limit {
		limit = w.turns
	}
	code, prof := w.prog.code, w.count.profile
	san := w.san
	watched := san != nil || w.watch != nil
	branches, start := 0, pc
	for pc < stop {
		in := &code[pc]
		m := mask & (*w.predicate(in.guard) ^ in.flip)
		p := &prof[pc]
		p.warps++
		p.threads += uint64(bits.OnesCount32(m))
		switch in.flow {
		case flowPlain:
			if m != 0 {
				if watched {
					w.runWatched(in, m, mask)
				} else {
					in.run(w, in, m)
				}
				if w.yield {
					w.leave(i, pc+1, mask, start)
					return branches + 1
				}
			}
			pc++
		case flowBranch:
			if san != nil {
				san.branch(w, in, mask)
			}
			branches++
			w.steps += uint64(pc - start + 1)
			switch m {
			case mask:
				pc = in.target
			case 0:
				pc++
			default:
				w.count.divergent++
				w.groups[i] = group{pc: pc + 1, mask: mask &^ m}
				w.groups = append(w.groups, group{pc: in.target, mask: m})
				w.merge(len(w.groups) - 1)
				w.streak += branches
				return branches + 1
			}
			start = pc
			if w.steps >= w.poll && w.stopped() {
				w.leave(i, pc, mask, start)
				return turnBranches
			}
			if branches >= limit {
				w.leave(i, pc, mask, start)
				w.streak += branches
				w.merge(i)
				return branches
			}
		case flowExit:
			w.steps += uint64(pc - start + 1)
			if san != nil {
				san.branch(w, in, mask)
			}
			w.live &^= m
			w.block.live -= bits.OnesCount32(m)
			if mask &^= m; mask == 0 {
				w.drop(i)
			} else {
				w.groups[i].pc, w.groups[i].mask = pc+1, mask
			}
			if m != 0 {
				w.block.exited()
			}
			return branches + 1
		case flowIndirect:
			w.steps += uint64(pc - start + 1)
			w.indirect(i, pc, mask, m, in)
			return branches + 1
		case flowWarp:
			if m != 0 {
				w.leave(i, pc, mask, start)
				if !w.sync(i, in, m) {
					return branches + 1
				}
				// All lanes went through together.
				start = pc + 1
			}
			pc++
		case flowBarrier:
			if m == 0 {
				pc++
				continue
			}
			if san != nil {
				san.before(w, in, m, mask)
			}
			w.leave(i, pc, mask, start)
			w.barrier(i, in, m)
			return branches + 1
		}
	}
	w.leave(i, pc, mask, start)
	if !w.single {
		w.streak = 0
	}
	w.merge(i)
	return branches + 1
}

// leave stores where group i stands.
func (w *warp) leave(i int, pc int32, mask uint32, start int32) {
	w.steps += uint64(pc - start)
	w.groups[i].pc, w.groups[i].mask = pc, mask
}

// merge joins group i with a ready group at the same place.
func (w *warp) merge(i int) {
	for k := range w.groups {
		if g := &w.groups[k]; k != i && g.state == groupReady && g.pc == w.groups[i].pc {
			g.mask |= w.groups[i].mask
			w.drop(i)
			return
		}
	}
}

func (w *warp) drop(i int) {
	n := len(w.groups) - 1
	w.groups[i] = w.groups[n]
	w.groups = w.groups[:n]
	w.streak = 0
}

// indirect sends each lane of m to the index that its register holds.
func (w *warp) indirect(i int, pc int32, mask, m uint32, in *instr) {
	to := reg[uint32](w, in.a)
	rest := mask &^ m
	w.drop(i)
	add := func(pc int32, mask uint32) {
		w.groups = append(w.groups, group{pc: pc, mask: mask})
		w.merge(len(w.groups) - 1)
	}
	if rest != 0 {
		add(pc+1, rest)
	}
	for m != 0 {
		target := to[bits.TrailingZeros32(m)&31]
		var same uint32
		for k := m; k != 0; k &= k - 1 {
			if l := bits.TrailingZeros32(k); to[l&31] == target {
				same |= 1 << l
			}
		}
		add(int32(target), same)
		m &^= same
	}
}

// arrived returns the lanes of m that may execute a .sync instruction now: those whose mask names no live lane
// outside m.
func (w *warp) arrived(in *instr, m uint32) (ready uint32) {
	if in.a < 0 {
		if w.live&^m == 0 {
			return m
		}
		return 0
	}
	masks := reg[uint32](w, in.a)
	for left := m; left != 0; {
		v := masks[bits.TrailingZeros32(left)&31]
		var same uint32
		for k := left; k != 0; k &= k - 1 {
			if l := bits.TrailingZeros32(k); masks[l&31] == v {
				same |= 1 << l
			}
		}
		if v&w.live&^m == 0 {
			ready |= same
		}
		left &^= same
	}
	return ready
}

// sync takes lanes m of group i, which stands at the .sync instruction in, as far as they can go. It says whether the
// whole group has executed it and nobody else joined; otherwise the groups have changed.
func (w *warp) sync(i int, in *instr, m uint32) bool {
	g := &w.groups[i]
	joined := false
	for k := 0; k < len(w.groups); k++ {
		if o := &w.groups[k]; k != i && o.pc == g.pc && o.state == groupAtSync {
			m |= o.mask
			g.mask |= o.mask
			w.drop(k)
			if i == len(w.groups) {
				i = k
			}
			g = &w.groups[i]
			k = -1
			joined = true
		}
	}
	ready := w.arrived(in, m)
	if ready != 0 {
		if w.san != nil {
			w.san.before(w, in, ready, ready)
			if in.rendezvous() {
				w.san.synced(w, in, ready)
			}
		}
		in.run(w, in, ready)
	}
	w.steps++
	if ready == m && !joined {
		return true
	}
	pc := g.pc
	passed, waits := g.mask&^m|ready, m&^ready
	w.drop(i)
	if waits != 0 {
		w.groups = append(w.groups, group{pc: pc, mask: waits, state: groupAtSync})
	}
	if passed != 0 {
		w.groups = append(w.groups, group{pc: pc + 1, mask: passed})
		w.merge(len(w.groups) - 1)
	}
	return false
}

// matchSyncs lets bar.warp.sync instructions at different places meet when they name the same lanes, as
// compute_70 allows. Shuffles and votes do not: their result would be undefined.
func (w *warp) matchSyncs() bool {
	for i := range w.groups {
		g := &w.groups[i]
		in := &w.prog.code[g.pc]
		if g.state != groupAtSync || !in.rendezvous() {
			continue
		}
		need := reg[uint32](w, in.a)[bits.TrailingZeros32(g.mask)&31]
		var there uint32
		for k := range w.groups {
			o := &w.groups[k]
			other := &w.prog.code[o.pc]
			if o.state == groupAtSync && other.rendezvous() &&
				reg[uint32](w, other.a)[bits.TrailingZeros32(o.mask)&31] == need {
				there |= o.mask
			}
		}
		if need&w.live&^there != 0 {
			continue
		}
		if w.san != nil {
			w.san.synced(w, in, there)
		}
		for k := range w.groups {
			if o := &w.groups[k]; o.state == groupAtSync && o.mask&^there == 0 {
				o.state = groupReady
				o.pc++
			}
		}
		return true
	}
	return false
}

// rendezvous says that the instruction is bar.warp.sync.
func (in *instr) rendezvous() bool { return in.flow == flowWarp && in.imm == rendezvousMark }

const rendezvousMark = -1 << 62

// localOf is the local memory of a lane.
func (w *warp) localOf(lane int) []byte {
	n := w.prog.local
	return w.local[lane*n : (lane+1)*n : (lane+1)*n]
}

// registers are the bytes of the register file.
func (w *warp) registers() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&w.file[0])), 8*len(w.file))
}
