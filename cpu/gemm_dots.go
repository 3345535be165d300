package cpu

import "math"

// dotStrategy is the strategy for few columns: kernels whose vectors run along k, where the rows of A lie in memory one
// element after the other. Their lanes are added at the end, so that few columns fill vectors too.
type dotStrategy struct {
	*Gemm
	width       int // columns of a kernel
	parts       int // of k, which threads sum at the same time; 1: one thread sums all terms of a row
	copyB       bool
	bAt, tempAt int
	rowsA       *Rows // where the rows of A are found; nil: in their place
}

// mostDotColumns is the most columns of products by this strategy.
const mostDotColumns = 24

// dotsTime estimates the time of the strategy.
func dotsTime(g *Gemm) float64 {
	const lanes = 0.5 // of adding the lanes of a sum
	k := g.kernels
	if k.mostDots == 0 || g.n == 0 || g.n > mostDotColumns || g.k == 0 || !g.a.plain() {
		return math.Inf(1)
	}
	t := float64(g.m*g.n) * (float64(roundUp(g.k, k.lanes))/k.rate/0.85 + lanes)
	return (t + g.moveTime(g.b.down())) * float64(g.batch)
}

func (d *dotStrategy) plan() {
	parts := (d.n + d.kernels.mostDots - 1) / d.kernels.mostDots
	d.width = (d.n + parts - 1) / parts
	d.copyB = !d.b.down()
	d.setKc(d.kernels.dotsKc, 1)
	if d.parts = d.splits(); d.parts > 1 {
		d.divide(1, 1, d.m, d.width)
		return
	}
	d.cut(d.width, d.kernels.most[d.vectorWidth()], d.copyB)
}

// splits is the number of parts of k that threads sum at the same time, into memory of each part, from which they are
// added in order: the same bits as one after the other. Each thread then reads some columns of A, those that it reads
// again in a product with Aᵀ, as a gradient by weights is: two threads that took rows would need each other's there.
func (d *dotStrategy) splits() int {
	const mostSums = 1 << 12 // of a part
	parts := (d.k + d.kc - 1) / d.kc
	if d.pool.Threads() == 1 || d.batch > 1 || d.m*d.n > mostSums || (d.nanos+d.fetch)/float64(parts) < leastWork {
		return 1
	}
	return parts
}

// ready sums the parts.
func (d *dotStrategy) ready() {
	if d.parts > 1 {
		d.pool.Run(d.parts, dotParts{d})
	}
}

// dotParts is the task that sums a part.
type dotParts struct{ *dotStrategy }

func (d dotParts) Do(w *Worker, part int) {
	k := part * d.kc
	d.sum(w, d.part(part), d.n, block{0, 0, 0, d.m, d.n}, k, min(d.kc, d.k-k), false)
}

// part is where the sums of a part are.
func (d *dotStrategy) part(i int) []float32 { return d.pool.common[i*d.partRoom():][:d.partRoom()] }

// partRoom is the room of the sums of a part.
func (d *dotStrategy) partRoom() int { return roundUp(d.m*d.n, lineLen) }

func (d *dotStrategy) place(take func(need bool, n int) int) {
	d.bAt = take(d.copyB, d.cols*d.ldb())
	d.tempAt = take(d.b.mask != nil, d.cols*d.ldb())
	if d.parts > 1 {
		d.pool.reserveCommon(d.parts * d.partRoom())
	}
}

func (d *dotStrategy) mayAddToOut() bool  { return true }
func (d *dotStrategy) finishesRows() bool { return false }

// indexed: the rows of A, with vectors along them.
func (d *dotStrategy) indexed(of *Rows) **Rows {
	narrowest := d.n - (d.n-1)/d.width*d.width
	if d.kernels.dotRows == nil || narrowest < d.kernels.leastDotRows || !d.a.is(&of.gather.out, d.m, d.k) {
		return nil
	}
	return &d.rowsA
}

func (d *dotStrategy) add(w *Worker, c []float32, ld int, t block, k int) {
	if d.parts == 1 {
		d.sum(w, c, ld, t, k, min(d.kc, d.k-k), k > 0)
		return
	}
	part := d.part(k / d.kc)
	for i := range t.rows {
		to, from := c[i*ld:][:d.n], part[i*d.n:][:d.n]
		if k == 0 {
			copy(to, from)
			continue
		}
		for j, x := range from {
			to[j] += x
		}
	}
}

// sum sets or adds the terms k…k+kc-1 of a tile, some rows of A at a time, which stay in the second-level cache while
// the columns pass by.
func (d *dotStrategy) sum(w *Worker, c []float32, ld int, t block, k, kc int, add bool) {
	b, ldb := d.columnsB(w, block{t.batch, k, t.col, kc, t.cols})
	step := max(1, halfCache()/kc)
	for i := 0; i < t.rows; i += step {
		for j := 0; j < t.cols; j += d.width {
			rows, cols, b, c := min(step, t.rows-i), min(d.width, t.cols-j), b[j*ldb:], c[i*ld+j:]
			if x := d.rowsA; x != nil {
				d.kernels.dotRows(rows, cols, kc, x.at[t.row+i:], x.table[k:], b, ldb, c, ld, add)
				continue
			}
			d.kernels.dots(rows, cols, kc, d.a.data[d.a.at(t.batch, t.row+i, k):], d.a.rs, b, ldb, c, ld, add)
		}
	}
}

// columnsB gives a block of B whose columns are ld apart: in place or copied.
func (d *dotStrategy) columnsB(w *Worker, b block) (at []float32, ld int) {
	if !d.copyB {
		return d.b.data[d.b.at(b.batch, b.row, b.col):], d.b.cs
	}
	at, ld = w.real[d.bAt:], d.ldb()
	t := d.b.transposed()
	t.copyTo(d.kernels, at, ld, block{b.batch, b.col, b.row, b.cols, b.rows}, w.real[d.tempAt:])
	return at, ld
}

// ldb is how far apart the columns of a copied block of B are.
func (d *dotStrategy) ldb() int { return roundUp(d.kc, 16) + 16 }
