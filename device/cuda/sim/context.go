package sim

import (
	"fmt"
	"sync"
	"unsafe"

	"bilevel/device/cuda/driver"
	"bilevel/internal/ptx"
)

// hostBytesPerSecond stands for the link between host and card in the time of copies: PCIe 4.0 with 16 lanes.
const hostBytesPerSecond = 25e9

// context is a card in use: a machine, and what the driver keeps beside it.
type context struct {
	d    *Driver
	card driver.Card

	mu     sync.Mutex // guards all below
	m      *ptx.Machine
	pinned map[*byte][]byte
	fault  *driver.Error // sticky
	closed bool
	clock  float64 // seconds, estimated
	count  struct{ calls, allocs, launches int }
}

func newContext(d *Driver, i int) *context {
	return &context{
		d: d, card: d.describe(i), pinned: map[*byte][]byte{},
		m: ptx.NewMachine(ptx.Options{Sanitize: !d.Plain, Float: d.Float, Seed: d.Seed, Workers: d.Workers, Card: &d.cards[i], Memory: d.Memory}),
	}
}

func (c *context) Card() driver.Card { return c.card }

// enter begins a call; the caller holds mu until it returns. The error is that of a context which is gone.
func (c *context) enter(call string) error {
	c.d.count(call)
	c.count.calls++
	if c.count.calls == c.d.Faults.Lost {
		c.fault = &driver.Error{Code: driver.DeviceLost, Detail: c.card.Name + " does not answer any more"}
	}
	switch {
	case c.closed:
		return &driver.Error{Call: call, Code: driver.NotInitialized, Detail: "the context is closed"}
	case c.fault != nil:
		return &driver.Error{Call: call, Code: c.fault.Code, Detail: c.fault.Detail}
	}
	return nil
}

func (c *context) Alloc(bytes int64) (driver.Ptr, error) {
	const call = "cuMemAlloc"
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter(call); err != nil {
		return 0, err
	}
	c.count.allocs++
	short := &driver.Error{Call: call, Code: driver.OutOfMemory,
		Detail: fmt.Sprintf("%d bytes asked, %d of %d in use", bytes, c.m.MemoryInUse(), c.card.Memory)}
	switch {
	case bytes <= 0:
		return 0, &driver.Error{Call: call, Code: driver.InvalidValue, Detail: fmt.Sprintf("%d bytes", bytes)}
	case c.count.allocs == c.d.Faults.Alloc, bytes > c.card.Memory-c.m.MemoryInUse():
		return 0, short
	}
	p, err := c.m.Alloc(bytes, fmt.Sprintf("allocation %d", c.count.allocs))
	if err != nil {
		return 0, short
	}
	return driver.Ptr(p), nil
}

func (c *context) Free(p driver.Ptr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuMemFree"); err != nil {
		return err
	}
	return invalid("cuMemFree", c.m.Free(uint64(p)))
}

// invalid is an error of the simulator about a call's arguments, as the driver's.
func invalid(call string, err error) error {
	if err == nil {
		return nil
	}
	return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: err.Error()}
}

func (c *context) Pinned(bytes int) ([]byte, error) {
	const call = "cuMemHostAlloc"
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter(call); err != nil {
		return nil, err
	}
	if bytes <= 0 {
		return nil, &driver.Error{Call: call, Code: driver.InvalidValue, Detail: fmt.Sprintf("%d bytes", bytes)}
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(make([]uint64, (bytes+7)/8)))), bytes) // aligned for words
	c.pinned[&b[0]] = b
	return b, nil
}

func (c *context) FreePinned(b []byte) error {
	const call = "cuMemFreeHost"
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter(call); err != nil {
		return err
	}
	if len(b) == 0 || c.pinned[&b[0]] == nil {
		return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "this memory is not pinned"}
	}
	delete(c.pinned, &b[0])
	return nil
}

// isPinned says whether b lies within pinned memory.
func (c *context) isPinned(b []byte) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for _, p := range c.pinned {
		from := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
		if at >= from && at+uintptr(len(b)) <= from+uintptr(len(p)) {
			return true
		}
	}
	return len(b) == 0
}

func (c *context) Load(text string) (driver.Module, error) {
	const call = "cuModuleLoadData"
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter(call); err != nil {
		return nil, err
	}
	m, err := c.d.parse(text)
	if err == nil {
		err = c.m.Instantiate(m)
	}
	if err != nil {
		return nil, &driver.Error{Call: call, Code: driver.InvalidPTX, Detail: err.Error()}
	}
	return &module{c, m}, nil
}

func (c *context) Stream() (driver.Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuStreamCreate"); err != nil {
		return nil, err
	}
	return &stream{c: c}, nil
}

func (c *context) Event() (driver.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuEventCreate"); err != nil {
		return nil, err
	}
	return &event{c: c}, nil
}

// Close lets go of everything. It works on a context that is lost, too.
func (c *context) Close() error {
	const call = "cuCtxDestroy"
	c.mu.Lock()
	defer c.mu.Unlock()
	c.d.count(call)
	if c.closed {
		return &driver.Error{Call: call, Code: driver.NotInitialized, Detail: "the context is closed"}
	}
	c.closed, c.m, c.pinned = true, nil, nil
	return nil
}

// module and function are loaded code.
type module struct {
	c *context
	m *ptx.Module
}

func (m *module) Function(name string) (driver.Function, error) {
	const call = "cuModuleGetFunction"
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if err := m.c.enter(call); err != nil {
		return nil, err
	}
	k := m.m.Kernel(name)
	if k == nil {
		return nil, &driver.Error{Call: call, Code: driver.NotFound, Detail: fmt.Sprintf("%s has no kernel %q", m.m.Name, name)}
	}
	return &function{c: m.c, k: k}, nil
}

// Unload keeps the module's variables: another module of the same text may stand on them.
func (m *module) Unload() error {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.c.enter("cuModuleUnload")
}

type function struct {
	c      *context
	k      *ptx.Kernel
	shared int // the attribute
}

func (f *function) Name() string { return f.k.Name }

func (f *function) AllowShared(bytes int) error {
	const call = "cuFuncSetAttribute"
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if err := f.c.enter(call); err != nil {
		return err
	}
	if most := f.c.card.MaxSharedMore - f.k.SharedBytes; bytes < 0 || bytes > most {
		return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: fmt.Sprintf("%s: %d bytes of dynamic shared memory, at most %d", f.k.Name, bytes, most)}
	}
	f.shared = bytes
	return nil
}

// event remembers the clock.
type event struct {
	c        *context
	at       float64 // seconds
	recorded bool
}

func (e *event) Since(earlier driver.Event) (float64, error) {
	const call = "cuEventElapsedTime"
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if err := e.c.enter(call); err != nil {
		return 0, err
	}
	first, ok := earlier.(*event)
	if !ok || first.c != e.c || !first.recorded || !e.recorded {
		return 0, &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "an event was not recorded on this card"}
	}
	return (e.at - first.at) * 1e3, nil
}

func (e *event) Close() error {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	return e.c.enter("cuEventDestroy")
}
