package ptx

import (
	"fmt"
	"strings"
)

// Kind names what the sanitizer found.
type Kind string

// The kinds of reports.
const (
	OutOfBounds          Kind = "out-of-bounds"
	UseAfterFree         Kind = "use-after-free"
	Misaligned           Kind = "misaligned"
	UninitializedRead    Kind = "uninitialized-read"
	SharedRace           Kind = "shared-race"
	GlobalRace           Kind = "global-race"
	DivergentBarrier     Kind = "divergent-barrier"
	SplitBarrier         Kind = "split-barrier" // whole warps at different instructions, which hardware pairs
	InactiveLaneShuffle  Kind = "inactive-lane-shuffle"
	MismatchedMask       Kind = "mismatched-mask"
	MissingAsyncWait     Kind = "missing-async-wait"
	OrderDependentAtomic Kind = "order-dependent-atomic"
	Timeout              Kind = "timeout"
	NoProgress           Kind = "no-progress"
	StackOverflow        Kind = "stack-overflow"
)

// Trap is the kind of a Fault for the trap instruction and failed device assertions.
const Trap Kind = "trap"

// A Place is a line of source.
type Place struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Function string `json:"function,omitempty"` // that was inlined there, without its parameters
}

// placesText writes the kernel's own line, the last, and the innermost one.
func placesText(list []Place) string {
	own := list[len(list)-1]
	text := fmt.Sprintf("%s:%d", own.File, own.Line)
	if len(list) > 1 {
		in := list[0]
		if in.Function != "" {
			in.Function += " at "
		}
		text += fmt.Sprintf(", in %s%s:%d", in.Function, in.File, in.Line)
	}
	return text
}

// A Report is one fault of a kernel. Reports of the same kind at the same instruction are one, with a count;
// block and thread are those of the first.
type Report struct {
	Kind   Kind   `json:"kind"`
	Kernel string `json:"kernel"`
	Block  [3]int `json:"block"`  // x, y, z
	Thread [3]int `json:"thread"` // x, y, z
	File   string `json:"file"`   // the kernel's own source, through inlined_at; "" without -lineinfo
	Line   int    `json:"line"`
	// Inlined says where that is in functions inlined or called there, the innermost first.
	Inlined     []Place `json:"inlined,omitempty"`
	Note        bool    `json:"note,omitempty"` // no fault by itself: the order of float atomics
	PTXLine     int     `json:"ptx_line"`
	Instruction string  `json:"instruction"`
	Message     string  `json:"message"`
	Allocation  string  `json:"allocation,omitempty"` // label of the memory concerned
	Offset      *int64  `json:"offset,omitempty"`     // in bytes from its start
	Count       int     `json:"count"`
}

func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s", r.Kind, r.Kernel)
	if r.PTXLine == 0 { // of the launch, not of an instruction
		return b.String() + ": " + r.Message
	}
	fmt.Fprintf(&b, ", block %v thread %v", r.Block, r.Thread)
	if r.File != "" {
		b.WriteString(", " + placesText(
			append(r.Inlined[:len(r.Inlined):len(r.Inlined)], Place{File: r.File, Line: r.Line}),
		))
	}
	fmt.Fprintf(&b, ", PTX line %d (%s): %s", r.PTXLine, r.Instruction, r.Message)
	if r.Count > 1 {
		fmt.Fprintf(&b, " (%d times)", r.Count)
	}
	return b.String()
}

// A Fault is the error of a launch that could not go on: a trap, an access that hardware refuses while the sanitizer is
// off, a deadlock, or the watchdog.
type Fault struct{ Report Report }

func (f *Fault) Error() string { return f.Report.String() }

// bytesText is "1 byte" or "4 bytes".
func bytesText[T int | int64 | uint64](n T) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
