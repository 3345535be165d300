package cpudevice

import (
	"slices"

	"bilevel/cpu"
	"bilevel/device"
)

// Minibatches without a copy. A stochastic algorithm picks rows of a table by an index that changes in every
// repetition, and multiplies them:
//
//	i = [17 4 250]          index
//	x = Gather(table, i)    3 rows, copied together
//	z = x·W                 a product
//	g = dᵀ·x                and another one
//
// The processor can multiply rows wherever they are: all that a product needs of x is where each of its rows begins.
// Then the Gather only has to compute these places, 0, 17·d, 4·d and 250·d elements into the table for rows of d
// elements, and no row is copied. For 64 rows of 784 numbers that saves writing and reading 200 KB.
//
// It is possible where nobody else needs the copy: x lies in scratch memory of the program, and everything that reads
// it, up to the instruction that overwrites it, is a product that can take the rows of one factor from a list
// (cpu.Gemm.CanTakeRows). Between the Gather and its last reader nothing may write to the table. In the example,
//
//	z = x·W    reads rows of the left factor:                       it can take them
//	g = dᵀ·x   reads rows of the right factor, vectors along them:  it can take them too
//	s = Σ x    is no product: if it were there, x would be copied as usual
//
// The index is read when the Gather runs, so that the same prepared program serves every repetition.

// indirectMinibatches lets products read the rows of a Gather in its table wherever that is possible.
func (r *runner) indirectMinibatches() {
	for i, op := range r.ops {
		gather, ok := op.(*cpu.Gather)
		if !ok || !slices.Contains(r.program.Scratch, r.program.Code[i].Out[0].Buf) {
			continue
		}
		if rows := gather.Rows(); rows != nil {
			if products, ok := r.readers(i, rows); ok {
				r.ops[i] = rows
				for j, g := range products {
					g.TakeRows(rows, j == 0)
				}
			}
		}
	}
}

// readers are the products that read the result of Gather number i. ok is false where something else reads it, or the
// table changes before the last of them.
func (r *runner) readers(i int, rows *cpu.Rows) (products []*cpu.Gemm, ok bool) {
	code := r.program.Code
	x, table := code[i].Out[0], r.program.Buffers[code[i].In[0].Buf]
	isCopy := func(v device.View) bool { return v.Overlaps(x) }
	isTable := func(v device.View) bool { return r.program.Buffers[v.Buf] == table }
	for j := i + 1; j < len(code); j++ {
		if slices.ContainsFunc(code[j].In, isCopy) {
			g, ok := r.ops[j].(*cpu.Gemm)
			if !ok || !g.CanTakeRows(rows) {
				return nil, false
			}
			products = append(products, g)
		}
		if slices.ContainsFunc(code[j].Out, isCopy) {
			break // from here on the memory holds another value
		}
		if slices.ContainsFunc(code[j].Out, isTable) {
			return nil, false
		}
	}
	return products, len(products) > 0
}
