//go:build cuda

package real

/*
#include <cuda.h>
#include <stdlib.h>

// load compiles PTX; what the compiler objects to is written to log.
static CUresult load(CUmodule *module, const char *text, char *log, unsigned int size) {
	CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {log, (void *)(size_t)size};
	return cuModuleLoadDataEx(module, text, 2, options, values);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"gorgonia.org/cu"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/shim"
)

// logSize is the room for what the PTX compiler objects to.
const logSize = 4096

// context is a use of a card's primary context, which every library of the process shares.
type context struct {
	d       *real
	primary cu.Device
	cu      cu.CUContext
	card    driver.Card

	mu     sync.RWMutex // held for writing by Close, for reading by all other calls
	closed bool
}

// do calls f on a thread where the context is current; detail, where it is not nil, is asked when f fails.
func (c *context) do(call string, detail func() string, f func() error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return driver.Closed(call, "the context")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cu.SetCurrentContext(c.cu); err != nil {
		return c.d.failed("cuCtxSetCurrent", c.card.Name, err)
	}
	err := f()
	if err == nil {
		return nil
	}
	said := c.card.Name
	if detail != nil {
		said = detail()
	}
	return c.d.failed(call, said, err)
}

// bytes is the detail of calls with a size.
func bytes(n int64) func() string { return func() string { return fmt.Sprintf("%d bytes", n) } }

func (c *context) Card() driver.Card { return c.card }

func (c *context) Alloc(n int64) (p driver.Ptr, err error) {
	err = c.do("cuMemAlloc", bytes(n), func() error {
		mem, err := cu.MemAlloc(n)
		p = driver.Ptr(mem)
		return err
	})
	return p, err
}

func (c *context) Free(p driver.Ptr) error {
	return c.do("cuMemFree", nil, func() error { return cu.MemFree(cu.DevicePtr(p)) })
}

func (c *context) FreeMemory() (free int64, err error) {
	err = c.do("cuMemGetInfo", nil, func() (err error) { free, _, err = cu.MemInfo(); return err })
	return free, err
}

func (c *context) Pinned(n int) ([]byte, error) {
	var p unsafe.Pointer
	if err := c.do(
		"cuMemHostAlloc", bytes(int64(n)), func() error { return check(C.cuMemHostAlloc(&p, C.size_t(n), 0)) },
	); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

func (c *context) FreePinned(b []byte) error {
	return c.do(
		"cuMemFreeHost", bytes(int64(len(b))),
		func() error { return cu.MemFreeHost(unsafe.Pointer(unsafe.SliceData(b))) },
	)
}

func (c *context) Load(ptx string) (driver.Module, error) {
	text := C.CString(ptx)
	defer C.free(unsafe.Pointer(text))
	log := (*C.char)(C.calloc(1, logSize))
	defer C.free(unsafe.Pointer(log))
	m := &module{handle: handle{c: c, name: "the module"}}
	err := c.do("cuModuleLoadDataEx", func() string { return strings.TrimSpace(C.GoString(log)) }, func() error {
		return check(C.load((*C.CUmodule)(unsafe.Pointer(&m.cu)), text, log, logSize))
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (c *context) Stream() (driver.Stream, error) {
	s := &stream{handle: handle{c: c, name: "the stream"}}
	err := c.do("cuStreamCreate", nil, func() (err error) { s.cu, err = cu.MakeStream(cu.NonBlocking); return err })
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *context) Event(timed bool) (driver.Event, error) {
	e := &event{handle: handle{c: c, name: "the event"}}
	flags := cu.DisableTiming
	if timed {
		flags = cu.DefaultEvent
	}
	err := c.do("cuEventCreate", nil, func() (err error) { e.cu, err = cu.MakeEvent(flags); return err })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Close releases the primary context, which ends with its last user.
func (c *context) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return driver.Closed("cuDevicePrimaryCtxRelease", "the context")
	}
	c.closed = true
	defer shim.Release()
	return c.d.selected(false, func() error {
		return c.d.failed("cuDevicePrimaryCtxRelease", c.card.Name, c.primary.ReleasePrimaryCtx())
	})
}

// handle is an object of a context, which is closed once: the driver itself does not notice what is used later.
type handle struct {
	c      *context
	name   string
	closed atomic.Bool
}

// do is context.do while the object is open.
func (h *handle) do(call string, detail func() string, f func() error) error {
	if h.closed.Load() {
		return driver.Closed(call, h.name)
	}
	return h.c.do(call, detail, f)
}

func (h *handle) close(call string, f func() error) error {
	if h.closed.Swap(true) {
		return driver.Closed(call, h.name)
	}
	return h.c.do(call, nil, f)
}

type module struct {
	handle
	cu cu.Module
}

func (m *module) Function(name string) (driver.Function, error) {
	f := &function{m: m, name: name}
	err := m.do("cuModuleGetFunction", f.Name, func() (err error) { f.cu, err = m.cu.Function(name); return err })
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (m *module) Unload() error { return m.close("cuModuleUnload", m.cu.Unload) }

type function struct {
	m    *module
	name string
	cu   cu.Function
}

func (f *function) Name() string { return f.name }

// raw is the driver's; cu keeps it as the only field of its own type.
func (f *function) raw() C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f.cu)) }

func (f *function) AllowShared(n int) error {
	detail := func() string { return fmt.Sprintf("%s, %d bytes of dynamic shared memory", f.name, n) }
	return f.m.do("cuFuncSetAttribute", detail, func() error {
		return check(C.cuFuncSetAttribute(f.raw(), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(n)))
	})
}

type event struct {
	handle
	cu cu.Event
}

func (e *event) Since(earlier driver.Event) (ms float64, err error) {
	from, ok := earlier.(*event)
	if !ok || from.c != e.c {
		return 0, &driver.Error{
			Call: "cuEventElapsedTime", Code: driver.InvalidValue, Detail: "the events are of different contexts",
		}
	}
	if from.closed.Load() {
		return 0, driver.Closed("cuEventElapsedTime", from.name)
	}
	err = e.do("cuEventElapsedTime", nil, func() (err error) { ms, err = from.cu.Elapsed(e.cu); return err })
	return ms, err
}

func (e *event) Synchronize() error {
	return e.do("cuEventSynchronize", nil, e.cu.Synchronize)
}

func (e *event) Close() error {
	return e.close("cuEventDestroy", func() error { return cu.DestroyEvent(&e.cu) })
}
