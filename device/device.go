// Package device is the narrow waist of the project: the small vocabulary of operations that every device
// understands (op.go), the Program that the layer above hands down (program.go), and the Device interface.
//
// # Numbers
//
// There are two types to compute with. Int is int32 and serves indices, labels and counters. Real is what the device
// says in Info.RealBits: float32 on the CPU and on CUDA, float64 on the reference device. Transfers convert between
// float32 and float64. A third type, Byte, keeps tables small: the host writes it, and Gather turns its rows into Real
// numbers from 0 to 255. No other operation takes it.
//
// # Ownership and synchrony
//
// A Buffer belongs to the device that allocated it and lives until Free. A Program is bound to its buffers when it
// is prepared. Runner.Run may return before the work is done: Download and Sync wait for all earlier work on the
// device, and an error of that work surfaces there at the latest. A Device may be used by several goroutines;
// runs queue.
package device

import (
	"errors"
	"time"

	"bilevel/internal/expr"
)

// Type is the type of a buffer's elements.
type Type = expr.Type

const (
	Real = expr.Real
	Int  = expr.Int
	Byte = expr.Byte
)

// Buffer is a run of elements in a device's memory.
type Buffer interface {
	Type() Type
	Len() int // elements
}

// Device executes programs. It has no method per operation: the operations are data (Program).
type Device interface {
	Info() Info

	// Alloc returns a buffer of n elements, all zero. Its error wraps ErrMemory where memory is short.
	Alloc(t Type, n int) (Buffer, error)
	// Free gives the buffer back; programs bound to it must not run any more. Free(nil) does nothing.
	Free(Buffer)

	// Upload writes src to dst from element off on, converting to the device's Real.
	Upload(dst Buffer, off int, src HostSlice) error
	// Download waits for earlier work and reads from element off of src on, filling dst.
	Download(dst HostSlice, src Buffer, off int) error
	// Copy copies n elements between two buffers of one type; overlapping ranges are not allowed.
	Copy(dst Buffer, dstOff int, src Buffer, srcOff, n int) error

	// Prepare checks the program and makes it ready to run. Preparing is the expensive part: Run allocates nothing.
	Prepare(*Program) (Runner, error)

	// Sync waits for all earlier work and returns its error.
	Sync() error
	// Close frees what is left; the device is not used afterwards.
	Close() error
}

// Peeker is an optional interface of asynchronous devices. It reads one number without waiting for work that was queued
// later; a loop on a device without it uses Download instead.
type Peeker interface {
	// Peek begins to read element off of a Real buffer, as it is after all earlier work. Wait, to be called once, waits
	// for that work and none that was given later. An ErrIndex is left to Download and Sync.
	Peek(src Buffer, off int) (wait func() (float64, error), err error)
}

// Observer is told what of a program ran between two points where a device's threads wait for each other, one
// instruction or some that ran side by side, and how long it took. It must not keep the list.
type Observer func(p *Program, ran []*Instr, took time.Duration)

// Holder is an optional interface of devices whose buffers are memory of the process itself.
type Holder interface {
	// Held is the size of the buffers in use, and the most that it ever was.
	Held() (now, peak int64)
}

// Runner is a program made ready.
type Runner interface {
	// Run executes the program n times in a row. Repetitions differ only by what the program itself changed
	// (its variables, its step counter).
	Run(n int) error
	// Close frees what Prepare took.
	Close() error
}

// Info describes a device.
type Info struct {
	Name     string // "cpu", "ref", "cuda:0", …
	Detail   string // for people: instruction set, card, …
	Threads  int    // threads or multiprocessors that share the work
	RealBits int    // 32 or 64

	// SumBlock is the longest run of terms that the device adds one after the other before it goes on by a tree.
	// SumError turns it into the error constant of a sum.
	SumBlock int

	// Memory is the size of the device's memory in bytes, and Free what is left of it for new buffers, now and about:
	// other programs use it too.
	Memory, Free int64
	// Alignment is the multiple of bytes at which buffers begin.
	Alignment int

	// Lacks lists the operations that the device does not have yet. Prepare refuses programs with one of them by an
	// error that wraps ErrOperation.
	Lacks []Op

	// Async says that Run returns before the work is done, so that a loop should read results one chunk late (Peeker).
	Async bool
}

// ElementBytes is the size of an element; 0 for a type that there is not.
func (i Info) ElementBytes(t Type) int64 {
	switch t {
	case Real:
		return int64(i.RealBits / 8)
	case Int:
		return 4
	case Byte:
		return 1
	}
	return 0
}

// UnitRoundoff is u = 2^-24 or 2^-53: |fl(a∘b) - a∘b| <= u |a∘b|.
func (i Info) UnitRoundoff() float64 {
	if i.RealBits == 64 {
		return 0x1p-53
	}
	return 0x1p-24
}

// SumError is the constant c of |fl(Σ a_i b_i) - Σ a_i b_i| <= c u Σ|a_i b_i| for a Reduce over n terms:
// block size + log2 n for blocks combined by a tree (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
func (i Info) SumError(n int) float64 {
	c := float64(min(n, i.SumBlock)) + 1
	for m := 1; m < n; m *= 2 {
		c++
	}
	return c
}

// HostSlice is host memory at the border: exactly one slice is set. Int buffers take I32, Byte buffers U8, Real buffers
// F32 or F64.
type HostSlice struct {
	F32 []float32
	F64 []float64
	I32 []int32
	U8  []byte
}

func Float32s(s []float32) HostSlice { return HostSlice{F32: s} }
func Float64s(s []float64) HostSlice { return HostSlice{F64: s} }
func Int32s(s []int32) HostSlice     { return HostSlice{I32: s} }
func Bytes(s []byte) HostSlice       { return HostSlice{U8: s} }

// Len is the number of elements.
func (h HostSlice) Len() int { return len(h.F32) + len(h.F64) + len(h.I32) + len(h.U8) }

// Type is the type of buffer that this memory goes to or comes from.
func (h HostSlice) Type() Type {
	switch {
	case h.I32 != nil:
		return Int
	case h.U8 != nil:
		return Byte
	}
	return Real
}

var (
	// ErrMemory says that an allocation failed; the device goes on with less.
	ErrMemory = errors.New("out of memory")
	// ErrIndex says that a Gather or ScatterAdd met an index outside its table, or an Order a k outside its elements.
	ErrIndex = errors.New("index out of range")
	// ErrOperation says that a device lacks an operation.
	ErrOperation = errors.New("the device lacks an operation")
	// ErrClosed says that a device is used after Close.
	ErrClosed = errors.New("the device is closed")
	// ErrBuffer says that a buffer is used after Free, or with a device that did not make it.
	ErrBuffer = errors.New("the buffer was freed or belongs to another device")
	// ErrMissing says that a device is not there: no card, no driver, not in this build.
	ErrMissing = errors.New("device not available")
	// ErrLost says that a device failed for good: all that it held is gone, and no device of its kind works any more in
	// this process.
	ErrLost = errors.New("the card is lost to this process")
)
