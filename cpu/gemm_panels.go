package cpu

import "math"

// panelStrategy is the strategy for large products where a core's first-level cache is small beside its registers: B is
// copied into panels as wide as a kernel, in which the terms follow one another, by all threads together, once for the
// whole product, or by each of them what it reads (see byRows and byColumns). A panel then stays in the first-level
// cache while rows pass by, which a second-level cache holds: of the two it is A that moves, of which a kernel reads
// fewer elements for a term. Otherwise vectorStrategy's order, in which B moves, needs no copy. The sums of both are
// the same.
//
// One thread of a Zen 3 core with AVX2 (32 KiB and 512 KiB, peak 103 GFLOP/s), before and now: 2048³ 76 and 92, a
// gradient by weights 784×1024·1024×300, whose A is scattered, 73 and 90, 512×64·64×1024 81 and 89.
type panelStrategy struct {
	*Gemm
	high, width      int // rows of a panel of A, columns of one of B
	copyA            bool
	block            int  // rows of A that pass by a panel of B at a time
	own              bool // a tile copies the panels of B that it reads itself
	atOnce           int  // so many of them at a time
	aAt, bAt, tempAt int  // where the copies of A and B, and half-done copies, begin in a worker's scratch
}

// mostPanels is the most elements of B that are copied into panels, 16 MiB of them.
const mostPanels = 1 << 22

// Nanoseconds of copying an element into a panel, also where that turns it around and other threads read it, and of
// reading an element of A from the third-level cache, measured on two Zen 3 cores as differences between products in
// the loops of bench.
const (
	packTime  = 0.2
	turnTime  = 1.0
	againTime = 0.12
)

// panelsTime estimates the time of the strategy.
func panelsTime(g *Gemm) float64 {
	k := g.kernels
	if k.panelRows == 0 || g.batch > 1 || g.k*g.n > mostPanels || g.m < 2*k.most[k.wide] || g.n < 2*k.wide*k.lanes {
		return math.Inf(1)
	}
	vecs := (g.n + k.lanes - 1) / k.lanes
	t := float64(g.m*vecs*k.lanes*g.k) / k.rate
	again, copied := 1.0, float64(g.k*g.n)
	switch {
	case g.transposed:
		again = float64(g.columnTiles(usualThreads, usualHalfCache))
		t += packTime*copied + 2*againTime*float64(g.m*g.k)*max(0, again/usualThreads-1)
	case g.b.cs == 1:
		t += packTime * copied
	default:
		t += turnTime * copied
	}
	if g.a.mask != nil || g.a.scattered() {
		t += again * packTime * float64(g.m*g.k)
	}
	return t + g.moveTime(true)
}

func (p *panelStrategy) plan() {
	p.high, p.width = p.kernels.most[p.kernels.wide], p.kernels.wide*p.kernels.lanes
	p.copyA = p.a.mask != nil || p.a.scattered()
	p.setKc(p.kernels.kc, 1)
	p.block, p.atOnce = p.kernels.panelRows, 1
	if conflicting(p.b.layout, p.k) {
		p.atOnce = 2 // neighbouring lines, the next row of which is in another page: 64×784·784×1024 606 -> 588 µs
	}
	switch {
	case p.transposed:
		p.byColumns()
	case p.pool.Threads() > 1 && p.b.plain() && p.byRows():
	default:
		p.inCommon()
	}
}

// byColumns makes tiles of all rows and few columns, those of a result that is computed transposed: whole rows of it.
// A thread then computes the rows that it computes in the operations before and after, and the epilogue has long runs.
// Ten steps of an attack on 784-300-100-10 at batch 64 take 5.0 ms so, and 6.4 with tiles of a few rows. Where not even
// one panel's columns of all rows fit half of the second-level cache, tiles are shorter.
func (p *panelStrategy) byColumns() {
	threads, half := p.pool.Threads(), halfCache()
	across := p.columnTiles(threads, half)
	down := max((threads+across-1)/across, (p.m*p.width+half-1)/half)
	p.divide(down, across, p.high, p.width)
	p.own = true
}

// columnTiles is the number of tiles of all rows that byColumns makes: each takes half of a second-level cache at
// most, so many elements, and there are enough of them for so many threads.
func (g *Gemm) columnTiles(threads, half int) int {
	width := g.kernels.wide * g.kernels.lanes
	panels, most := (g.n+width-1)/width, max(1, half/g.m/width)
	return min(panels, roundUp((panels+most-1)/most, threads))
}

// byRows gives each thread rows of its own, if a copy of B for each costs little: because it stays in the second-level
// cache, or because the thread's rows of A do, so that each panel is copied once and read at once. No thread then waits
// until the others have copied their part, or reads lines that another core has just written: 256×300·300×100 in a loop
// takes 101 µs so, and 134 with panels in common, where a line takes 235 ns to the other core, and 89 and 92 where it
// takes 45.
func (p *panelStrategy) byRows() bool {
	const leastPanels, leastColumns = 4, 128 // of A a thread; of a tile, see tileEpilogue
	threads, half := p.pool.Threads(), halfCache()
	each := roundUp((p.m+threads-1)/threads, p.high)
	switch {
	case each < leastPanels*p.high:
		return false
	case p.kc*roundUp(p.n, p.width) <= half:
		p.block = min(p.block, max(p.high, half/2/p.kc/p.high*p.high))
		p.divide(threads, 1, p.high, p.width)
	case each >= p.block && p.kc*(p.m/threads) <= half:
		p.block = each
		p.divide(threads, min(4, max(1, p.n/leastColumns)), p.high, p.width)
	default:
		return false
	}
	p.own = true
	return true
}

// inCommon makes tiles of as many rows as the second-level cache holds, which read panels that all threads copy
// together. Where a single tile has all rows, tiles copy for themselves, and end between any two vectors.
func (p *panelStrategy) inCommon() {
	threads := p.pool.Threads()
	down := (p.m + p.block - 1) / p.block
	if threads > 1 && down > 1 {
		down = roundUp(down, threads)
	}
	across, unit := 1, p.width
	if threads > 1 { // tiles enough that a late thread is helped, and wide enough that a panel of A is read often
		for down*across < 4*threads && p.n > 4*p.width*(across+1) {
			across++
		}
		if down == 1 {
			unit = p.kernels.lanes
		}
	}
	p.divide(down, across, p.high, unit)
	p.own = p.rowTiles == 1
}

func (p *panelStrategy) place(take func(need bool, n int) int) {
	p.aAt = take(p.copyA, (min(p.rows, p.block)+p.high-1)/p.high*p.panelA())
	p.tempAt = take(p.b.mask != nil, p.k*p.width)
	columns := roundUp(p.cols, p.width)
	if p.rows <= p.block {
		columns = min(columns, p.atOnce*p.width)
	}
	p.bAt = take(p.own, p.kc*columns)
	if !p.own {
		p.pool.reserveCommon(p.k * roundUp(p.n, p.width))
	}
}

func (p *panelStrategy) mayAddToOut() bool    { return true }
func (p *panelStrategy) finishesRows() bool   { return true }
func (p *panelStrategy) wholeRows() bool      { return p.colTiles == 1 }
func (p *panelStrategy) indexed(*Rows) **Rows { return nil }

// panelA is the room of a panel of A, in which either its rows lie one after the other or its terms.
func (p *panelStrategy) panelA() int { return p.high * (p.kc + 16) }

// common is the panel of B that begins with a column, in the memory of all workers.
func (p *panelStrategy) common(col int) []float32 { return p.pool.common[col*p.k:] }

// panelB is part of a panel of B, some of its terms. A tile that copies its own panels does so when the first rows of A
// pass by.
func (p *panelStrategy) panelB(w *Worker, b, t block, first bool) []float32 {
	if !p.own {
		return p.common(b.col)[b.row*p.width:]
	}
	panel, length := (b.col-t.col)/p.width, p.kc*p.width
	place := panel
	if p.rows <= p.block {
		place %= p.atOnce
	}
	to := w.real[p.bAt+place*length:]
	switch whole := (t.cols - panel*p.width) / p.width; {
	case !first:
	case !p.b.plain() || whole == 0:
		p.b.copyTo(p.kernels, to, p.width, b, w.real[p.tempAt:])
	case panel%p.atOnce == 0:
		from := p.b.data[p.b.at(0, b.row, b.col):]
		p.kernels.packColumns(to, length, from, p.b.rs, b.rows, min(p.atOnce, whole))
	}
	return to
}

// packItem is the terms of B that an item copies.
const packItem = 16

// ready copies B where several tiles read it.
func (p *panelStrategy) ready() {
	if p.own {
		return
	}
	items := (p.n + p.width - 1) / p.width
	if p.b.plain() {
		items = (p.k + packItem - 1) / packItem
	}
	p.pool.share(items, packTime*float64(p.k*p.n), packing{p})
}

// packing is the task that copies B: some terms of all panels an item where its rows lie in memory, otherwise a panel.
type packing struct{ *panelStrategy }

func (p packing) Do(w *Worker, item int) {
	if !p.b.plain() {
		p.copyB(w, block{0, 0, item * p.width, p.k, min(p.width, p.n-item*p.width)})
		return
	}
	k, whole := item*packItem, p.n/p.width
	terms := min(packItem, p.k-k)
	p.kernels.packColumns(p.common(0)[k*p.width:], p.k*p.width, p.b.data[p.b.at(0, k, 0):], p.b.rs, terms, whole)
	if rest := p.n % p.width; rest > 0 {
		p.copyB(w, block{0, k, whole * p.width, terms, rest})
	}
}

// copyB copies a part of a panel.
func (p *panelStrategy) copyB(w *Worker, b block) {
	p.b.copyTo(p.kernels, p.common(b.col)[b.row*p.width:], p.width, b, w.real[p.tempAt:])
}

func (p *panelStrategy) add(w *Worker, c []float32, ld int, t block, k int) {
	kc := min(p.kc, p.k-k)
	for i := 0; i < t.rows; i += p.block {
		rows := block{0, t.row + i, t.col, min(p.block, t.rows-i), t.cols}
		p.pass(w, c[i*ld:], ld, rows, k, kc, i == 0)
	}
	if k+kc == p.k && p.tileEpilogue(t) {
		p.finish(w, c, ld, t)
	}
}

// pass lets rows of A pass by the panels of B of a tile.
func (p *panelStrategy) pass(w *Worker, c []float32, ld int, t block, k, kc int, first bool) {
	a, rs, cs, next := p.panelsA(w, block{0, t.row, k, t.rows, kc})
	for j := 0; j < t.cols; j += p.width {
		b := p.panelB(w, block{0, k, t.col + j, kc, min(p.width, t.cols-j)}, t, first)
		cols, strips := min(p.width, t.cols-j), t.rows/p.high
		if strips > 0 {
			ahead := p.lookahead(t, j, k, kc, strips)
			p.kernels.down(strips, cols, kc, a, rs, cs, next, b, c[j:], ld, k > 0, ahead)
		}
		if i := strips * p.high; i < t.rows {
			p.kernels.tile(t.rows-i, p.kernels.wide, cols, kc, a[strips*next:], rs, cs, b, p.width, c[i*ld+j:], ld,
				k > 0, lookahead{})
		}
	}
}

// packA copies the rows of a tile in the order in which they lie: row by row, or the terms of a panel together.
func (p *panelStrategy) packA(to []float32, t block) {
	if p.a.rs != 1 {
		p.a.copyTo(p.kernels, to, p.kc+16, t, nil)
		return
	}
	whole := 0
	if p.a.mask == nil {
		if whole = (t.rows - 2) / p.high; whole > 0 {
			p.kernels.packRows(to, p.panelA(), p.a.data[p.a.at(0, t.row, t.col):], p.a.cs, t.cols, whole)
		}
	}
	turned := p.a.transposed()
	for i := whole * p.high; i < t.rows; i += p.high {
		turned.copyTo(p.kernels, to[i/p.high*p.panelA():], p.high,
			block{0, t.col, t.row + i, t.cols, min(p.high, t.rows-i)}, nil)
	}
}

// panelsA gives the rows of a tile, in place or copied, their strides, and how far apart panels are.
func (p *panelStrategy) panelsA(w *Worker, t block) (a []float32, rs, cs, next int) {
	if !p.copyA {
		return p.a.data[p.a.at(0, t.row, t.col):], p.a.rs, p.a.cs, p.high * p.a.rs
	}
	a = w.real[p.aAt:]
	p.packA(a, t)
	if p.a.rs == 1 {
		return a, 1, p.high, p.panelA()
	}
	return a, p.kc + 16, 1, p.panelA()
}

// lookahead asks for the next panel of B while the panels of A pass by.
func (p *panelStrategy) lookahead(t block, j, k, kc, strips int) (next lookahead) {
	if j += p.width; !p.own && j < t.cols {
		next.at = addressOf(p.common(t.col+j), k*p.width)
		next.inc, next.step = max(1, 4*p.width/strips), kc*p.width/strips
	}
	return next
}
