//go:build cuda

package bridge

//#include <stdlib.h>
//#include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real"
	"bilevel/device/cuda/shim"
)

// Function is what the functions of a bridged driver must be: parameters arrive as addresses without sizes.
type Function interface {
	driver.Function
	// ParamSizes are the sizes of the kernel's parameters in bytes, in order.
	ParamSizes() []int
}

// Open is the driver that reaches d by way of gorgonia.org/cu and the entry points of the CUDA driver. It fails as
// real.Over does. Contexts of several bridged drivers may be open at a time; those of a card and of a bridged driver
// may not.
func Open(d driver.Driver) (driver.Driver, error) {
	functions := map[string]unsafe.Pointer{}
	for _, e := range unsafe.Slice(C.bridge_entries(), C.bridge_count()) {
		functions[C.GoString(e.name)] = e.function
	}
	table, err := shim.New(functions, func() { selected = d })
	if err != nil {
		return nil, err
	}
	return real.Over(table, explain)
}

// selected is the driver whose cards the calls without a context see. The shim's door guards it: it is written when a
// table is selected, and read in calls made while the table is.
var selected driver.Driver

// explain is the detail of the thread's last failure, told once.
func explain() string {
	s := C.GoString(C.bridge_detail())
	tell("")
	return s
}

func tell(detail string) {
	text := C.CString(detail)
	defer C.free(unsafe.Pointer(text))
	C.bridge_set_detail(text)
}

// Codes of CUresult that only the entry points themselves answer.
const (
	invalidContext driver.Code = C.CUDA_ERROR_INVALID_CONTEXT
	invalidHandle  driver.Code = C.CUDA_ERROR_INVALID_HANDLE
)

// answer is the result of a call, whose detail the thread keeps.
func answer(err error) C.CUresult {
	if err == nil {
		return C.CUDA_SUCCESS
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		e = &driver.Error{Code: driver.Unknown, Detail: err.Error()}
	}
	tell(e.Detail)
	return C.CUresult(e.Code)
}

func refuse(code driver.Code, format string, args ...any) C.CUresult {
	return answer(&driver.Error{Code: code, Detail: fmt.Sprintf(format, args...)})
}

// A handle is an address that nothing else has. Objects are of a context, or contexts themselves.
type object struct {
	owner *context
	value any
}

type context struct {
	driver.Context
	handle unsafe.Pointer
	users  int                        // of the primary context, guarded by objects
	pinned map[unsafe.Pointer]*pinned // by address, guarded by objects
}

var objects = struct {
	sync.RWMutex
	at map[unsafe.Pointer]object
}{at: map[unsafe.Pointer]object{}}

func put(owner *context, value any) unsafe.Pointer {
	handle := C.malloc(1)
	objects.Lock()
	defer objects.Unlock()
	objects.at[handle] = object{owner, value}
	return handle
}

// drop forgets handles; with a context go all of its objects.
func drop(handles ...unsafe.Pointer) {
	objects.Lock()
	defer objects.Unlock()
	for _, h := range handles {
		delete(objects.at, h)
		C.free(h)
	}
}

func dropAll(owner *context) {
	var handles []unsafe.Pointer
	objects.RLock()
	for h, o := range objects.at {
		if o.owner == owner {
			handles = append(handles, h)
		}
	}
	objects.RUnlock()
	drop(handles...)
	for _, p := range owner.pinned {
		p.pin.Unpin()
	}
}

// current is the thread's context.
func current() (*context, error) {
	objects.RLock()
	defer objects.RUnlock()
	if c, ok := objects.at[unsafe.Pointer(C.bridge_current())].value.(*context); ok {
		return c, nil
	}
	return nil, &driver.Error{Code: invalidContext, Detail: "no context is current on the thread"}
}

// find is the object of a handle, and the thread's context, which must be its owner.
func find[T any](handle unsafe.Pointer) (T, *context, error) {
	var none T
	c, err := current()
	if err != nil {
		return none, nil, err
	}
	objects.RLock()
	o, ok := objects.at[handle]
	objects.RUnlock()
	value, is := o.value.(T)
	switch {
	case !ok || !is:
		return none, nil, &driver.Error{
			Code: invalidHandle, Detail: fmt.Sprintf("this is no %v, or no longer one", reflect.TypeFor[T]()),
		}
	case o.owner != c:
		return none, nil, &driver.Error{
			Code: invalidHandle, Detail: "the object is of a context that is not current on the thread",
		}
	}
	return value, c, nil
}

// with calls f with the object of a handle.
func with[T any](handle unsafe.Pointer, f func(T, *context) error) C.CUresult {
	value, c, err := find[T](handle)
	if err == nil {
		err = f(value, c)
	}
	return answer(err)
}
