// Package cpudevice is the device that runs programs on the processor: an adapter that binds the operations of package
// cpu to buffers. It holds no arithmetic.
package cpudevice

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"bilevel/cpu"
	"bilevel/device"
	"bilevel/internal/hostmemory"
)

// Device runs programs on the processor. Real is float32. It does one thing at a time: runs and transfers queue.
type Device struct {
	mu     sync.Mutex // guards all below
	pool   *cpu.Pool
	alone  [2]*cpu.Pool // of one thread: for chains of instructions that run side by side
	ledger *device.Ledger

	observe device.Observer // nil: nobody is told
}

var (
	_ device.Device = (*Device)(nil)
	_ device.Holder = (*Device)(nil)
)

// New returns a device with the given number of threads; 0 or less means GOMAXPROCS. It uses the best instructions that
// the processor has. Close ends the threads.
func New(threads int) device.Device { return NewAt(threads, cpu.Detected()) }

// NewAt is New with instructions of one level, for tests and comparisons.
func NewAt(threads int, level cpu.Level) device.Device {
	return NewWith(Options{Threads: threads, Level: level})
}

// Options choose how programs are run.
type Options struct {
	Threads int // 0 or less: GOMAXPROCS
	Level   cpu.Level
	Direct  bool            // convolutions are computed as the sums that they are, never by Winograd's algorithm
	Observe device.Observer // nil: nobody is told
}

// NewWith is New with the options.
func NewWith(o Options) device.Device {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	pool := func(threads int) *cpu.Pool {
		p := cpu.NewPool(threads, o.Level)
		p.Direct = o.Direct
		return p
	}
	return &Device{
		pool: pool(o.Threads), alone: [2]*cpu.Pool{pool(1), pool(1)}, ledger: device.NewLedger("cpu", 32),
		observe: o.Observe,
	}
}

// Info describes the device.
func (d *Device) Info() device.Info {
	total, free := hostmemory.Bytes()
	return device.Info{
		Name:      "cpu",
		Detail:    d.detail(),
		Threads:   d.pool.Threads(),
		RealBits:  32,
		SumBlock:  cpu.SumBlock,
		Memory:    total,
		Free:      free,
		Alignment: lineBytes,
	}
}

// detail says which instructions run programs, and how.
func (d *Device) detail() string {
	s := runtime.GOARCH + ", " + d.pool.Level().String()
	if d.pool.Direct {
		s += ", direct convolutions"
	}
	return s
}

// Sync has nothing to wait for: Run returns when the work is done.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ledger.Open()
}

// Close frees every buffer and ends the threads.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Close(release); err != nil {
		return err
	}
	for _, p := range append(d.alone[:], d.pool) {
		p.Close()
	}
	return nil
}

// Prepare checks the program and binds its instructions.
func (d *Device) Prepare(p *device.Program) (device.Runner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := device.CheckPrepare(p, d.ledger.Check); err != nil {
		return nil, err
	}
	r := &runner{device: d, program: p, ops: make([]operation, len(p.Code))}
	bind := func(i int, pool *cpu.Pool) {
		in := &p.Code[i]
		r.ops[i] = prepare[in.Op](pool, &bound{p, in})
	}
	r.segments = d.schedule(p)
	for _, s := range r.segments {
		if s.fork == nil {
			bind(s.instr, d.pool)
			continue
		}
		s.fork.runner = r
		for c, chain := range s.fork.chains {
			for _, i := range chain {
				bind(i, d.alone[c])
			}
		}
	}
	r.indirectMinibatches()
	return r, nil
}

// operation is an instruction made ready.
type operation interface{ Run() error }

// runner is a program made ready.
type runner struct {
	device   *Device
	program  *device.Program
	ops      []operation // by instruction
	segments []segment
	closed   bool
}

// Run executes the program n times; other runs and transfers wait meanwhile.
func (r *runner) Run(n int) error {
	d := r.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Open(); err != nil {
		return err
	}
	if err := device.CheckRun(r.program, n, r.closed, d.ledger.Check); err != nil {
		return err
	}
	d.pool.Lock()
	defer d.pool.Unlock()
	run := r.run
	if d.observe != nil {
		run = r.observed
	}
	for range n {
		for _, s := range r.segments {
			i, err := run(s)
			if err != nil {
				return r.explain(i, err)
			}
		}
	}
	return nil
}

// run runs one segment, and says which instruction failed where one does.
func (r *runner) run(s segment) (i int, err error) {
	if s.fork != nil {
		return s.fork.run(r.device.pool)
	}
	return s.instr, r.ops[s.instr].Run()
}

// observed is run, of which the device's observer is told.
func (r *runner) observed(s segment) (i int, err error) {
	begin := time.Now()
	i, err = r.run(s)
	r.device.observe(r.program, r.instructions(s), time.Since(begin))
	return i, err
}

// instructions are those of a segment.
func (r *runner) instructions(s segment) (list []*device.Instr) {
	if s.fork == nil {
		return []*device.Instr{&r.program.Code[s.instr]}
	}
	for _, i := range slices.Concat(s.fork.chains[:]...) {
		list = append(list, &r.program.Code[i])
	}
	return list
}

// explain says where an error happened, in the terms of package device.
func (r *runner) explain(i int, err error) error {
	if errors.Is(err, cpu.ErrIndex) {
		err = fmt.Errorf("%w (%w)", device.ErrIndex, err)
	}
	return fmt.Errorf("cpu: %w", r.program.Explain(i, err))
}

// Close lets go of the operations.
func (r *runner) Close() error {
	r.device.mu.Lock()
	defer r.device.mu.Unlock()
	r.closed = true
	r.ops, r.segments = nil, nil
	return nil
}
