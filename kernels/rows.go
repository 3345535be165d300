package kernels

import (
	"math/bits"

	"bilevel/internal/kind"
)

// Softmax works on rows of In [Rows, Cols], with M = max z and S = Σ exp(z - M). Strides are those of row and column;
// Out of CrossEntropy and Labels (Int) have one element a row. Out may be exactly In.
type Softmax struct {
	Kind            kind.Softmax
	Rows, Cols      int
	In, Labels, Out Strided
}

// rows is struct Rows of rows.cu.
type rows struct {
	Rows, Cols int32
	Z, Out     [2]int32
	Labels     int32
}

const (
	block    = 256     // threads of the kernels that go through elements or rows
	gridMost = 1 << 16 // blocks, where each takes several shares
	shortRow = 256     // columns that the lanes of a warp keep in registers
)

// Plan says how it is done: rows.cu, in blocks of 256 threads. Rows of up to 256 columns go to groups of 1 to 32 lanes,
// which keep them in registers; longer ones to a block each, in three passes. With expf and logf within 2 and 1 ulp, z
// - M off by u|z - M| and the sum by at most Cols·u, the bounds of the device tests follow (u = 2^-24).
func (s Softmax) Plan() Plan {
	if s.Rows == 0 || s.Cols == 0 && s.Kind != kind.CrossEntropy {
		return Plan{}
	}
	entry := [...]string{"softmax", "log_softmax", "cross_entropy"}[s.Kind]
	labels := any(uint64(0))
	if s.Kind == kind.CrossEntropy {
		labels = Operand{s.Labels.Number, s.Labels.Off}
	}
	p := rows{int32(s.Rows), int32(s.Cols), pair(s.In), pair(s.Out), int32(s.Labels.Strides[0])}
	args := []any{batch(s.In, 0), labels, batch(s.Out, 0), p}
	plan := rowPlan("", entry, s.Rows, s.Cols, s.Cols <= shortRow, args)
	plan.Launches[0].Module = plan.Launches[0].Entry
	return plan
}

// rowPlan launches ENTRY_short, whose last parameter is the number of lanes of a row, or ENTRY_long.
func rowPlan(module, entry string, rows, cols int, short bool, args []any) Plan {
	l := Launch{
		Module: module, Entry: entry + "_long", Grid: [3]int{min(rows, gridMost), 1, 1}, Block: [3]int{block, 1, 1},
		Args: args,
	}
	if short {
		width := power(cols, 32)
		l.Entry, l.Grid[0], l.Args = entry+"_short", ceil(rows, block/width), append(args, int32(width))
	}
	return Plan{Launches: []Launch{l}}
}

// power is the least power of 2 that is at least n, or most.
func power(n, most int) int { return min(most, 1<<bits.Len(uint(max(n, 1)-1))) }

func pair(s Strided) [2]int32 { return [2]int32{int32(s.Strides[0]), int32(s.Strides[1])} }
