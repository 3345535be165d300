//go:build cuda

package real

//#include <cuda.h>
//#if CUDA_VERSION < 12000 || CUDA_VERSION >= 13000
//#error "gorgonia.org/cu compiles against the headers of CUDA 12"
//#endif
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"gorgonia.org/cu"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/shim"
)

// real is the driver behind a table of entry points.
type real struct {
	table   *shim.Table
	version int
	empty   bool          // there is a driver, but no card
	explain func() string // nil, or what the driver has to say on the thread's last error
}

// New is the driver of this machine. The error wraps shim.ErrMissing where there is none; a driver without a card is no
// error.
func New() (driver.Driver, error) {
	table, err := shim.Open()
	if err != nil {
		return nil, err
	}
	return Over(table, nil)
}

// Over is the driver that a table leads to. Explain, where it is not nil, is asked after a failed call and on its
// thread; its answer is added to the error.
func Over(table *shim.Table, explain func() string) (driver.Driver, error) {
	d := &real{table: table, explain: explain}
	return d, d.selected(false, func() error {
		err := check(C.cuInit(0)) // before it, any other function may answer that there was no cuInit
		d.empty = code(err) == driver.NoDevice
		d.version = driver.Unasked
		if v := cu.Version(); v > 0 {
			d.version = v
		}
		// A driver that is too old is the better reason, where cuInit failed too.
		switch old := driver.CheckVersion(d.version); {
		case err == nil || d.empty || d.version != driver.Unasked && old != nil:
			return old
		}
		return d.failed("cuInit", "", err)
	})
}

// selected calls f on one thread while the table answers.
func (d *real) selected(hold bool, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return d.table.Select(hold, f)
}

func (d *real) Cards() (cards []driver.Card, err error) {
	if d.empty {
		return nil, nil
	}
	err = d.selected(false, func() error {
		n, err := cu.NumDevices()
		if err != nil {
			return d.failed("cuDeviceGetCount", "", err)
		}
		for i := range n {
			card, err := d.describe(i)
			if err != nil {
				return err
			}
			cards = append(cards, card)
		}
		return nil
	})
	return cards, err
}

func (d *real) Open(i int) (driver.Context, error) {
	if d.empty {
		return nil, &driver.Error{Call: "cuDeviceGet", Code: driver.NoDevice}
	}
	c := &context{d: d}
	err := d.selected(true, func() (err error) {
		if c.card, err = d.describe(i); err != nil {
			return err
		}
		c.primary = cu.Device(i)
		c.cu, err = c.primary.RetainPrimaryCtx()
		return d.failed("cuDevicePrimaryCtxRetain", c.card.Name, err)
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// describe asks for all of a card that the contract names.
func (d *real) describe(i int) (driver.Card, error) {
	card := driver.Card{DriverVersion: d.version}
	which := fmt.Sprintf("card %d", i)
	dev, err := cu.GetDevice(i)
	if err != nil {
		return card, d.failed("cuDeviceGet", which, err)
	}
	if card.Name, err = dev.Name(); err != nil {
		return card, d.failed("cuDeviceGetName", which, err)
	}
	if card.Memory, err = dev.TotalMem(); err != nil {
		return card, d.failed("cuDeviceTotalMem", which, err)
	}
	for _, a := range []struct {
		attribute cu.DeviceAttribute
		to        *int
	}{
		{cu.ComputeCapabilityMajor, &card.Capability[0]}, {cu.ComputeCapabilityMinor, &card.Capability[1]},
		{cu.MultiprocessorCount, &card.Processors}, {cu.ClockRate, &card.ClockKHz},
		{cu.MaxThreadsPerBlock, &card.MaxThreads},
		{cu.MaxGridDimX, &card.MaxGrid[0]}, {cu.MaxGridDimY, &card.MaxGrid[1]}, {cu.MaxGridDimZ, &card.MaxGrid[2]},
		{cu.MaxSharedMemoryPerBlock, &card.MaxShared},
		{C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &card.MaxSharedMore},
		{cu.L2CacheSize, &card.L2}, {cu.MemoryClockRate, &card.MemoryClockKHz},
		{cu.GlobalMemoryBusWidth, &card.BusBits},
	} {
		if *a.to, err = dev.Attribute(a.attribute); err != nil {
			return card, d.failed("cuDeviceGetAttribute", fmt.Sprintf("%s, attribute %d", which, a.attribute), err)
		}
	}
	return card, nil
}

// check is cu's error of a code.
func check(r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return result(r)
}

type result C.CUresult

func (r result) Error() string { return fmt.Sprintf("CUresult %d", int(r)) }

// code is the number within an error of cu, whose type has no exported name, or of check; 0 for nil.
func code(err error) driver.Code {
	if err == nil {
		return 0
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	switch v := reflect.ValueOf(err); {
	case v.CanInt():
		return driver.Code(v.Int())
	case v.CanUint():
		return driver.Code(v.Uint())
	}
	return driver.Unknown
}

// failed is the contract's error of a call, nil for nil; the caller is still on the call's thread. The detail ends with
// cuda.h's name of the code.
func (d *real) failed(call, detail string, err error) error {
	if err == nil {
		return nil
	}
	e := &driver.Error{Call: call, Code: code(err)}
	details := []string{detail}
	if d.explain != nil {
		details = append(details, d.explain())
	}
	var name *C.char
	if C.cuGetErrorName(C.CUresult(e.Code), &name) == C.CUDA_SUCCESS {
		details = append(details, C.GoString(name))
	}
	e.Detail = strings.Join(slices.DeleteFunc(details, func(s string) bool { return s == "" }), ": ")
	return e
}
