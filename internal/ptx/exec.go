package ptx

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"
)

// An execution is a launch that runs.
type execution struct {
	machine *Machine
	prog    *program
	inst    *instance
	launch  Launch
	params  []byte
	shared  int // bytes of a block, dynamic memory included
	// workspace is the barrier of a cooperative launch, which cooperative groups find through %envreg1 and 2; 0: none.
	workspace uint64
	blocks    uint64
	holds     int    // blocks that the card has resident at once
	runs      uint64 // how many of the blocks are run
	next      atomic.Uint64
	begun     atomic.Uint64 // blocks
	steps     atomic.Uint64
	stop      atomic.Bool
	checkAt   atomic.Uint64 // steps at which to check for progress
	world     sync.RWMutex  // held for reading by workers that run
	active    [][]*block    // by worker, its own while it holds world
	wanted    []int         // by worker: how many further blocks to begin
	turn      atomic.Int64  // branches of a warp's turn
	san       *sanitizer
	reversed  bool   // blocks, warps and lanes in the opposite order
	budget    uint64 // warp instructions after which the run is given up; 0: none
	refill    uint64 // what registers and memory hold that nobody has written; 0: whatever is there

	mu  sync.Mutex
	err error
}

func (m *Machine) run(ctx context.Context, l Launch) (*Result, error) {
	e, err := m.prepare(l)
	if err != nil {
		return nil, err
	}
	m.launches++
	unwatch := context.AfterFunc(ctx, func() { e.fail(context.Cause(ctx)) })
	defer unwatch()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if l.Cooperative {
		a, err := m.mem.alloc(workspaceBytes, "grid workspace")
		if err != nil {
			return nil, err
		}
		a.learn(a.base, workspaceBytes)
		e.workspace = a.base
		defer func() { _ = m.mem.free(a.base) }()
	}
	e.number()
	tallies := e.execute()
	result := &Result{Reports: []Report{}, Counters: e.counters(tallies)}
	var f *Fault
	if e.san != nil && l.Track {
		result.Touched = m.mem.touched()
	}
	if e.san != nil && e.err == nil {
		e.verify(ctx)
	}
	if fault := errors.As(e.err, &f); e.san != nil && (fault || e.err == nil) {
		result.Reports = e.san.finish()
	}
	if f != nil && e.san != nil {
		result.Reports = append(result.Reports, f.Report)
	}
	return result, e.err
}

// fail ends the launch with its first error.
func (e *execution) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	e.stop.Store(true)
}

// perturb is the seed of the pessimistic mode, and whether it is on.
func (e *execution) perturb() (uint64, bool) {
	return e.machine.opt.Seed, e.machine.opt.Float == Pessimistic
}

// prepare checks a launch against the card's limits.
func (m *Machine) prepare(l Launch) (*execution, error) {
	if l.Kernel == nil {
		return nil, errors.New("launch without a kernel")
	}
	k := l.Kernel
	if k.err != nil {
		return nil, k.err
	}
	bad := func(format string, args ...any) (*execution, error) {
		return nil, fmt.Errorf("launch of %s: %s", k.Name, fmt.Sprintf(format, args...))
	}
	maxGrid := [3]int{1<<31 - 1, 65535, 65535}
	maxBlock := [3]int{1024, 1024, 64}
	threads, blocks := 1, uint64(1)
	for i, axis := range []string{"x", "y", "z"} {
		if l.Grid[i] < 1 || l.Grid[i] > maxGrid[i] {
			return bad("grid.%s is %d, allowed are 1 to %d", axis, l.Grid[i], maxGrid[i])
		}
		if l.Block[i] < 1 || l.Block[i] > maxBlock[i] {
			return bad("block.%s is %d, allowed are 1 to %d", axis, l.Block[i], maxBlock[i])
		}
		threads *= l.Block[i]
		blocks *= uint64(l.Grid[i])
	}
	if threads > MaxThreadsPerBlock {
		return bad("%d threads in a block, at most %d are allowed", threads, MaxThreadsPerBlock)
	}
	if k.MaxThreads > 0 && threads > k.MaxThreads {
		return bad("%d threads in a block, the kernel was compiled for at most %d", threads, k.MaxThreads)
	}
	if r := k.fn.ReqThreads; r != [3]int{} && l.Block != [3]int{max(r[0], 1), max(r[1], 1), max(r[2], 1)} {
		return bad("block %v, the kernel requires %v", l.Block, r)
	}
	prog, err := k.program(variant{contract: m.opt.Float == Contract, sanitize: m.opt.Sanitize})
	if err != nil {
		return nil, err
	}
	inst, err := m.instance(k.Module)
	if err != nil {
		return nil, err
	}
	e := &execution{machine: m, prog: prog, inst: inst, launch: l, blocks: blocks, runs: blocks, shared: prog.shared}
	if s := uint64(m.opt.Sample); s > 0 && !l.Cooperative { // blocks of a cooperative launch wait for each other
		e.runs = min(blocks, s)
	}
	if l.Shared < 0 {
		return bad("%d bytes of dynamic shared memory", l.Shared)
	}
	if l.Shared > 0 {
		e.shared = prog.dynamic + l.Shared
	}
	switch {
	case e.shared > m.card.SharedOptIn:
		return bad("%d bytes of shared memory, a block of %s has at most %d", e.shared, m.card.Name, m.card.SharedOptIn)
	case e.shared > DefaultShared && l.Shared > l.SharedLimit:
		return bad("%d bytes of shared memory, more than %d need the attribute for dynamic shared memory "+
			"(its value: %d)", e.shared, DefaultShared, l.SharedLimit)
	}
	if len(l.Args) != len(k.Params) {
		return bad("%d arguments for %d parameters", len(l.Args), len(k.Params))
	}
	e.params = alignedBytes((k.paramBytes + 7) &^ 7)
	for i, p := range k.Params {
		if len(l.Args[i]) != p.Size {
			return bad("argument %d (%s) has %d bytes, the parameter has %d", i, p.Name, len(l.Args[i]), p.Size)
		}
		copy(e.params[p.off:], l.Args[i])
	}
	warps := (threads + warpSize - 1) / warpSize
	perSM := min(m.card.BlocksPerSM, m.card.ThreadsPerSM/(warps*warpSize), m.card.SharedPerSM/(e.shared+reservedShared))
	if e.holds = perSM * m.card.SMs; l.Cooperative && blocks > uint64(e.holds) {
		return bad("a cooperative launch of %d blocks, %s holds %d at once", blocks, m.card.Name, e.holds)
	}
	return e, nil
}

const (
	workspaceBytes = 64
	reservedShared = 1024 // bytes of shared memory that the system keeps for each block, from compute capability 8.0 on
)

// number gives the allocations their places in the counters.
func (e *execution) number() {
	for i, a := range e.machine.mem.all {
		a.index = i
	}
	if e.machine.opt.Sanitize {
		e.san = newSanitizer(e)
	}
}

// execute runs all blocks on the workers and returns their counters.
func (e *execution) execute() []*tally {
	workers := int(min(uint64(e.machine.opt.Workers), e.runs))
	tallies := make([]*tally, workers)
	e.active = make([][]*block, workers)
	e.wanted = make([]int, workers)
	e.checkAt.Store(firstCheck)
	e.turn.Store(turnBranches)
	var wg sync.WaitGroup
	for i := range workers {
		tallies[i] = newTally(e.prog, len(e.machine.mem.all))
		if workers == 1 {
			e.work(tallies[i], i, workers)
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			e.work(tallies[i], i, workers)
		}()
	}
	wg.Wait()
	return tallies
}

// resident is how many blocks a worker interleaves when some only wait for others.
const resident = 32

// work executes blocks until none is left. A cooperative launch's blocks are divided among the workers and all started;
// else a worker takes one block after another, and a further one when those it has make it wait.
func (e *execution) work(t *tally, id, workers int) {
	defer func() {
		switch x := recover().(type) {
		case nil:
		case *Fault:
			e.fail(x)
		default:
			e.fail(fmt.Errorf("kernel %s: fault of the simulator: %v\n%s", e.prog.kernel.Name, x, debug.Stack()))
		}
	}()
	var spare []*block
	own := uint64(id)
	take := func() bool {
		n := own
		if e.launch.Cooperative {
			own += uint64(workers)
		} else {
			n = e.next.Add(1) - 1
		}
		if n >= e.runs {
			return false
		}
		if e.reversed {
			n = e.runs - 1 - n
		}
		var b *block
		if k := len(spare); k > 0 {
			b, spare = spare[k-1], spare[:k-1]
		} else {
			b = newBlock(e, t)
		}
		e.begun.Add(1)
		b.begin(e.permuted(e.sampled(n)))
		e.active[id] = append(e.active[id], b)
		return true
	}
	e.world.RLock()
	for e.launch.Cooperative && take() {
	}
	e.world.RUnlock()
	at, stale := 0, 0
	// turn runs one block while nobody checks for progress. It says false when none is left.
	turn := func() bool {
		e.world.RLock()
		defer e.world.RUnlock()
		if len(e.active[id]) == 0 && !take() {
			return false
		}
		for ; e.wanted[id] > 0; e.wanted[id]-- {
			take()
		}
		at %= len(e.active[id])
		b := e.active[id][at]
		before := b.steps()
		s := b.step()
		total := e.steps.Add(b.steps() - before)
		if s == done {
			spare = append(spare, b)
			e.active[id] = append(e.active[id][:at], e.active[id][at+1:]...)
			stale = 0
			return true
		}
		if e.budget > 0 && total > e.budget {
			e.fail(errBudget)
		}
		if total > e.machine.opt.Watchdog {
			b.timeout()
		}
		if b.yields {
			b.yields = false
			if stale++; stale > 2*len(e.active[id]) && len(e.active[id]) < resident && !e.launch.Cooperative {
				take()
				stale = 0
			}
			at++
		}
		return true
	}
	for !e.stop.Load() && turn() {
		if total := e.steps.Load(); total > e.checkAt.Load() {
			e.check(total)
		}
	}
}

// sampled is the n-th of the blocks that are run, the middle of its share of the grid.
func (e *execution) sampled(n uint64) uint64 {
	if e.runs == e.blocks {
		return n
	}
	return (2*n + 1) * e.blocks / (2 * e.runs)
}

// permuted is the number of the n-th block to run: a bijection chosen by the seed.
func (e *execution) permuted(n uint64) uint64 {
	seed := e.machine.opt.Seed
	if seed == 0 || e.blocks < 2 {
		return n
	}
	factor := mix(seed) % e.blocks
	for factor < 1 || gcd(factor, e.blocks) != 1 {
		factor = (factor + 1) % e.blocks
	}
	hi, lo := bits.Mul64(n, factor)
	_, rest := bits.Div64(hi%e.blocks, lo, e.blocks)
	return (rest + mix(seed+1)%e.blocks) % e.blocks
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

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

func (b *block) steps() (n uint64) {
	for _, w := range b.warps {
		n += w.steps
	}
	return n
}

// timeout ends the launch: the watchdog's budget is spent.
func (b *block) timeout() {
	for _, w := range b.warps {
		if i := w.pick(); i >= 0 {
			in := &w.prog.code[w.groups[i].pc]
			w.halt(Timeout, in, w.groups[i].mask,
				fmt.Sprintf("the launch has executed more than %d warp instructions", b.run.machine.opt.Watchdog))
		}
	}
}
