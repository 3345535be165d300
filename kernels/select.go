package kernels

import "math/bits"

// ArgMax finds, for each row of In [Rows, Cols], the first column of its largest element, NaN being the largest of all:
// Out is Int, one element a row. Strides are those of row and column.
type ArgMax struct {
	Rows, Cols int
	In, Out    Strided
}

// argmax is struct Select of select.cu.
type argmax struct {
	Rows, Cols int32
	Z          [2]int32
	Out        int32
}

// Plan says how it is done: select.cu, in blocks of 256 threads; rows of up to 1024 columns go to groups of 1 to 32
// lanes, longer ones to a block each. The result is exact.
func (a ArgMax) Plan() Plan {
	const short = 1024
	if a.Rows == 0 {
		return Plan{}
	}
	p := argmax{int32(a.Rows), int32(a.Cols), pair(a.In), int32(a.Out.Strides[0])}
	return rowPlan("select", "argmax", a.Rows, a.Cols, a.Cols <= short, []any{batch(a.In, 0), batch(a.Out, 0), p})
}

// A Part is one of several arrays: Size elements, with one stride.
type Part struct {
	Strided
	Size int
}

// KthLargest finds the place of the K-th largest (Int) element of all Parts together, places being counted through the
// parts in order, fewer than 2^31 of them and at least one. NaN is the largest, -0 equals 0, and of equals the earlier
// comes first. Out is Int. A K outside the elements leaves Out as it is and becomes the first Int word of Fault, the
// second one being 0; Fault is two Int words at an address that is a multiple of 8, both -1 before.
type KthLargest struct {
	Parts  []Part
	K, Out Strided
	Fault  Operand
}

const (
	kthParts   = 8    // of a launch: PARTS of select.cu
	kthDigit   = 11   // bits: DIGIT
	kthPasses  = 6    // the most there are: PASSES
	kthCuts    = 4    // words of struct Cut
	kthShare   = 4096 // elements that a block counts at least
	kthAcross  = 512  // blocks at most: each has 2048 counts to clear and to add
	kthScratch = kthPasses * (kthCuts + 1<<kthDigit)
)

// kth is struct Kth of select.cu.
type kth struct {
	N, Places, Pass     int32
	Size, Stride, First [kthParts]int32
}

// Plan says how it is done: select.cu, a radix selection with digits of 11 bits, from the top, up to 8 parts in a
// launch, which counts with integer atomics: the same counts in any order. Three passes are for the number and read all
// elements, up to 3 for the place, by which equals are told apart: the first of them reads half of the elements, each
// next one a 2048th of that. One launch clears the counts, one writes the place: with p parts and n elements, 2 +
// ceil((32 + log2 n)/11)·ceil(p/8) launches, whatever the data. The result is exact.
func (s KthLargest) Plan() Plan {
	var parts []Part
	n := 0
	for _, v := range s.Parts {
		if v.Size > 0 {
			parts = append(parts, v)
			n += v.Size
		}
	}
	p := kth{N: int32(n), Places: int32(bits.Len(uint(n - 1)))}
	passes := ceil(32+int(p.Places), kthDigit)
	scratch := Operand{Number: Scratch(0)}
	plan := Fill{
		Shape: []int{passes << kthDigit},
		To:    View{Operand: Operand{Number: scratch.Number, Off: kthPasses * kthCuts}, Strides: []int{1}},
	}.Plan()
	plan.Workspace = []int{4 * kthScratch}
	for ; int(p.Pass) < passes; p.Pass++ {
		first := 0
		for rest := parts; len(rest) > 0; {
			some := rest[:min(kthParts, len(rest))]
			rest = rest[len(some):]
			l := Launch{Module: "select", Entry: "kth_count", Block: [3]int{block, 1, 1}}
			q, most := p, 0
			for i := range kthParts {
				v := some[min(i, len(some)-1)] // what has no part is not launched
				l.Args = append(l.Args, batch(v.Strided, 0))
				q.Size[i], q.Stride[i], q.First[i] = int32(v.Size), int32(v.Strides[0]), int32(first)
				most = max(most, v.Size)
				if i < len(some) {
					first += v.Size
				}
			}
			l.Grid = [3]int{min(ceil(most, kthShare), kthAcross), len(some), 1}
			l.Args = append(l.Args, batch(s.K, 0), scratch, q)
			plan.Launches = append(plan.Launches, l)
		}
	}
	plan.Launches = append(plan.Launches, Launch{
		Module: "select", Entry: "kth_place", Grid: [3]int{1, 1, 1}, Block: [3]int{block, 1, 1},
		Args: []any{batch(s.K, 0), scratch, batch(s.Out, 0), s.Fault, p},
	})
	return plan
}
