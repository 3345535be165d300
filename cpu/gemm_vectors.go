package cpu

import "unsafe"

// vectorStrategy is the strategy for products of all kinds: kernels whose vectors run along the columns of B. They read
// A where it lies, whatever its layout, and B too where its rows lie in memory one element after the other; other
// operands, and those with a mask, are copied block by block.
type vectorStrategy struct {
	*Gemm
	vecs             int // width of a kernel in vectors
	copyA, copyB     bool
	aAt, bAt, tempAt int   // where the copies of A and B, and half-done copies, begin in a worker's scratch
	rowsB            *Rows // where the rows of B are found; nil: in their place
}

// leastReuse is the number of times that an element takes part in sums from which on its copy pays. One thread, share
// of the peak with and without, Xeon with 48 KiB and 2 MiB: A conflicting, 256×1024·1024×1024, 0.82 and 0.79; B
// conflicting, 64 rows, 0.68 and 0.73, 256 rows, 0.82 and 0.78; A scattered, 784×256·256×n, n = 1024, 0.87 and 0.81, n
// = 64, 0.69 and 0.73.
const leastReuse = 128

// leastAligned is the number of rows from which on a copy of B pays where its rows do not begin on cache lines, so that
// every vector touches two: 1024×784·784×300 on one thread 0.88 of the peak, in place 0.83; for 256 rows there is no
// difference.
const leastAligned = 1024

// conflicting says whether rows lie such that they compete for the same places of a cache: a multiple of a page apart,
// more rows than a cache has ways.
func conflicting(l layout, rows int) bool {
	const page = 4096 / 4
	return l.cs == 1 && l.rs != 0 && l.rs%page == 0 && rows > 8
}

// scattered says whether the terms of a row of A lie in different cache lines, most often different pages.
func (l layout) scattered() bool { return l.rs == 1 && l.cs >= 64 }

// vectorsTime estimates the time of the strategy.
func vectorsTime(g *Gemm) float64 {
	k := g.kernels
	vecs := (g.n + k.lanes - 1) / k.lanes
	sums := min(g.m, k.most[1]) * min(vecs, g.vectorWidth())
	t := float64(g.m*vecs*k.lanes*g.k) / k.rate * max(1, 8/float64(sums)) // 8 sums hide the latency
	if k.panelRows > 0 {                                                  // there is a choice
		t += g.fetchesTime()
	}
	return (t + g.moveTime(g.b.plain())) * float64(g.batch)
}

// fetchesTime estimates what operands cost more that a kernel reads where they lie, with AVX2 on one thread of a Zen 3
// core. A scattered A is copied for every tile, another one comes from the third-level cache. B is turned around, or
// brought near for every tile, if it lies far off for every thread, or, where its rows compete for the same places of a
// cache, comes from the third-level cache for every panel of A but the first ones.
func (g *Gemm) fetchesTime() (t float64) {
	const again, first = 0.09, 4 // of reading an element; panels
	tile := tileCols(g.kernels.kc, usualHalfCache)
	across := float64((g.n + tile - 1) / tile)
	if g.a.scattered() {
		t += packTime * float64(g.m*g.k) * across
	} else {
		t += againTime * float64(g.m*g.k) * across
	}
	if g.b.cs != 1 {
		t += turnTime * float64(g.k*g.n)
	} else if g.k*g.n > usualHalfCache {
		t += againTime * float64(g.k*g.n) * usualThreads
	}
	switch {
	case g.m > leastReuse:
		t += 2 * packTime * float64(g.k*g.n)
	case g.b.plain() && conflicting(g.b.layout, g.k):
		panels := g.m / g.kernels.most[g.kernels.wide]
		t += again * float64(g.k*g.n*max(0, panels-first))
	}
	return t
}

// vectorWidth is the number of vectors that a kernel computes at a time.
func (g *Gemm) vectorWidth() int { return g.kernels.width(g.m, g.n) }

// width is the number of vectors that a kernel had better compute at a time for so many rows and columns of sums: as
// few as hold all columns, otherwise what is fastest, which for few rows is what gives enough independent sums.
func (k *kernels) width(rows, columns int) int {
	switch {
	case columns <= k.lanes:
		return 1
	case rows <= k.most[4] && columns > 2*k.lanes:
		return 4
	}
	return k.wide
}

// panels computes what tile does for any number of rows, in panels of nearly equal height, each of which asks for the
// rows of its own A.
func (k *kernels) panels(
	rows, vecs, cols, terms int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool,
) {
	most := k.most[vecs]
	count := (rows + most - 1) / most
	for p := range count {
		lo, hi := rows*p/count, rows*(p+1)/count
		k.tile(hi-lo, vecs, cols, terms, a[lo*rs:], rs, cs, b, ldb, c[lo*ldc:], ldc, add,
			lookahead{addressOf(a, lo*rs), 4, 0})
	}
}

// column computes c[i·cols + j] = Σ_q a[i·rs + q·cs] · b[q·cols + j] for i < rows, j < cols, q < k, with tiles that are
// vecs vectors wide: a product of many rows and a strip of B that the first-level cache holds.
func (k *kernels) column(rows, vecs, cols, terms int, a []float32, rs, cs int, b, c []float32) {
	most, done := k.most[vecs], 0
	if strips := rows / most; strips > 0 && k.down != nil && cols == vecs*k.lanes && vecs == k.wide {
		k.down(strips, cols, terms, a, rs, cs, most*rs, b, c, cols, false, lookahead{addressOf(a, 0), 4, most * rs})
		done = strips * most
	}
	if done < rows {
		k.panels(rows-done, vecs, cols, terms, a[done*rs:], rs, cs, b, cols, c[done*cols:], cols, false)
	}
}

func (v *vectorStrategy) plan() {
	v.vecs = v.vectorWidth()
	v.copyA = v.a.mask != nil ||
		v.n > leastReuse && (v.a.scattered() || conflicting(v.a.layout, v.kernels.most[v.kernels.wide]))
	v.copyB = !v.b.plain() || v.m > leastReuse && conflicting(v.b.layout, v.k) || v.m >= leastAligned && v.b.rs%16 != 0
	v.setKc(v.kernels.kc, 1)
	v.cut(v.vecs*v.kernels.lanes, v.kernels.most[v.vecs], v.copyB)
}

func (v *vectorStrategy) place(take func(need bool, n int) int) {
	v.aAt = take(v.copyA, v.kernels.most[1]*(v.kc+16))
	v.bAt = take(v.copyB, v.kc*v.ldb())
	v.tempAt = take(v.b.mask != nil, v.kc*v.ldb())
}

func (v *vectorStrategy) mayAddToOut() bool  { return true }
func (v *vectorStrategy) finishesRows() bool { return true }

// indexed: the rows of B, with vectors along them, where no tile is narrower than a kernel and all terms are summed at
// a time.
func (v *vectorStrategy) indexed(of *Rows) **Rows {
	width := v.kernels.wide * v.kernels.lanes
	narrowest := v.n
	for i := range v.colTiles {
		narrowest = min(narrowest, v.column(i+1)-v.column(i))
	}
	if v.kernels.tileRows == nil || v.kc < v.k || v.copyB || narrowest < width || !v.b.is(&of.gather.out, v.k, v.n) {
		return nil
	}
	return &v.rowsB
}

func (v *vectorStrategy) add(w *Worker, c []float32, ld int, t block, k int) {
	kc := min(v.kc, v.k-k)
	var b []float32
	var ldb int
	if v.rowsB == nil {
		b, ldb = v.blockB(w, block{t.batch, k, t.col, kc, t.cols})
	}
	most := v.kernels.most[v.vecs]
	panels := (t.rows + most - 1) / most
	for p := range panels { // of nearly equal height
		i, end := t.rows*p/panels, t.rows*(p+1)/panels
		a, rs, cs := v.panelA(w, block{t.batch, t.row + i, k, end - i, kc})
		if x := v.rowsB; x != nil { // all terms at once
			v.kernels.tileRows(end-i, t.cols, kc, a, rs, cs, x.at, x.table[t.col:], c[i*ld:], ld)
		} else {
			var next lookahead
			if v.copyB {
				next = v.lookahead(t.batch, t.row+min(end, t.rows-1), k)
			}
			v.kernels.tile(end-i, v.vecs, t.cols, kc, a, rs, cs, b, ldb, c[i*ld:], ld, k > 0, next)
		}
		if k+kc == v.k && v.tileEpilogue(t) {
			v.finish(w, c[i*ld:], ld, block{t.batch, t.row + i, t.col, end - i, t.cols})
		}
	}
}

// lookahead is how strips ask for the panel of A that comes next: one of its rows each, or, where terms lie in rows,
// every fourth of those.
func (v *vectorStrategy) lookahead(batch, row, k int) lookahead {
	at := addressOf(v.a.data, v.a.at(batch, row, k))
	if v.a.rs == 1 {
		return lookahead{at, 4 * v.a.cs, v.a.cs}
	}
	return lookahead{at, 4, v.a.rs}
}

// addressOf is the address of x[i], which must exist.
func addressOf(x []float32, i int) uintptr { return uintptr(unsafe.Pointer(&x[i])) }

// panelA gives a panel of A and its strides: in place, or copied in the order in which it lies.
func (v *vectorStrategy) panelA(w *Worker, b block) (a []float32, rs, cs int) {
	if !v.copyA {
		return v.a.data[v.a.at(b.batch, b.row, b.col):], v.a.rs, v.a.cs
	}
	a = w.real[v.aAt:]
	if v.a.rs == 1 {
		t := v.a.transposed()
		t.copyTo(v.kernels, a, b.rows, block{b.batch, b.col, b.row, b.cols, b.rows}, nil)
		return a, 1, b.rows
	}
	rs = v.kc + 16
	v.a.copyTo(v.kernels, a, rs, b, nil)
	return a, rs, 1
}

// blockB gives a block of B whose rows are ld apart: in place or copied.
func (v *vectorStrategy) blockB(w *Worker, b block) (at []float32, ld int) {
	if !v.copyB {
		return v.b.data[v.b.at(b.batch, b.row, b.col):], v.b.rs
	}
	at = w.real[v.bAt:]
	v.b.copyTo(v.kernels, at, v.ldb(), b, w.real[v.tempAt:])
	return at, v.ldb()
}

// ldb is how far apart the rows of a copied block of B are.
func (v *vectorStrategy) ldb() int { return roundUp(v.cols, 16) + 16 }
