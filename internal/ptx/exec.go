package ptx

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime/debug"
	"sync"
	"sync/atomic"
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
