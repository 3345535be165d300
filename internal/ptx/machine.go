package ptx

import (
	"fmt"
	"io"
	"runtime"
)

// FloatMode says how freely floating-point instructions are read.
type FloatMode uint8

// The modes.
const (
	Exact FloatMode = iota // IEEE where PTX promises it; approximations correctly rounded
	// Pessimistic perturbs approximations within their documented bound, by a hash of the operands and the seed.
	Pessimistic
	Contract // un-suffixed mul.f32 feeding an un-suffixed add or sub becomes fma, as ptxas may do
)

// Options of a machine. The zero value is a plain A100-like machine without checks.
type Options struct {
	Sanitize bool // check accesses, initialisation, races and barriers; slower, one worker
	Float    FloatMode
	Seed     uint64    // permutes the order of blocks and warps; 0: natural order
	Workers  int       // goroutines that run blocks; 0: one per processor
	Card     *Card     // limits of launches; nil: those of an A100
	Watchdog uint64    // warp instructions a launch may execute; 0: 2³²
	Memory   int64     // bytes of global memory; 0: the card's
	Warps    WarpOrder // how the warps of a block take turns
	WarpSeed uint64    // of WarpsRandom
	// StrictVolatile takes volatile accesses for ordinary ones, as the C++ memory model does: they order nothing, and
	// race.
	StrictVolatile bool
	Output         io.Writer // of device-side printf, in the order threads run; nil: dropped
	// Sample, where it is not 0, is how many blocks of a launch are run, spread evenly over the grid; the counters are
	// scaled up as if the others were like them. For estimates of large launches: results are those of these blocks
	// alone.
	Sample int
}

// A Machine is one simulated card: its memory and the globals of the modules on it. It is not safe for concurrent use;
// different machines are independent and may share modules.
type Machine struct {
	opt       Options
	card      Card
	mem       memory
	instances map[*Module]*instance
	launches  uint64
}

// NewMachine makes a card with empty memory.
func NewMachine(opt Options) *Machine {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.Sanitize {
		opt.Workers = 1
	}
	if opt.Watchdog == 0 {
		opt.Watchdog = 1 << 32
	}
	m := &Machine{opt: opt, instances: map[*Module]*instance{}}
	if opt.Card != nil {
		m.card = *opt.Card
	} else {
		m.card = Cards()[0]
	}
	if opt.Memory == 0 {
		opt.Memory = m.card.MemoryBytes
	}
	m.mem = memory{limit: opt.Memory, tracking: opt.Sanitize}
	return m
}

// Card is the card whose limits the machine has.
func (m *Machine) Card() Card { return m.card }

// Alloc reserves n bytes of global memory. Its bytes count as uninitialised until the host or a kernel writes them;
// without the sanitizer they are zero. The label names it in reports.
func (m *Machine) Alloc(n int64, label string) (uint64, error) {
	a, err := m.mem.alloc(n, label)
	if err != nil {
		return 0, err
	}
	return a.base, nil
}

// Free gives an allocation back. Its addresses are not used again.
func (m *Machine) Free(addr uint64) error { return m.mem.free(addr) }

// Write copies data to addr and marks it initialised.
func (m *Machine) Write(addr uint64, data []byte) error {
	a, dst, err := m.mem.host("write", addr, len(data))
	if err != nil {
		return err
	}
	copyInPieces(dst, data)
	a.learn(addr, len(data))
	return nil
}

// Read copies from addr to data.
func (m *Machine) Read(addr uint64, data []byte) error {
	_, src, err := m.mem.host("read", addr, len(data))
	copyInPieces(data, src)
	return err
}

// copyInPieces copies as many bytes as both have. The runtime cannot interrupt a single copy, and while the garbage
// collector waits for its end no other goroutine runs either, not even one that has to answer a signal.
func copyInPieces(dst, src []byte) {
	const piece = 1 << 20
	for n := min(len(dst), len(src)); n > 0; n = min(len(dst), len(src)) {
		n = copy(dst[:min(n, piece)], src)
		dst, src = dst[n:], src[n:]
		runtime.Gosched()
	}
}

// Fill sets n bytes from addr to value and marks them initialised.
func (m *Machine) Fill(addr uint64, value byte, n int64) error {
	a, dst, err := m.mem.host("fill", addr, int(n))
	if err != nil {
		return err
	}
	if len(dst) > 0 {
		dst[0] = value
	}
	for done := 1; done < len(dst); done *= 2 { // as much again
		copy(dst[done:], dst[:done])
	}
	a.learn(addr, int(n))
	return nil
}

func (a *allocation) learn(addr uint64, n int) {
	if a.known != nil && n > 0 {
		a.known.setRange(addr-a.base, uint64(n))
	}
}

// MemoryInUse is the number of bytes allocated.
func (m *Machine) MemoryInUse() int64 { return m.mem.used }

// Instantiate puts the module's variables into the machine's memory, with their initial values. Doing it again changes
// nothing; Run does it by itself.
func (m *Machine) Instantiate(mod *Module) error {
	_, err := m.instance(mod)
	return err
}

// Symbol is the address and size of a .global or .const variable of the module.
func (m *Machine) Symbol(mod *Module, name string) (addr uint64, size int64, err error) {
	inst, err := m.instance(mod)
	if err != nil {
		return 0, 0, err
	}
	g := mod.symbols[name]
	if g == nil {
		return 0, 0, fmt.Errorf("%s: no variable %q", mod.Name, name)
	}
	return inst.addr[g.index], int64(g.size), nil
}

// Unload frees the module's variables.
func (m *Machine) Unload(mod *Module) error {
	inst := m.instances[mod]
	if inst == nil {
		return nil
	}
	delete(m.instances, mod)
	for _, addr := range inst.addr {
		if err := m.mem.free(addr); err != nil {
			return err
		}
	}
	return nil
}
