package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Task is a region of parallel work, cut into numbered items that may be done in any order and at the same time.
// It is meant to be a pointer prepared beforehand: starting a region then allocates nothing.
type Task interface {
	Do(w *Worker, item int)
}

// Worker is one of the threads that share a region. Worker 0 is the goroutine that called Run.
type Worker struct {
	Index int
	// scratch is memory that an item may use until it returns (see Pool.reserve).
	real []float32
	int  []int32

	wake   chan struct{} // holds at most one token, for a helper that parked
	parked atomic.Bool
}

// Pool runs tasks on a fixed number of threads: the calling goroutine and threads-1 helpers.
//
// After a region a helper spins for a while, at most spinTime, waiting for the next, and then parks; a parked helper
// costs nothing. A region never waits for a helper to wake up: every worker has a share of the items, those who come in
// time take part and what others do not begin, and the region ends when its items are done.
//
// A Pool is held by one goroutine at a time: Lock before Run or the Run of any operation, Unlock after.
type Pool struct {
	sync.Mutex
	// Direct, set before operations are bound, has NewConv compute sums as they are: never by Winograd's algorithm.
	Direct bool

	level   Level
	spin    time.Duration // how long a thread waits for work before it parks
	workers []*Worker
	common  []float32 // memory of all workers that an operation may use until its Run returns (see reserveCommon)
	exited  sync.WaitGroup

	task   Task // valid while state is open
	items  int
	shares []share // by worker

	// state is epoch<<32 | flags | number of helpers inside the region. A helper may touch task, items and shares only
	// between a successful enter and its leave, and Run returns only when all have left.
	state atomic.Uint64
	done  chan struct{} // one token from the last helper to leave, if the caller gave up spinning
}

// share is the part of a region's items that a worker does first. It fills a cache line.
type share struct {
	next atomic.Int64
	end  int64
	_    [6]int64
}

const (
	stateOpen    = 1 << 31 // items may be left: helpers may enter
	stateWaiting = 1 << 30 // the caller sleeps until the last helper leaves
	stateClosed  = 1 << 29 // the pool is closed
	stateInside  = 1<<29 - 1
)

// spinTime bounds how long a thread burns cycles in the hope of work. A helper that parked between two operations comes
// late, and some kernels wake it on the core of the thread that woke it, where the two take turns until the load is
// balanced: 256×784·784×300 again and again ran at 204 GFLOP/s with 20 µs, 138 with 100 µs, 320 with 500 µs or more.
const spinTime = 2 * time.Millisecond

// crowdedSpinTime is the same where threads are more than processors, so that one that spins keeps another from working
// (eight threads on two processors, ten PGD steps of 784-300-100-10 at batch 256: 14 ms, and 20 with spinTime).
const crowdedSpinTime = 20 * time.Microsecond

// politeAfter is how long a thread waits before it lets others have its processor between two looks. On a machine that
// has more to do, the thread that is waited for may itself be without a processor, and waiting at full speed keeps it
// from one: an ensemble of attacks, whose regions are small, took 7.9 processor seconds and 71 by the clock on two
// threads of two processors with a load of 33, and 5.8 and 53 when it lets go.
const politeAfter = 20 * time.Microsecond

// spinLoads is the number of loads between two looks at the clock (about 100 ns).
const spinLoads = 128

// minParallel is the estimated work, in nanoseconds, below which a region is run by the caller alone. In a loop a
// helper is most often awake, and then a region costs 0.2 to 2 µs, by how far apart the cores are. (Waking one that has
// parked costs the caller 2–5 µs, and it arrives 5–10 µs later.) Hyper-cleaning on minibatches of 32 rows with stocBiO,
// whose products take 6 µs, takes 0.33 ms an iteration so, 0.38 with 10 µs and 0.43 with 20 (two Zen 3 cores).
const minParallel = 6_000

// NewPool starts a pool of the given number of threads, at least 1. Operations on it use the instructions of the level,
// or of the best that there is below it.
func NewPool(threads int, level Level) *Pool {
	p := &Pool{level: level.orBelow(), shares: make([]share, max(threads, 1)), done: make(chan struct{}, 1)}
	if p.spin = spinTime; threads > runtime.GOMAXPROCS(0) {
		p.spin = crowdedSpinTime
	}
	for i := range max(threads, 1) {
		p.workers = append(p.workers, &Worker{Index: i, wake: make(chan struct{}, 1)})
	}
	for _, w := range p.workers[1:] {
		p.exited.Go(func() { p.help(w) })
	}
	return p
}

// Threads is the number of threads, the caller's included.
func (p *Pool) Threads() int { return len(p.workers) }

// Level says which instructions the operations of the pool use.
func (p *Pool) Level() Level { return p.level }

// Close ends the helpers and waits until they are gone. Run must not be called any more; closing twice is harmless.
func (p *Pool) Close() {
	p.Lock()
	defer p.Unlock()
	p.state.Or(stateClosed)
	for _, w := range p.workers[1:] {
		p.rouse(w)
	}
	p.exited.Wait()
}

// Run does the items 0…items-1 of t, each exactly once, and returns when all are done. The caller holds the pool.
func (p *Pool) Run(items int, t Task) {
	if items <= 1 || len(p.workers) == 1 {
		p.Serial(items, t)
		return
	}
	p.task, p.items = t, items
	parts := min(items, len(p.shares)) // those who are woken
	for w := range p.shares {
		p.shares[w].next.Store(int64(items * min(w, parts) / parts))
		p.shares[w].end = int64(items * min(w+1, parts) / parts)
	}
	epoch := p.state.Load()>>32 + 1
	p.state.Store(epoch<<32 | stateOpen)
	p.work(p.workers[0])
	p.state.And(^uint64(stateOpen))
	p.waitForHelpers()
	p.task = nil
}

// Serial does the items of t in order in the caller alone: for regions too small to share. The caller holds the pool.
func (p *Pool) Serial(items int, t Task) {
	for i := range items {
		t.Do(p.workers[0], i)
	}
}

// share runs t in parallel if its estimated work, in nanoseconds on one thread, is worth it.
func (p *Pool) share(items int, work float64, t Task) {
	if work < minParallel {
		p.Serial(items, t)
		return
	}
	p.Run(items, t)
}

// reserve makes sure that every worker has this much scratch. It must not be called while the pool is held.
func (p *Pool) reserve(reals, ints int) {
	p.Lock()
	defer p.Unlock()
	for _, w := range p.workers {
		if len(w.real) < reals {
			w.real = make([]float32, reals)
		}
		if len(w.int) < ints {
			w.int = make([]int32, ints)
		}
	}
}

// reserveCommon makes sure that there is this much memory for all workers. It must not be called while the pool is
// held.
func (p *Pool) reserveCommon(reals int) {
	p.Lock()
	defer p.Unlock()
	if len(p.common) < reals {
		p.common = make([]float32, reals)
	}
}

// work wakes w's two children of the binary tree over the workers, so that all are awake after log2 steps, and then
// does the items of its own share, which are neighbours and, from one operation to the next, most often the same rows,
// so that they lie in its core's cache; and then what is left of the others'.
func (p *Pool) work(w *Worker) {
	for child := 2*w.Index + 1; child <= 2*w.Index+2; child++ {
		if child < len(p.workers) && child < p.items {
			p.rouse(p.workers[child])
		}
	}
	for k := range p.shares {
		s := &p.shares[(w.Index+k)%len(p.shares)]
		for {
			i := s.next.Add(1) - 1
			if i >= s.end {
				break
			}
			p.task.Do(w, int(i))
		}
	}
}

// waitForHelpers returns when no helper is inside the region: each has at most one item left to finish.
func (p *Pool) waitForHelpers() {
	inside := func(s uint64) bool { return s&stateInside != 0 }
	if !inside(p.state.Load()) {
		return
	}
	for start := time.Now(); ; {
		for range spinLoads {
			if !inside(p.state.Load()) {
				return
			}
		}
		if !p.waitsOn(start) {
			break
		}
	}
	if inside(p.state.Or(stateWaiting)) {
		<-p.done
	}
	p.state.And(^uint64(stateWaiting))
}

// waitsOn tells a thread that has waited since start whether to go on. Where it has waited for longer than most waits
// are, another program may have the processor of the thread that it waits for: it lets go of its own.
func (p *Pool) waitsOn(start time.Time) bool {
	waited := time.Since(start)
	if waited > politeAfter {
		yield()
	}
	return waited < p.spin
}

// help is the life of a helper.
func (p *Pool) help(w *Worker) {
	var seen uint64 // epoch of the last region it took part in
	for {
		s := p.await(w, seen)
		if s&stateClosed != 0 {
			return
		}
		if !p.state.CompareAndSwap(s, s+1) {
			continue
		}
		seen = s >> 32
		p.work(w)
		if s := p.state.Add(^uint64(0)); s&stateInside == 0 && s&stateWaiting != 0 {
			p.done <- struct{}{}
		}
	}
}

// await returns the state once it shows an open region other than the one seen, or the end of the pool.
func (p *Pool) await(w *Worker, seen uint64) uint64 {
	ready := func(s uint64) bool { return s&stateClosed != 0 || s&stateOpen != 0 && s>>32 != seen }
	for {
		for start := time.Now(); ; {
			for range spinLoads {
				if s := p.state.Load(); ready(s) {
					return s
				}
			}
			if !p.waitsOn(start) {
				break
			}
		}
		// Park, unless a region opened meanwhile: rouse looks at parked after the state changed, we look at the state
		// after parked changed, so one of the two sees the other.
		w.parked.Store(true)
		if s := p.state.Load(); ready(s) && w.parked.CompareAndSwap(true, false) {
			return s
		}
		<-w.wake
	}
}

// rouse wakes w if it is parked.
func (p *Pool) rouse(w *Worker) {
	if w.parked.Load() && w.parked.CompareAndSwap(true, false) {
		w.wake <- struct{}{}
	}
}
