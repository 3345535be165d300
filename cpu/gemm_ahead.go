package cpu

// ahead asks for a block of an operand while kernels compute on others, a few rows at a time: its rows are far apart in
// memory, which the processor does not foresee.
type ahead struct {
	prefetch func(src []float32, ld, rows, cols int) // nil: do nothing
	from     *matrix
	block    block
}

// farApart is the distance of rows, in elements, from which on asking for them pays: below, the processor reads ahead.
const farApart = 256

func (g *Gemm) ahead(m *matrix) ahead {
	if m.cs != 1 || m.rs < farApart {
		return ahead{}
	}
	return ahead{prefetch: g.kernels.prefetch, from: m}
}

// aim chooses the block, as much of it as lies within k.
func (a *ahead) aim(b block) { a.block = b }

// step asks for part number i of n of the block.
func (a *ahead) step(i, n int) {
	lo, hi := a.block.rows*i/n, a.block.rows*(i+1)/n
	if a.prefetch != nil && lo < hi {
		a.prefetch(a.from.data[a.from.at(a.block.batch, a.block.row+lo, a.block.col):], a.from.rs, hi-lo, a.block.cols)
	}
}
