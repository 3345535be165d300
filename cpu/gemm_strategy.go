package cpu

import (
	"math"

	"github.com/klauspost/cpuid/v2"
)

// A strategy is a way to compute the sums of a product's tiles: with which kernels, from what copies, how many terms at
// a time. It holds its Gemm, whose shape and orientation are settled before; the Gemm in turn knows nothing but these
// methods. A further way (of sums whose A is never laid out, as in a convolution, say) is one more type and one more
// row of choices.
type strategy interface {
	// plan chooses the terms that are summed at a time (Gemm.kc), the tiles, and what is copied.
	plan()
	// place takes room in a worker's scratch memory: take gives the place of n float32, which are there where need is
	// set.
	place(take func(need bool, n int) int)
	// ready does what all tiles need, before the first of them.
	ready()
	// add adds the terms k…k+kc-1 to a tile c, whose rows are ld apart. The first ones set it.
	add(w *Worker, c []float32, ld int, t block, k int)

	// mayAddToOut says whether the sums of a tile may grow in the memory of the result.
	mayAddToOut() bool
	// finishesRows says whether add runs the epilogue of rows (Gemm.finish) as soon as their last terms are in, for the
	// tiles that Gemm.tileEpilogue names.
	finishesRows() bool
	// wholeRows says whether those tiles are of whole rows, next to which the epilogue takes them in one run.
	wholeRows() bool
	// indexed is where the strategy keeps rows that it reads by their index instead of an operand, or nil where it
	// cannot do so.
	indexed(of *Rows) **Rows
}

// A choice is a strategy that might be taken: nanos estimates its time on one thread for a product as it is oriented,
// infinite where it cannot be done.
type choice struct {
	nanos func(g *Gemm) float64
	make  func(g *Gemm) strategy
}

// choices lists the strategies. Of equally fast ones the first is taken.
var choices = [...]choice{
	{vectorsTime, func(g *Gemm) strategy { return &vectorStrategy{Gemm: g} }},
	{panelsTime, func(g *Gemm) strategy { return &panelStrategy{Gemm: g} }},
	{dotsTime, func(g *Gemm) strategy { return &dotStrategy{Gemm: g} }},
	{bf16x3Time, func(g *Gemm) strategy { return &bf16x3Strategy{Gemm: g} }},
}

// Estimates are made for so many threads and a second-level cache of 512 KiB, half of which holds so many elements,
// whatever the machine has: the sums of strategies differ in their order, and so in their bits, which are not to depend
// on either.
const usualThreads, usualHalfCache = 2, 1 << 16

// fastest takes the strategy with the least estimate for the present orientation.
func (g *Gemm) fastest() (make func(*Gemm) strategy, nanos float64) {
	nanos = math.Inf(1)
	for _, c := range choices {
		if t := c.nanos(g); t < nanos || make == nil {
			make, nanos = c.make, t
		}
	}
	return make, nanos
}

// moveTime is the nanoseconds of copying, on one thread, what a product needs beside its sums: of B where it is not
// read in place, of a masked A, and of a result that is computed transposed.
func (g *Gemm) moveTime(inPlace bool) (t float64) {
	const move = 0.15 // of an element
	if !inPlace {
		t += move * float64(g.k*g.n)
	}
	if g.a.mask != nil {
		t += move * float64(g.m*g.k)
	}
	if g.transposed || g.out.cs != 1 {
		t += move * float64(g.m*g.n)
	}
	return t
}

// tileCols is the columns of the largest tiles of products that are summed kc terms at a time: their block of B takes
// half of a second-level cache, which holds so many elements. With all of it (512 columns of 512 terms in 1 MiB)
// products of 1024³ took 1.03 times as long on two Zen 4 cores, and in AVX2 1.09.
func tileCols(kc, half int) int {
	const least, most = 128, 1024
	return min(max(half/kc, least), most)
}

// halfCache is the elements that half of a core's second-level cache holds.
func halfCache() int {
	const usual, float32Bytes = 1 << 20, 4
	bytes := cpuid.CPU.Cache.L2
	if bytes <= 0 {
		bytes = usual // it does not say
	}
	return bytes / 2 / float32Bytes
}

// cut chooses the tiles of a strategy whose panels are width columns wide: enough of them that the threads end
// together, of whole panels, and none too short. copiesB says that every tile copies the block of B that it reads.
func (g *Gemm) cut(width, mostRows int, copiesB bool) {
	panels := (g.n + width - 1) / width
	most := tileCols(g.kernels.kc, halfCache())
	down, across := (g.m+tileRows-1)/tileRows, (g.n+most-1)/most
	work := float64(g.m)*float64(g.n)*float64(g.k)/g.kernels.rate + g.fetch
	if threads := g.pool.Threads(); threads > 1 && g.rowsEach(copiesB) && work > minParallel {
		down = roundUp(down, threads)
		if !copiesB && g.m >= 4*threads*mostRows { // tiles enough that a late thread is helped
			down = roundUp(down, 2*threads)
		}
	}
	for {
		g.divide(down, across, 1, width)
		if g.tiles() >= 2*g.pool.Threads() || g.pool.Threads() == 1 ||
			work/float64(g.rowTiles*g.colTiles) < 2*leastWork {
			return
		}
		switch {
		case across < panels && (g.cols >= g.rows || !g.b.plain()): // rows would transpose B again
			across++
		case down < g.m:
			down++
		default:
			return
		}
	}
}

// rowsEach says whether each thread had better have rows of its own: the operations before and after, elementwise ones
// among them, share rows too, so that what a thread wrote it reads again, while lines that another core has just
// written travel slowly. Every thread then reads all of B, which pays where it stays in the second-level cache (the
// gradient of 784-300-100-10 at batch 64: 0.31 ms, 0.44 by columns; of 784-1024-1024-10: 3.3 ms, 2.9) or meets many
// rows.
func (g *Gemm) rowsEach(copiesB bool) bool {
	const small, few, many = 1 << 18, 8, 2 * leastReuse // elements of B, rows
	each := g.m / g.pool.Threads()
	return each >= many || !copiesB && each >= few && g.k*g.n <= small
}

// setKc cuts the terms into as few equal parts as there are of at most most terms, rounded up to whole units.
func (g *Gemm) setKc(most, unit int) {
	parts := max(1, (g.k+most-1)/most)
	g.kc = roundUp((g.k+parts-1)/parts, unit)
}
