// Package kernels holds the CUDA kernels of the project, the PTX that NVIDIA's compiler made of them, and how each is
// launched. It knows nothing of devices: a plan names its operands by number, and whoever runs it puts addresses there.
package kernels

import "math"

// Plan is how an operation is done: launches in order.
type Plan struct {
	Launches []Launch
	// Workspace lists, in bytes, scratch memory that the plan needs while it runs: operand number Scratch(i) is the
	// i-th.
	Workspace []int
	// Counters is how many counters the plan needs: words that are 0 before it runs, and that it leaves at 0.
	Counters int
}

// Launch is one launch of a kernel.
type Launch struct {
	Module      string // a file of ptx/, without its ending
	Entry       string
	Grid, Block [3]int // x, y, z
	Shared      int    // dynamic shared memory, bytes
	// Args are the kernel's parameters in order: Operand, int32, uint32, int64, uint64, float32, or a fixed-size struct
	// of int32 (passed by value, as C lays it out).
	Args []any
	// Marks is set where the launch stores the result of an operation and the text of its kernel has marks there: the
	// axes of the result that the coordinates of a mark are, in order. A mark is a comment, in a line of its own,
	//	// epilogue of {VALUE, …} at BATCH, ROW, COLUMN
	// which names registers: of neighbouring values along the last coordinate, .f32, and of the place of the first,
	// .b32. Text in its place may change the values.
	Marks []int
}

// Operand is the address of an element of an operand: elements have four bytes.
type Operand struct {
	Number int // as the plan's maker says: inputs and outputs in the order of the operation, or Scratch(i)
	Off    int // elements
}

// Counter is the number of the operand that counters are.
const Counter = math.MinInt32

// Scratch numbers the i-th piece of workspace.
func Scratch(i int) int { return -1 - i }

// Strided places element (i0, i1, i2) of an operand at Off + Σ i·Strides (elements); a stride of 0 repeats.
type Strided struct {
	Number  int
	Off     int
	Strides [3]int
}
