package sim

import (
	"cmp"
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
	loaded map[*ptx.Module]int // how often
	closed bool
	clock  float64 // seconds, estimated
	late   []work  // work given and not done yet
	given  int     // pieces of work so far
	count  struct{ calls, allocs, launches int }
}

func newContext(d *Driver, i int) *context {
	return &context{
		d:      d,
		card:   d.describe(i),
		pinned: map[*byte][]byte{},
		loaded: map[*ptx.Module]int{},
		m: ptx.NewMachine(
			ptx.Options{
				Sanitize: !d.Plain, Float: d.Float, Seed: d.Seed, Workers: d.Workers, Card: &d.cards[i],
				Memory: d.Memory, Sample: d.Sample,
			},
		),
	}
}

func (c *context) Card() driver.Card { return c.card }

// enter begins a call; the caller holds mu until it returns. The error is that of a context which is gone.
func (c *context) enter(call string) error {
	c.d.count(call)
	c.count.calls++
	if c.count.calls == c.d.Faults.Lost {
		c.d.lose(&driver.Error{Code: driver.Unavailable, Detail: c.card.Name + " does not answer any more"})
	}
	if c.closed {
		return driver.Closed(call, "the context")
	}
	return c.d.lost(call)
}

// wait is the part of a call that waits for the first n pieces of work.
func (c *context) wait(call string, n int) error {
	var err error
	for len(c.late) > 0 && c.given-len(c.late) < n && c.d.lost(call) == nil {
		next := c.late[0]
		c.late = c.late[1:]
		err = cmp.Or(err, next())
	}
	return cmp.Or(c.d.lost(call), err)
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
	if err := c.wait("cuMemFree", c.given); err != nil {
		return err
	}
	return invalid("cuMemFree", c.m.Free(uint64(p)))
}

// FreeMemory is what no allocation holds.
func (c *context) FreeMemory() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuMemGetInfo"); err != nil {
		return 0, err
	}
	return c.card.Memory - c.m.MemoryInUse(), nil
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
	// aligned for words
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(make([]uint64, (bytes+7)/8)))), bytes)
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
	if err := c.wait(call, c.given); err != nil {
		return err
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
	if err := c.d.reads(text); err != nil {
		return nil, &driver.Error{Call: call, Code: driver.UnsupportedPTX, Detail: err.Error()}
	}
	m, err := c.d.parse(text)
	if err == nil {
		err = runsOn(m.Target, c.card.Capability)
	}
	if err == nil {
		err = c.m.Instantiate(m)
	}
	if err != nil {
		return nil, &driver.Error{Call: call, Code: driver.InvalidPTX, Detail: err.Error()}
	}
	c.loaded[m]++
	return &module{object{c: c, name: "the module"}, m}, nil
}

func (c *context) Stream() (driver.Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuStreamCreate"); err != nil {
		return nil, err
	}
	return &stream{object: object{c: c, name: "the stream"}}, nil
}

func (c *context) Event(timed bool) (driver.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter("cuEventCreate"); err != nil {
		return nil, err
	}
	return &event{object: object{c: c, name: "the event"}, timed: timed}, nil
}

// Close lets go of everything. It works on a context that is lost, too.
func (c *context) Close() error {
	const call = "cuDevicePrimaryCtxRelease"
	c.mu.Lock()
	defer c.mu.Unlock()
	c.d.count(call)
	if c.closed {
		return driver.Closed(call, "the context")
	}
	c.closed, c.m, c.pinned, c.loaded, c.late = true, nil, nil, nil, nil
	return nil
}

// object is what a context holds and what is closed once.
type object struct {
	c      *context
	name   string
	closed bool
}

// enter begins a call on an object; the caller holds the context's lock.
func (o *object) enter(call string) error {
	return cmp.Or(o.c.enter(call), o.open(call))
}

// open checks an object that a call on another takes.
func (o *object) open(call string) error {
	if o.closed {
		return driver.Closed(call, o.name)
	}
	return nil
}

// close is the call that ends an object.
func (o *object) close(call string) error {
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	if err := o.enter(call); err != nil {
		return err
	}
	o.closed = true
	return nil
}

// module and function are loaded code.
type module struct {
	object
	m *ptx.Module
}

func (m *module) Function(name string) (driver.Function, error) {
	const call = "cuModuleGetFunction"
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if err := m.enter(call); err != nil {
		return nil, err
	}
	k := m.m.Kernel(name)
	if k == nil {
		return nil, &driver.Error{
			Call: call, Code: driver.NotFound, Detail: fmt.Sprintf("%s has no kernel %q", m.m.Name, name),
		}
	}
	return &function{of: m, k: k}, nil
}

// Unload frees the module's variables unless another module of the same text stands on them.
func (m *module) Unload() error {
	const call = "cuModuleUnload"
	if err := m.close(call); err != nil {
		return err
	}
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if len(m.c.late) > 0 { // cuda.h does not say that the call waits
		return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "work that may need the module is not over"}
	}
	if m.c.loaded[m.m]--; m.c.loaded[m.m] > 0 {
		return nil
	}
	delete(m.c.loaded, m.m)
	m.c.d.forget(m.m)
	return invalid(call, m.c.m.Unload(m.m))
}

type function struct {
	of     *module
	k      *ptx.Kernel
	shared int // the attribute
}

func (f *function) Name() string { return f.k.Name }

func (f *function) AllowShared(bytes int) error {
	const call = "cuFuncSetAttribute"
	f.of.c.mu.Lock()
	defer f.of.c.mu.Unlock()
	if err := f.of.enter(call); err != nil {
		return err
	}
	if most := f.of.c.card.MaxSharedMore - f.k.SharedBytes; bytes < 0 || bytes > most {
		return &driver.Error{
			Call: call, Code: driver.InvalidValue,
			Detail: fmt.Sprintf("%s: %d bytes of dynamic shared memory, at most %d", f.k.Name, bytes, most),
		}
	}
	f.shared = bytes
	return nil
}

// ParamSizes are the sizes of the kernel's parameters in bytes, in order.
func (f *function) ParamSizes() []int {
	sizes := make([]int, len(f.k.Params))
	for i, p := range f.k.Params {
		sizes[i] = p.Size
	}
	return sizes
}

// event remembers the clock.
type event struct {
	object
	timed    bool
	at       float64 // seconds
	recorded bool
	place    int // pieces of work given when the last Record was
}

func (e *event) Synchronize() error {
	const call = "cuEventSynchronize"
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if err := e.enter(call); err != nil {
		return err
	}
	return e.c.wait(call, e.place)
}

func (e *event) Since(earlier driver.Event) (float64, error) {
	const call = "cuEventElapsedTime"
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	if err := e.enter(call); err != nil {
		return 0, err
	}
	first, ok := earlier.(*event)
	if ok && first.closed {
		return 0, first.open(call)
	}
	if !ok || first.c != e.c || !first.recorded || !e.recorded {
		return 0, &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "an event was not recorded on this card"}
	}
	if !first.timed || !e.timed {
		return 0, &driver.Error{Call: call, Code: driver.InvalidHandle, Detail: "an event keeps no time"}
	}
	return (e.at - first.at) * 1e3, nil
}

func (e *event) Close() error { return e.close("cuEventDestroy") }
