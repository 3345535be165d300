package cpu

import "bilevel/internal/expr"

// Map computes out_i = expression(in…) at every point of a space. See NewMap.
type Map struct {
	pool   *Pool
	prog   *program
	tape   *tape // nil: blocks are computed one instruction after the other
	blocks int   // that one item does
}

// NewMap makes a Map over the points of shape. All arrays have that shape; the expression's results go to out in order.
// An out may be exactly one of the inputs, otherwise outs overlap nothing. Points are computed in blocks, shared by the
// threads; no result depends on where blocks begin.
func NewMap(pool *Pool, e *expr.Expr, shape []int, in, out []Array) *Map {
	m := &Map{pool: pool, prog: compile(spec{level: pool.level, expr: e, shape: shape, in: in, out: out})}
	// Enough items for the threads to end together, and of large arrays neighbouring blocks by the same thread.
	const leastItems, mostBlocks = 64, 16
	m.blocks = min(max(m.prog.points/blockLen/leastItems, 1), mostBlocks)
	m.tape = newTape(m.prog, pool.level, 0)
	reals, ints := m.prog.scratch()
	pool.reserve(max(reals, m.tape.scratch()), ints)
	return m
}

// Run does the work; the caller holds the pool.
func (m *Map) Run() error {
	p := m.prog
	if p.points == 0 {
		return nil
	}
	p.begin(m.pool.workers[0])
	n := m.blocks * blockLen
	m.pool.share((p.points+n-1)/n, p.cost*float64(p.points), m)
	return nil
}

// Do computes a few blocks.
func (m *Map) Do(w *Worker, item int) {
	lo := item * m.blocks * blockLen
	end := min(lo+m.blocks*blockLen, m.prog.points)
	if m.tape != nil {
		lo += m.tape.run(w, lo, end-lo)
	}
	for ; lo < end; lo += blockLen {
		f := frame{w: w, lo: lo, n: min(blockLen, end-lo)}
		f.next = min(blockLen, end-lo-f.n)
		m.prog.exec(m.prog.code, &f)
	}
}

// scratch is the scratch that a program needs, as Pool.reserve takes it.
func (p *program) scratch() (reals, ints int) { return p.realRegs * blockLen, p.intRegs * blockLen }
