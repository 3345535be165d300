package cpu

import "math"

// bf16x3: float32 products on units that multiply bfloat16, from three bfloat16 numbers for each float32.
//
// A bfloat16 number is a float32 of 8 significant bits instead of 24. Processors with matrix units (AMX) multiply
// matrices of such numbers sixteen times as fast as their vector units multiply float32, and add the products up in
// float32. That is too coarse for us; but a float32 is the sum of three bfloat16 numbers, its pieces: the number
// rounded to 8 bits, the rest rounded to 8 bits, and what is left, which has no more than 8. So
//
//	a = 3.1415927  =  3.140625 + 0.00096893311 − 0.0000011920929  =  a₀ + a₁ + a₂
//	b = 2.7182817  =  2.71875  − 0.00046920776 + 0.00000095367432 =  b₀ + b₁ + b₂
//
// and of the nine products of a piece of a and a piece of b, the larger six give the product of the numbers:
//
//	a₀b₀               8.53857421875
//	a₀b₁ + a₁b₀        8.53973489999…
//	a₁b₁               8.53973444536…
//	a₀b₂ + a₂b₀        8.53973419949…     the exact product is 8.53973420098…
//
// In general |a₁| ≤ 2⁻⁸|a| and |a₂| ≤ 2⁻¹⁷|a|, hence
//
//	a·b = a₀b₀ + a₀b₁ + a₁b₀ + a₁b₁ + a₀b₂ + a₂b₀ + r, |r| ≤ u|a||b|, u = 2⁻²⁴.
//
// Each product of two pieces is exact in float32. So a product of matrices A and B is the sum of six products of
// matrices of pieces, which take 0.4 of the time of one in float32. Cutting takes time in proportion to the elements
// of A and B, multiplying to those times the other side's length: it pays for large products only, and each piece is
// used for as many tiles as the caches allow (bf16x3Rows, bf16x3Block). The unit adds 32 terms before they join the
// others, 16 in a row, hence
//
//	|fl(AB) − AB| ≤ (18 + 6.1⌈k/32⌉) u |A||B|,
//
// below the bound (k+2) u |A||B| of sums in order, since k ≥ bf16x3Least (Henry, Tang and Heinecke, "Leveraging the
// bfloat16 artificial intelligence datatype for higher-precision computations", 2019). Root mean square of the error
// over u|A||B|, 300×700·700×300: normal numbers 0.21, in order 0.33; positive ones 2.8 and 3.4; exponents spread over
// 2^±20 1.8 and 1.6.
//
// The units take numbers below 2⁻¹²⁶ as 0, pieces included, and give 0 for them: to the bound come 2⁻¹²⁶ (|a| + |b| +
// 7) a term. Sums that come within 2⁻⁶ of the largest finite number may be infinite, since first pieces are larger
// than what they are of. NaN and infinities have no pieces: where a panel of A or a panel of B holds such a number,
// their product is computed in float32 (inWhole).

// bf16x3Kernels is what a bf16x3 product needs of an instruction set.
type bf16x3Kernels struct {
	step float64 // nanoseconds for a panel of A times one of B, bf16x3Terms terms
	// least is the fewest multiplications. The operands of smaller products most often come straight from another
	// operation, whose tiles are shared otherwise, and cutting takes a greater part: the gradient of 784-300-100-10
	// at batch 64 takes 0.255 ms, and 0.275 with its product 64×300·300×100 as bf16x3.
	least float64
	// left cuts rows ≤ bf16x3Panel rows of k numbers, ld apart, into pieces, and says whether all numbers are finite.
	left func(to, from []float32, ld, rows, k int) bool
	// right does the same with k rows of cols ≤ bf16x3Panel numbers.
	right func(to, from []float32, ld, k, cols int) bool
	// multiply computes c (+)= A·B of a panel cut by left and panels side by side cut by right, cols columns in all.
	// It stores the sums, or adds them where add is set.
	multiply func(rows, cols, k int, a, b, c []float32, ldc int, add bool)
}

const (
	// bf16x3Panel is the rows of a panel of A, and the columns of one of B: two tiles.
	bf16x3Panel = 32
	// bf16x3Terms is the terms of a tile.
	bf16x3Terms = 32
	// bf16x3Size is the room that a number takes in pieces, in halves of a float32.
	bf16x3Size = 3

	// bf16x3Least is the fewest terms of a bf16x3 product.
	bf16x3Least = 48
	// bf16x3Kc is the most terms between two visits to C: a panel of A, 24 KiB in pieces, stays in the first-level
	// cache. Of 128, 160, 192, 256, 512 and 1024 it is the fastest for nearly all shapes; bits do not depend on it.
	bf16x3Kc = 128
	// bf16x3Rows is the most rows of a tile, whose pieces are kept while blocks of B pass by.
	bf16x3Rows = 1024
	// bf16x3Block is the most numbers of a block of B, which stays, in pieces, in the second-level cache.
	bf16x3Block = 1 << 17
)

// panelRoom is the float32 that a panel of so many rows of A, or columns of B, takes in pieces.
func panelRoom(rows, k int) int {
	return roundUp(rows, bf16x3Panel/2) * roundUp(k, bf16x3Terms) * bf16x3Size / 2
}

// bf16x3Strategy is the strategy for large products on processors with matrix units: both operands are cut into pieces.
type bf16x3Strategy struct {
	*Gemm
	block int // columns of B cut into pieces at a time
	// where the pieces of A and B, plain copies, and half-done copies begin in a worker's scratch
	aAt, bAt, tempAt, spareAt int
}

// bf16x3Time estimates the time of the strategy.
func bf16x3Time(g *Gemm) float64 {
	p := g.kernels.bf16x3
	if p == nil || g.k < bf16x3Least || float64(g.m)*float64(g.n)*float64(g.k) < p.least {
		return math.Inf(1)
	}
	const cutA, cutB, move = 0.16, 0.22, 0.15 // of a number into pieces, of an element that is copied before or after
	// half a panel takes 0.7 of the time of one: half of the sums, which wait for each other
	panels := func(n int) float64 {
		return float64(n/bf16x3Panel) + 0.7*float64((n%bf16x3Panel+bf16x3Panel-1)/bf16x3Panel)
	}
	m, n, k := float64(g.m), float64(g.n), float64(g.k)
	steps := float64((g.k + bf16x3Terms - 1) / bf16x3Terms)
	t := panels(g.m)*panels(g.n)*steps*p.step + cutA*m*k + cutB*k*n
	if !g.a.plain() {
		t += move * m * k
	}
	if !g.b.plain() {
		t += move * k * n
	}
	if g.transposed || g.out.cs != 1 {
		t += move * m * n
	}
	return t * float64(g.batch)
}

func (g *bf16x3Strategy) place(take func(need bool, n int) int) {
	rows := bf16x3Panel
	if g.keepA() {
		rows = g.rows
	}
	g.aAt, g.bAt = take(true, panelRoom(rows, g.kc)), take(true, panelRoom(g.block, g.kc))
	g.tempAt, g.spareAt = take(true, 2*bf16x3Panel*g.kc), take(true, bf16x3Panel*g.kc)
}

// mayAddToOut: where the terms are summed in several parts and lines of the result are shared, two threads would add to
// them again and again.
func (g *bf16x3Strategy) mayAddToOut() bool {
	return g.k <= g.kc || g.colTiles == 1 || g.out.rs%16 == 0
}

func (g *bf16x3Strategy) finishesRows() bool { return false }

// indexed: none, since every operand is cut into pieces first.
func (g *bf16x3Strategy) indexed(*Rows) **Rows { return nil }

func (g *bf16x3Strategy) plan() {
	g.setKc(bf16x3Kc, bf16x3Terms)
	g.cutTiles()
}

// cutTiles chooses the tiles, and the blocks of B in one.
func (g *bf16x3Strategy) cutTiles() {
	threads := g.pool.Threads()
	down, across := (g.m+bf16x3Rows-1)/bf16x3Rows, 1
	want := 1
	if g.nanos > minParallel {
		want = threads // and no more: each cuts what it needs of B
	}
	if g.m >= leastReuse*threads && want > 1 {
		down = roundUp(down, threads)
	}
	panels, rows := (g.n+bf16x3Panel-1)/bf16x3Panel, (g.m+bf16x3Panel-1)/bf16x3Panel
	divide := func() { g.divide(down, across, bf16x3Panel, bf16x3Panel) }
	for divide(); g.tiles() < want && (across < panels || down < rows); divide() {
		if across < panels && (g.cols >= g.rows || down >= rows) {
			across++
		} else {
			down++
		}
	}
	most := max(1, min(bf16x3Block/g.kc/bf16x3Panel, 64)) // panels
	of := (g.cols/bf16x3Panel + most - 1) / most
	g.block = roundUp((g.cols+of-1)/of, bf16x3Panel)
}

func (g *bf16x3Strategy) add(w *Worker, c []float32, ld int, t block, k int) {
	kc := min(g.kc, g.k-k)
	var bad uint64 // panels of A with numbers that are not finite
	for j := 0; j < t.cols; j += g.block {
		cols := min(g.block, t.cols-j)
		badB := g.cutB(w, block{t.batch, k, t.col + j, kc, cols})
		for i, p := 0, 0; i < t.rows; i, p = i+bf16x3Panel, p+1 {
			rows, a := min(bf16x3Panel, t.rows-i), w.real[g.aAt:]
			if g.keepA() {
				a = a[p*panelRoom(bf16x3Panel, kc):]
			}
			if j == 0 && !g.cutA(w, a, block{t.batch, t.row + i, k, rows, kc}) {
				bad |= 1 << p
			}
			g.panels(w, a, c[i*ld+j:], ld, block{t.batch, t.row + i, t.col + j, rows, cols}, k, kc, bad>>p&1 != 0, badB)
		}
	}
}

// keepA says whether the pieces of A are used again, for the next block of B.
func (g *bf16x3Strategy) keepA() bool { return g.block < g.cols }

// panels adds some terms to the rows of one panel of A.
func (g *bf16x3Strategy) panels(w *Worker, a, c []float32, ld int, t block, k, kc int, badA bool, badB uint64) {
	kernels := g.kernels.bf16x3
	if !badA && badB == 0 {
		kernels.multiply(t.rows, t.cols, kc, a, w.real[g.bAt:], c, ld, k > 0)
		return
	}
	for j, p := 0, 0; j < t.cols; j, p = j+bf16x3Panel, p+1 {
		cols, c := min(bf16x3Panel, t.cols-j), c[j:]
		if !badA && badB>>p&1 == 0 {
			kernels.multiply(t.rows, cols, kc, a, w.real[g.bAt+p*panelRoom(bf16x3Panel, kc):], c, ld, k > 0)
		} else {
			g.inWhole(w, c, ld, block{t.batch, t.row, t.col + j, t.rows, cols}, k, kc)
		}
	}
}

// cutA cuts a panel of A into pieces and says whether all its numbers are finite.
func (g *bf16x3Strategy) cutA(w *Worker, to []float32, t block) bool {
	from, lda := g.plainA(w, t)
	return g.kernels.bf16x3.left(to, from, lda, t.rows, t.cols)
}

// cutB cuts a block of B into pieces and tells the panels with numbers that are not finite.
func (g *bf16x3Strategy) cutB(w *Worker, t block) (bad uint64) {
	to, kernels, room := w.real[g.bAt:], g.kernels.bf16x3, panelRoom(bf16x3Panel, t.rows)
	if g.b.plain() {
		if from, ldb := g.plainB(w, t); kernels.right(to, from, ldb, t.rows, t.cols) {
			return 0
		}
	}
	for j, p := 0, 0; j < t.cols; j, p = j+bf16x3Panel, p+1 {
		panel := block{t.batch, t.row, t.col + j, t.rows, min(bf16x3Panel, t.cols-j)}
		if from, ldb := g.plainB(w, panel); !kernels.right(to[p*room:], from, ldb, t.rows, panel.cols) {
			bad |= 1 << p
		}
	}
	return bad
}

// inWhole adds some terms to a block without cutting numbers.
func (g *bf16x3Strategy) inWhole(w *Worker, c []float32, ld int, t block, k, kc int) {
	a, lda := g.plainA(w, block{t.batch, t.row, k, t.rows, kc})
	b, ldb := g.plainB(w, block{t.batch, k, t.col, kc, t.cols})
	wide := g.kernels.wide
	step := g.kernels.most[wide]
	for i := 0; i < t.rows; i += step {
		g.kernels.tile(min(step, t.rows-i), wide, t.cols, kc, a[i*lda:], lda, 1, b, ldb, c[i*ld:], ld, k > 0,
			lookahead{})
	}
}

// plainA gives a block of A whose rows lie in memory one element after the other: in place or copied.
func (g *bf16x3Strategy) plainA(w *Worker, b block) (at []float32, ld int) {
	return g.a.plainBlock(g.kernels, b, w.real[g.tempAt:][:g.kc*bf16x3Panel], w.real[g.spareAt:])
}

// plainB does the same with B.
func (g *bf16x3Strategy) plainB(w *Worker, b block) (at []float32, ld int) {
	return g.b.plainBlock(g.kernels, b, w.real[g.tempAt+g.kc*bf16x3Panel:], w.real[g.spareAt:])
}

func (m *matrix) plainBlock(k *kernels, b block, temp, spare []float32) (at []float32, ld int) {
	if m.plain() {
		return m.data[m.at(b.batch, b.row, b.col):], m.rs
	}
	m.copyTo(k, temp, b.cols, b, spare)
	return temp, b.cols
}
