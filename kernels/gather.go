package kernels

// Gather copies rows: Out[j,:] = Table[Index[j],:], Table [Rows, Cols] and Out [Count, Cols] of either type; or Table
// holds bytes, whose strides and offset count bytes, and Out the numbers. Strides are those of row and column.
//
// Fault is two Int words at an address that is a multiple of 8, both -1 before: where indices lie outside the table,
// their rows of Out stay as they are, and Fault becomes the first of those indices and its position j.
type Gather struct {
	Rows, Cols, Count int
	Table, Index, Out Strided
	Bytes             bool // Table holds bytes
	Fault             Operand
}

// gather is struct Gather of gather.cu.
type gather struct {
	Rows, Cols, Count int32
	Table, Out        [2]int32
	Index             int32
	Width             divisor
}

// Plan says how it is done: gather.cu, a thread for each element of Out; rows that are contiguous and aligned are moved
// in groups of 4 elements. It moves bits.
func (g Gather) Plan() Plan {
	if g.Count == 0 {
		return Plan{}
	}
	p := gather{
		int32(g.Rows), int32(g.Cols), int32(g.Count), pair(g.Table), pair(g.Out), int32(g.Index.Strides[0]),
		divide(max(1, g.Cols)),
	}
	entry, cols := "gather", g.Cols
	if g.Bytes {
		return g.bytes(p)
	}
	if wide(g.Table) && wide(g.Out) && cols%4 == 0 {
		entry, cols = "gather_4", cols/4
		p.narrow(cols)
	}
	return Plan{Launches: []Launch{{
		Module: "gather", Entry: entry,
		Grid:  [3]int{min(ceil(g.Count*max(1, cols), block), gridMost), 1, 1},
		Block: [3]int{block, 1, 1},
		Args:  []any{batch(g.Table, 0), batch(g.Index, 0), batch(g.Out, 0), g.Fault, p},
	}}}
}

// bytes is the plan for a table of bytes.
func (g Gather) bytes(p gather) Plan {
	entry, cols, first := "gather_bytes", g.Cols, g.Table.Off
	if wide(g.Table) && wide(g.Out) && cols%4 == 0 {
		entry, cols, first = "gather_bytes_4", cols/4, first/4
		p.narrow(cols)
	}
	table := Operand{Number: g.Table.Number} // an offset of an operand counts words
	return Plan{Launches: []Launch{{
		Module: "gather", Entry: entry,
		Grid:  [3]int{min(ceil(g.Count*max(1, cols), block), gridMost), 1, 1},
		Block: [3]int{block, 1, 1},
		Args:  []any{table, uint64(first), batch(g.Index, 0), batch(g.Out, 0), g.Fault, p},
	}}}
}

// narrow makes a row of so many groups of 4 elements; strides of columns stay 1.
func (p *gather) narrow(cols int) {
	p.Cols, p.Width = int32(cols), divide(max(1, cols))
	p.Table[0], p.Out[0] = p.Table[0]/4, p.Out[0]/4
}

// wide says whether rows are contiguous and start at multiples of 16 bytes.
func wide(s Strided) bool { return s.Strides[1] == 1 && multiples(4, s.Off, s.Strides[0]) }

// ScatterAdd computes Out = Base, then for j in order Out[Index[j],:] += Source[j,:], with Base and Out [Rows, Cols],
// Source [Count, Cols]. Out may be exactly Base. Bad indices add nothing and are left in Fault as Gather does.
type ScatterAdd struct {
	Rows, Cols, Count        int
	Base, Index, Source, Out Strided
	Fault                    Operand
}

// scatter is struct Scatter of gather.cu.
type scatter struct {
	Rows, Cols, Count int32
	Base, Source, Out [2]int32
	Index             int32
	Band, Apart       int32
}

// Plan says how it is done: gather.cu, at most 1024 blocks down, each with a band of rows and up to 256 columns. Every
// block reads all indices, and adds the rows of its band in index order: with h hits of an element, |error| ≤
// h·u·Σ|terms|, and always the same bits. The work is Count·blocks index reads and one pass over the data; where Out is
// Base there are no more blocks than have indices for all their threads, and they touch those rows alone.
func (s ScatterAdd) Plan() Plan {
	down := 1024
	if s.Count == 0 && (s.Rows == 0 || s.Cols == 0 || s.Base == s.Out) {
		return Plan{}
	}
	x := power(s.Cols, block)
	y := block / x
	if s.Base == s.Out {
		down = max(1, min(down, ceil(s.Count, y)))
	}
	band := ceil(max(1, ceil(s.Rows, down)), y) * y
	return Plan{Launches: []Launch{{
		Module: "gather", Entry: "scatter_add",
		Grid: [3]int{max(1, ceil(s.Rows, band)), max(1, ceil(s.Cols, x)), 1}, Block: [3]int{x, y, 1},
		Args: []any{batch(s.Base, 0), batch(s.Index, 0), batch(s.Source, 0), batch(s.Out, 0), s.Fault,
			scatter{int32(s.Rows), int32(s.Cols), int32(s.Count), pair(s.Base), pair(s.Source), pair(s.Out),
				int32(s.Index.Strides[0]), int32(band), word(s.Base != s.Out)}},
	}}}
}
