//go:build cuda

package bridge

//#include "bridge.h"
import "C"

import (
	"runtime"
	"unsafe"

	"bilevel/device/cuda/driver"
)

// The functions of this package's C table. Their names, prototypes and results are those of cuda.h.

//export bridge_cuInit
func bridge_cuInit(C.uint) C.CUresult {
	cards, err := selected.Cards()
	if err == nil && len(cards) == 0 {
		return C.CUDA_ERROR_NO_DEVICE
	}
	return answer(err)
}

//export bridge_cuDriverGetVersion
func bridge_cuDriverGetVersion(version *C.int) C.CUresult {
	cards, err := selected.Cards()
	if err != nil {
		return answer(err)
	}
	*version = C.CUDA_VERSION
	if len(cards) > 0 {
		*version = C.int(cards[0].DriverVersion)
	}
	return C.CUDA_SUCCESS
}

//export bridge_cuDeviceGetCount
func bridge_cuDeviceGetCount(count *C.int) C.CUresult {
	cards, err := selected.Cards()
	*count = C.int(len(cards))
	return answer(err)
}

// card is a card of the selected driver.
func card(dev C.CUdevice) (driver.Card, error) {
	cards, err := selected.Cards()
	if err != nil {
		return driver.Card{}, err
	}
	if dev < 0 || int(dev) >= len(cards) {
		return driver.Card{}, &driver.Error{Code: driver.InvalidDevice}
	}
	return cards[dev], nil
}

//export bridge_cuDeviceGet
func bridge_cuDeviceGet(dev *C.CUdevice, ordinal C.int) C.CUresult {
	*dev = C.CUdevice(ordinal)
	_, err := card(*dev)
	return answer(err)
}

//export bridge_cuDeviceGetName
func bridge_cuDeviceGetName(name *C.char, size C.int, dev C.CUdevice) C.CUresult {
	c, err := card(dev)
	if err == nil && size > 0 {
		to := unsafe.Slice((*byte)(unsafe.Pointer(name)), size)
		to[copy(to[:size-1], c.Name)] = 0
	}
	return answer(err)
}

//export bridge_cuDeviceTotalMem
func bridge_cuDeviceTotalMem(bytes *C.size_t, dev C.CUdevice) C.CUresult {
	c, err := card(dev)
	*bytes = C.size_t(c.Memory)
	return answer(err)
}

//export bridge_cuDeviceGetAttribute
func bridge_cuDeviceGetAttribute(value *C.int, attribute C.CUdevice_attribute, dev C.CUdevice) C.CUresult {
	c, err := card(dev)
	if err != nil {
		return answer(err)
	}
	v, ok := map[C.CUdevice_attribute]int{
		C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:          c.Capability[0],
		C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:          c.Capability[1],
		C.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:              c.Processors,
		C.CU_DEVICE_ATTRIBUTE_CLOCK_RATE:                        c.ClockKHz,
		C.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:             c.MaxThreads,
		C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:                    c.MaxGrid[0],
		C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:                    c.MaxGrid[1],
		C.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:                    c.MaxGrid[2],
		C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:       c.MaxShared,
		C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: c.MaxSharedMore,
		C.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:                     c.L2,
		C.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:                 c.MemoryClockKHz,
		C.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:           c.BusBits,
	}[attribute]
	if !ok {
		return refuse(driver.InvalidValue, "the bridge knows no attribute %d", attribute)
	}
	*value = C.int(v)
	return C.CUDA_SUCCESS
}

// primaryKey names the primary context of a card of a driver.
type primaryKey struct {
	driver driver.Driver
	card   C.CUdevice
}

// primaries are the primary contexts in use, and by how many, guarded by objects.
var primaries = map[primaryKey]*context{}

//export bridge_cuDevicePrimaryCtxRetain
func bridge_cuDevicePrimaryCtxRetain(handle *C.CUcontext, dev C.CUdevice) C.CUresult {
	key := primaryKey{selected, dev}
	objects.RLock()
	c := primaries[key]
	objects.RUnlock()
	if c == nil { // no other call selects a driver meanwhile
		opened, err := selected.Open(int(dev))
		if err != nil {
			return answer(err)
		}
		c = &context{Context: opened, pinned: map[unsafe.Pointer]*pinned{}}
		c.handle = put(c, c)
		objects.Lock()
		primaries[key] = c
		objects.Unlock()
	}
	objects.Lock()
	c.users++
	objects.Unlock()
	*handle = C.CUcontext(c.handle)
	return C.CUDA_SUCCESS
}

//export bridge_cuCtxSetCurrent
func bridge_cuCtxSetCurrent(handle C.CUcontext) C.CUresult {
	before := C.bridge_current()
	C.bridge_set_current(handle)
	if handle == nil {
		return C.CUDA_SUCCESS
	}
	_, err := current()
	if err != nil {
		C.bridge_set_current(before)
	}
	return answer(err)
}

//export bridge_cuDevicePrimaryCtxRelease
func bridge_cuDevicePrimaryCtxRelease(dev C.CUdevice) C.CUresult {
	key := primaryKey{selected, dev}
	objects.Lock()
	c := primaries[key]
	if c == nil {
		objects.Unlock()
		return refuse(invalidContext, "the primary context of the card is not in use")
	}
	if c.users--; c.users > 0 {
		objects.Unlock()
		return C.CUDA_SUCCESS
	}
	delete(primaries, key)
	objects.Unlock()
	if C.bridge_current() == C.CUcontext(c.handle) {
		C.bridge_set_current(nil)
	}
	err := c.Close()
	dropAll(c)
	return answer(err)
}

//export bridge_cuMemAlloc
func bridge_cuMemAlloc(p *C.CUdeviceptr, bytes C.size_t) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	at, err := c.Alloc(int64(bytes))
	*p = C.CUdeviceptr(at)
	return answer(err)
}

//export bridge_cuMemFree
func bridge_cuMemFree(p C.CUdeviceptr) C.CUresult {
	c, err := current()
	if err == nil {
		err = c.Free(driver.Ptr(p))
	}
	return answer(err)
}

//export bridge_cuMemGetInfo
func bridge_cuMemGetInfo(free, total *C.size_t) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	left, err := c.FreeMemory()
	*free, *total = C.size_t(left), C.size_t(c.Card().Memory)
	return answer(err)
}

// pinned is host memory of a driver, which may lie in Go's heap: C may keep its address while it is pinned.
type pinned struct {
	memory []byte
	pin    runtime.Pinner
}

//export bridge_cuMemHostAlloc
func bridge_cuMemHostAlloc(p *unsafe.Pointer, bytes C.size_t, _ C.uint) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	memory, err := c.Pinned(int(bytes))
	if err != nil {
		return answer(err)
	}
	m := &pinned{memory: memory}
	at := unsafe.Pointer(unsafe.SliceData(memory))
	m.pin.Pin(at)
	objects.Lock()
	c.pinned[at] = m
	objects.Unlock()
	*p = at
	return C.CUDA_SUCCESS
}

//export bridge_cuMemFreeHost
func bridge_cuMemFreeHost(p unsafe.Pointer) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	objects.Lock()
	m, ok := c.pinned[p]
	delete(c.pinned, p)
	objects.Unlock()
	if !ok {
		return refuse(driver.InvalidValue, "this memory is not pinned")
	}
	m.pin.Unpin()
	return answer(c.FreePinned(m.memory))
}
