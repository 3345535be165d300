// Package driver is the part of the CUDA driver API that the device uses, in Go's terms. Two things answer it: the
// driver of a real card (package real, with the tag cuda) and a simulated one (package sim, in every build).
//
// # Order
//
// Work given to a stream happens in the order in which it was given, after the call returned or before; Synchronize
// waits. Memory given to an asynchronous call must stay as it is until then. Errors of the work itself (a fault of a
// kernel) arrive at a later call, at Synchronize at the latest.
//
// # Threads
//
// Everything may be called from any goroutine: implementations make their context current at every entry.
package driver

import (
	"errors"
	"fmt"
	"slices"
)

// Ptr is an address in a card's memory; 0 is none.
type Ptr uint64

// Driver finds cards.
type Driver interface {
	// Cards lists the cards of this machine, in the driver's order. No card is an empty list, not an error.
	Cards() ([]Card, error)
	// Open makes a context on card number i.
	//
	// All contexts of one card share what the driver calls its primary context. Each has streams, events, modules and
	// memory of its own all the same, and must have closed them before it is closed itself.
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

	// What follows is for reports; 0: not known.
	L2             int // bytes of the second-level cache
	MemoryClockKHz int
	BusBits        int // width of the way to memory
}

// What every card since compute capability 2.0 takes (CUDA C++ Programming Guide, "Technical Specifications per Compute
// Capability"), and drivers of CUDA 12.1 on (PTX ISA, "Kernel Function Parameters").
var maxBlock = [3]int{1024, 1024, 64}

const maxParams = 32764 // bytes

// Check says which limit of the card a launch is beyond. The driver alone knows what else a kernel needs: registers,
// and shared memory of its own.
func (c *Card) Check(l Launch) error {
	for i, axis := range []string{"x", "y", "z"} {
		if n := l.Grid[i]; n < 1 || n > c.MaxGrid[i] {
			return fmt.Errorf("%d blocks along %s: %s takes 1 to %d", n, axis, c.Name, c.MaxGrid[i])
		}
		if n := l.Block[i]; n < 1 || n > maxBlock[i] {
			return fmt.Errorf("%d threads of a block along %s: %s takes 1 to %d", n, axis, c.Name, maxBlock[i])
		}
	}
	params := 0
	for _, a := range l.Args {
		params += len(a)
	}
	for _, limit := range []struct {
		what    string
		n, most int
	}{
		{"threads of a block", l.Block[0] * l.Block[1] * l.Block[2], c.MaxThreads},
		{"bytes of shared memory of a block", l.Shared, c.MaxSharedMore},
		{"bytes of parameters", params, maxParams},
	} {
		if limit.n > limit.most {
			return fmt.Errorf("%d %s: %s takes at most %d", limit.n, limit.what, c.Name, limit.most)
		}
	}
	return nil
}

// oldest is the first driver that reads PTX ISA 8.2, which the kernels are compiled to (PTX ISA, "Release Notes").
const oldest = 12020

// Unasked is the Card.DriverVersion of a driver that did not say its own.
const Unasked = -1

// CheckVersion says whether a driver, by Card.DriverVersion, is too old for the kernels, and which it takes.
func CheckVersion(version int) error {
	switch {
	case version >= oldest:
		return nil
	case version == Unasked:
		return errors.New("the NVIDIA driver does not say which version of CUDA it is made for")
	}
	return fmt.Errorf(
		"the NVIDIA driver is too old: it is made for CUDA %d.%d, and the kernels need %d.%d (driver 535 or newer)",
		version/1000, version%1000/10, oldest/1000, oldest%1000/10,
	)
}

// needed is the compute capability that the kernels are compiled for (kernels/manifest.json): cards since 2020.
var needed = [2]int{8, 0}

// CheckUsable says why the kernels cannot run on a card: it is too old, or its driver is. It is nil where they can.
func (c *Card) CheckUsable() error {
	if slices.Compare(c.Capability[:], needed[:]) < 0 {
		return fmt.Errorf(
			"%s is too old: it has compute capability %d.%d, and the kernels need %d.%d (Ampere or newer)", c.Name,
			c.Capability[0], c.Capability[1], needed[0], needed[1],
		)
	}
	return CheckVersion(c.DriverVersion)
}

// Context is a card in use.
type Context interface {
	Card() Card

	// Alloc takes device memory, with no particular contents. Its error is an *Error with OutOfMemory where there is
	// none left.
	Alloc(bytes int64) (Ptr, error)
	Free(Ptr) error
	// FreeMemory is how many bytes Alloc could give now, in pieces.
	FreeMemory() (int64, error)
	// Pinned takes host memory that the card can copy from and to by itself.
	Pinned(bytes int) ([]byte, error)
	FreePinned([]byte) error
	// Load compiles a module from PTX text.
	Load(ptx string) (Module, error)
	Stream() (Stream, error)
	// Graph makes launches one piece of work, which Stream.Replay does. Where one of them is at fault, the error wraps
	// a *NodeError.
	Graph(nodes []Node) (Graph, error)
	// Event makes an event; only a timed one has a Since. Others take the driver less time.
	Event(timed bool) (Event, error)
	// Close gives the context back. Everything taken from it was given back before, unless the card is lost.
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

	// Replay gives all work of a graph to the stream, by one call to the driver.
	Replay(Graph) error
	Close() error
}

// Node is a launch of a graph. It begins when the nodes that After names, which come before it in the list, are over;
// nothing else orders it, and it may run beside any other node.
type Node struct {
	Function Function
	Launch
	After []int
}

// NodeError says which node of a graph a driver refuses.
type NodeError struct {
	Node int
	Err  error
}

func (e *NodeError) Error() string { return e.Err.Error() }
func (e *NodeError) Unwrap() error { return e.Err }

// Graph is work made once, to be replayed. A replay begins when the work before it in its stream is over, and is over
// when all of its nodes are.
type Graph interface {
	Nodes() int
	Close() error
}

// Event marks a place in a stream.
type Event interface {
	// Synchronize waits for the work given before the event was recorded, and for nothing later.
	Synchronize() error
	// Since is the time in milliseconds from another event to this one, both timed and over. The simulated driver's is
	// the estimate.
	Since(earlier Event) (float64, error)
	Close() error
}

// Code is a CUresult of cuda.h.
type Code int

const (
	InvalidValue         Code = 1
	OutOfMemory          Code = 2
	Unavailable          Code = 46 // also what the simulated driver says of a card that is lost
	NoDevice             Code = 100
	InvalidDevice        Code = 101
	UncorrectableECC     Code = 214
	NoBinary             Code = 209
	InvalidPTX           Code = 218
	UncorrectableNVLink  Code = 220
	UnsupportedPTX       Code = 222
	Contained            Code = 226
	InvalidHandle        Code = 400
	NotFound             Code = 500
	IllegalAddress       Code = 700
	LaunchOutOfResources Code = 701
	LaunchTimeout        Code = 702
	ContextDestroyed     Code = 709
	Assert               Code = 710
	HardwareStack        Code = 714
	IllegalInstruction   Code = 715
	MisalignedAddress    Code = 716
	InvalidAddressSpace  Code = 717
	InvalidPC            Code = 718
	LaunchFailed         Code = 719
	TensorMemoryLeak     Code = 721
	MPSTerminated        Code = 805
	Unknown              Code = 999
)

// codes says what each means, and after which the process cannot use its cards any more. Of most of those cuda.h says:
// "This leaves the process in an inconsistent state and any further CUDA work will return the same error. To continue
// using CUDA, the process must be terminated and relaunched." The others mean a card that failed, a context that is
// gone, or, of 999, anything.
var codes = map[Code]struct {
	text   string
	sticky bool
}{
	InvalidValue:         {"an invalid value", false},
	OutOfMemory:          {"out of memory", false},
	Unavailable:          {"the card is not available", true},
	NoDevice:             {"no card", false},
	InvalidDevice:        {"no such card", false},
	UncorrectableECC:     {"an uncorrectable memory error of the card", true},
	NoBinary:             {"the kernel is not made for this card", false},
	InvalidPTX:           {"invalid PTX", false},
	UncorrectableNVLink:  {"an uncorrectable NVLink error", true},
	UnsupportedPTX:       {"the driver is too old for this PTX", false},
	Contained:            {"a hardware error that the driver contained", true},
	InvalidHandle:        {"an invalid handle", false},
	NotFound:             {"not found", false},
	IllegalAddress:       {"an illegal address", true},
	LaunchOutOfResources: {"the launch needs too many resources", false},
	LaunchTimeout:        {"the kernel took too long", true},
	ContextDestroyed:     {"the context is destroyed", true},
	Assert:               {"an assertion in the kernel", true},
	HardwareStack:        {"a stack error in the kernel", true},
	IllegalInstruction:   {"an illegal instruction", true},
	MisalignedAddress:    {"a misaligned address", true},
	InvalidAddressSpace:  {"an address in the wrong space", true},
	InvalidPC:            {"an invalid program counter", true},
	LaunchFailed:         {"the kernel failed", true},
	TensorMemoryLeak:     {"a kernel kept tensor memory", true},
	MPSTerminated:        {"the server that shares the card among processes ended this one's use of it", true},
	Unknown:              {"an error that the driver does not know", true},
}

// Error is a failed call of the driver.
type Error struct {
	Call   string // "cuLaunchKernel"
	Code   Code
	Detail string // kernel and sizes, or what the simulator saw
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s failed with CUDA error %d", e.Call, e.Code)
	if c, ok := codes[e.Code]; ok {
		s = fmt.Sprintf("%s failed: %s", e.Call, c.text)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Closed is the error of a call on something that was closed before.
func Closed(call, what string) error {
	return &Error{Call: call, Code: InvalidHandle, Detail: what + " is closed"}
}

// Sticky says whether all further work of the process on its cards is lost after the error.
func (e *Error) Sticky() bool { return codes[e.Code].sticky }
