// Package driver is the part of the CUDA driver API that the device uses, in Go's terms. Two things answer it: the driver of
// a real card (package real, with the tag cuda) and a simulated one (package sim, in every build).
//
// # Order
//
// Work given to a stream happens in the order in which it was given, after the call returned or before; Synchronize waits.
// Memory given to an asynchronous call must stay as it is until then. Errors of the work itself (a fault of a kernel)
// arrive at a later call, at Synchronize at the latest.
//
// # Threads
//
// Everything may be called from any goroutine: implementations make their context current at every entry.
package driver

import "fmt"

// Ptr is an address in a card's memory; 0 is none.
type Ptr uint64

// Driver finds cards.
type Driver interface {
	// Cards lists the cards of this machine, in the driver's order. No card is an empty list, not an error.
	Cards() ([]Card, error)
	// Open makes a context on card number i.
	Open(i int) (Context, error)
}

// Card describes a card.
type Card struct {
	Name          string // "NVIDIA H100 80GB HBM3"
	Capability    [2]int // compute capability, {9, 0}
	Memory        int64  // bytes
	Processors    int    // multiprocessors
	ClockKHz      int
	MaxThreads    int    // of a block
	MaxGrid       [3]int // blocks
	MaxShared     int    // bytes of shared memory of a block without asking
	MaxSharedMore int    // and with Function.AllowShared
	DriverVersion int    // 12020 is CUDA 12.2
}

// Context is a card in use.
type Context interface {
	Card() Card

	// Alloc takes device memory, with no particular contents. Its error is an *Error with OutOfMemory where there is none left.
	Alloc(bytes int64) (Ptr, error)
	Free(Ptr) error
	// Pinned takes host memory that the card can copy from and to by itself.
	Pinned(bytes int) ([]byte, error)
	FreePinned([]byte) error
	// Load compiles a module from PTX text.
	Load(ptx string) (Module, error)
	Stream() (Stream, error)
	Event() (Event, error)
	// Close destroys the context and all that it holds.
	Close() error
}

// Module is loaded code.
type Module interface {
	Function(name string) (Function, error)
	Unload() error
}

// Function is a kernel.
type Function interface {
	Name() string
	// AllowShared lets launches use so many bytes of dynamic shared memory, beyond Card.MaxShared.
	AllowShared(bytes int) error
}

// Launch says how a kernel runs. Args holds each parameter in its own bytes, little endian, in the kernel's order; they
// are copied by the call.
type Launch struct {
	Grid, Block [3]int // x, y, z
	Shared      int    // dynamic shared memory, bytes
	Args        [][]byte
}

// Stream is an ordered queue of work.
type Stream interface {
	Launch(Function, Launch) error
	ToDevice(dst Ptr, src []byte) error // src pinned
	ToHost(dst []byte, src Ptr) error   // dst pinned
	Copy(dst, src Ptr, bytes int64) error
	// Fill writes a 32-bit word n times.
	Fill(dst Ptr, word uint32, n int64) error
	Record(Event) error
	// Synchronize waits for all work given so far and returns its error.
	Synchronize() error

	// BeginCapture makes the calls that follow part of a graph instead of doing them, until EndCapture.
	BeginCapture() error
	EndCapture() (Graph, error)
	// Replay gives all work of a graph to the stream, by one call to the driver.
	Replay(Graph) error
	Close() error
}

// Graph is work recorded once, to be replayed.
type Graph interface {
	Nodes() int
	Close() error
}

// Event marks a place in a stream.
type Event interface {
	// Since is the time in milliseconds from another event to this one, both over. The simulated driver's is the estimate.
	Since(earlier Event) (float64, error)
	Close() error
}

// Code is a CUresult of cuda.h.
type Code int

const (
	InvalidValue         Code = 1
	OutOfMemory          Code = 2
	NotInitialized       Code = 3
	NoDevice             Code = 100
	InvalidDevice        Code = 101
	InvalidPTX           Code = 218
	NotFound             Code = 500
	IllegalAddress       Code = 700
	LaunchOutOfResources Code = 701
	LaunchTimeout        Code = 702
	LaunchFailed         Code = 719
	DeviceLost           Code = 46 // CUDA_ERROR_DEVICE_UNAVAILABLE
	Unknown              Code = 999
)

// Error is a failed call of the driver.
type Error struct {
	Call   string // "cuLaunchKernel"
	Code   Code
	Detail string // kernel and sizes, or what the simulator saw
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s failed with CUDA error %d", e.Call, e.Code)
	if name, ok := names[e.Code]; ok {
		s = fmt.Sprintf("%s failed: %s", e.Call, name)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Sticky says whether the context is lost after the error.
func (e *Error) Sticky() bool {
	switch e.Code {
	case IllegalAddress, LaunchTimeout, LaunchFailed, DeviceLost:
		return true
	}
	return false
}

var names = map[Code]string{
	InvalidValue: "an invalid value", OutOfMemory: "out of memory", NotInitialized: "the driver is not initialized",
	NoDevice: "no card", InvalidDevice: "no such card", InvalidPTX: "invalid PTX", NotFound: "not found",
	IllegalAddress: "an illegal address", LaunchOutOfResources: "the launch needs too many resources",
	LaunchTimeout: "the kernel took too long", LaunchFailed: "the kernel failed", DeviceLost: "the card is lost",
}
