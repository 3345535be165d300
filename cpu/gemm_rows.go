package cpu

// Rows are rows of a table that are found by index but not copied together, so that a product reads a minibatch where
// it lies: 64 rows of 784 from a table of 63 MB times 10 columns take 10.5 µs, and 17 copied first.
type Rows struct {
	gather *Gather
	table  []float32
	at     []int // where each row begins, and morePlaces times the last one
}

// morePlaces is how many rows after the last one kernels ask for at most.
const morePlaces = 8

// Rows is what a Gather would copy, or nil where its rows do not lie densely.
func (g *Gather) Rows() *Rows {
	if g.copyRows8 == nil || g.out.Int != nil || size(g.out.Shape) == 0 {
		return nil
	}
	return &Rows{g, g.table.Real, make([]int, g.out.Shape[0]+morePlaces)}
}

// Run finds the rows; the caller holds the pool. It fails as the Gather does.
func (r *Rows) Run() error {
	g := r.gather
	if err := g.check(); err != nil {
		return err
	}
	rows := g.idx.Int[g.idx.Off:][:g.out.Shape[0]]
	for i, row := range rows {
		r.at[i] = g.table.Off + int(row)*g.table.Strides[0]
	}
	for i := range morePlaces {
		r.at[len(rows)+i] = r.at[len(rows)-1]
	}
	return nil
}

// CanTakeRows says whether g can read the result of the Gather from the table: it is one of g's operands, and nothing
// else of it.
func (g *Gemm) CanTakeRows(r *Rows) bool {
	uses := 0
	for i := range g.args {
		if g.args[i].overlaps(&r.gather.out) {
			uses++
		}
	}
	return uses == 1 && g.epilogue.points > 0 && g.batch == 1 && g.k > 0 && g.strategy.indexed(r) != nil
}

// TakeRows makes g read the result of the Gather from the table. CanTakeRows has said that it can; r runs before g, and
// the table does not change between them. first says that no product reads the rows before g: then g fetches them from
// memory, unless the table is so small that caches hold it, and that counts as work when threads are to share g.
func (g *Gemm) TakeRows(r *Rows, first bool) {
	if first && 4*len(r.table) > cachedTable {
		g.fetch = fetchTime * float64(size(r.gather.out.Shape))
		g.strategy.plan()
		if g.strategy.indexed(r) == nil { // tiles have become too narrow
			g.fetch = 0
			g.strategy.plan()
		}
		g.place()
	}
	*g.strategy.indexed(r) = r
}

// cachedTable is the size in bytes up to which rows of a table are found in a core's own cache most often.
const cachedTable = 2 << 20

// fetchTime is the nanoseconds in which one thread reads a number of a row from memory, the next rows being asked for
// meanwhile: 64 rows of 784 from a table of 63 MB times 10 columns take 14 µs on one thread and 8 on two.
const fetchTime = 0.3

// is says whether m is a without a mask, as rows by cols elements.
func (m *matrix) is(a *Array, rows, cols int) bool {
	b := Array{Real: m.data, Off: m.off, Shape: []int{rows, cols}, Strides: []int{m.rs, m.cs}}
	return m.mask == nil && b.same(a)
}
