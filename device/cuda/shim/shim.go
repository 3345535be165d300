//go:build cuda

package shim

/*
#cgo LDFLAGS: -L${SRCDIR}/lib -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// ErrMissing is a machine without the NVIDIA driver.
var ErrMissing = errors.New("there is no NVIDIA driver on this machine")

// ErrBusy is a table that cannot be selected because contexts of another are open.
var ErrBusy = errors.New("another CUDA driver is in use in this process: close its devices first")

// Table is a set of functions for the entry points.
type Table struct {
	functions []unsafe.Pointer // by the order of entries.h; nil answers CUDA_ERROR_NOT_SUPPORTED
	enter     func()           // nil, or called whenever the table is selected
}

// Open opens libcuda.so.1. Its error wraps ErrMissing.
func Open() (*Table, error) {
	file := C.CString("libcuda.so.1")
	defer C.free(unsafe.Pointer(file))
	runtime.LockOSThread() // dlerror speaks of the thread's last call
	defer runtime.UnlockOSThread()
	library := C.dlopen(file, C.RTLD_NOW|C.RTLD_LOCAL)
	if library == nil {
		return nil, fmt.Errorf("%w (%s)", ErrMissing, C.GoString(C.dlerror()))
	}
	t := &Table{functions: make([]unsafe.Pointer, C.shim_count())}
	for i := range t.functions {
		t.functions[i] = C.dlsym(library, C.shim_name(C.int(i)))
	}
	return t, nil
}

// New is a table of the given C functions, which have the prototypes of cuda.h, by their names in libcuda.so.1. Enter,
// where it is not nil, is called whenever the table is selected.
func New(functions map[string]unsafe.Pointer, enter func()) (*Table, error) {
	t := &Table{functions: make([]unsafe.Pointer, C.shim_count()), enter: enter}
	known := 0
	for i := range t.functions {
		if f, ok := functions[C.GoString(C.shim_name(C.int(i)))]; ok {
			t.functions[i] = f
			known++
		}
	}
	if known != len(functions) {
		return nil, fmt.Errorf(
			"%d of %d functions are no entry points of the driver", len(functions)-known, len(functions),
		)
	}
	return t, nil
}

// door is what all of the process shares: the entry points are symbols, of which there is one each.
var door struct {
	sync.Mutex
	table *Table
	held  int // open contexts of the table's functions
}

// Select makes the table answer and calls f, one at a time in the process; f must not select. Where f is nil or returns
// nil and hold is true, the table is held until Release. It fails with ErrBusy while a table with other functions is
// held.
func (t *Table) Select(hold bool, f func() error) error {
	door.Lock()
	defer door.Unlock()
	if door.held > 0 && !t.same(door.table) {
		return ErrBusy
	}
	if !t.same(door.table) {
		for i, function := range t.functions {
			C.shim_set(C.int(i), function)
		}
	}
	door.table = t
	if t.enter != nil {
		t.enter()
	}
	if err := f(); err != nil {
		return err
	}
	if hold {
		door.held++
	}
	return nil
}

// Release ends one hold.
func Release() {
	door.Lock()
	defer door.Unlock()
	door.held--
}

func (t *Table) same(other *Table) bool {
	if other == nil {
		return false
	}
	for i, f := range t.functions {
		if f != other.functions[i] {
			return false
		}
	}
	return true
}
