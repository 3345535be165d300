package cpu

import "runtime"

// kernels is what a product needs of an instruction set. A tile is some rows by some vectors of lanes columns, of which
// the last one may be partly used.
type kernels struct {
	lanes int
	// kc is the most terms that a product sums in registers before it adds them to memory. A product is cut along k
	// into equal blocks by its depth alone, never by threads or cache sizes, so its bits depend on its shape and the
	// instruction set alone. A panel of A, most×kc, stays in the first-level cache while B passes by. On two Zen 4
	// cores with 1 MiB of L2 256 was faster than 512 for AVX-512 (2048³ 83.0 ms and 86.4, 1024³ 10.2 and 10.6, a
	// gradient by weights of 1024×1024 at batch 1024 10.6 and 12.1), and for AVX2, whose tiles are half as wide, 512.
	kc   int
	most [5]int // most[v]: the most rows of a tile that is v vectors wide; 0 for none
	wide int    // the width, in vectors, of the tile that is fastest
	// panelRows is the most rows of A that pass by a panel of B while a second-level cache holds them (see
	// panelStrategy); 0 where that way is not known to be faster.
	panelRows int
	// down computes what tile does for strips panels of A of most[wide] rows one after the other, which begin nextA
	// elements apart, and a panel of B, cols columns of it.
	down func(strips, cols, k int, a []float32, rs, cs, nextA int, b []float32, c []float32, ldc int, add bool,
		ahead lookahead)
	// packRows and packColumns compute dst[p·panel + q·width + j] = src[q·lds + p·width + j] for p < panels, q < rows
	// and j < width, which is that of a panel of A, most[wide], or of B, wide·lanes. Two elements past the last panel
	// of A are read, and two past its last term written.
	packRows, packColumns func(dst []float32, panel int, src []float32, lds, rows, panels int)

	rate float64 // multiplications per nanosecond of that tile on one thread

	// tile computes c[i,j] (+)= Σ_q a[i·rs + q·cs] · b[q·ldb + j] for i < rows, j < cols, q < k, with the rows of c ldc
	// apart, in strips of vecs vectors. It stores the sums, or adds them where add is set. Each element is one running
	// sum in the order of q, so that tiles may be chosen by shape without changing what a term goes through.
	tile func(rows, vecs, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool,
		ahead lookahead)
	// copyRows computes dst[i·ldd + j] = src[i·lds + j] for i < rows, j < cols.
	copyRows func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	// mulRows computes dst[i·ldd + j] = src[i·lds + j] · by[i·ldb + j].
	mulRows func(dst []float32, ldd int, src []float32, lds int, by []float32, ldb, rows, cols int)
	// transpose computes dst[j·ldd + i] = src[i·lds + j].
	transpose func(dst []float32, ldd int, src []float32, lds, rows, cols int)
	// dots computes c[i·ldc + j] (+)= Σ_q a[i·rs + q] · b[j·ldb + q] for i < rows, j < cols ≤ mostDots, q < k: vectors
	// run along k, and their lanes are added at the end. It stores the sums, or adds them where add is set.
	dots     func(rows, cols, k int, a []float32, rs int, b []float32, ldb int, c []float32, ldc int, add bool)
	mostDots int // 0 where tile is as good
	// dotsKc is the most terms that dots sums at a time. Its columns of B are to stay in the first-level cache: with
	// 1024 terms instead of 342 a Zen 3 core with 32 KiB took 1.36 times as long for 64×1024·1024×10 in AVX2.
	dotsKc int
	// dotRows computes c[i·ldc + j] (+)= Σ_q table[at[i] + q] · b[j·ldb + q] for i < rows, leastDotRows ≤ cols ≤
	// mostDots, q < k; tileRows c[i·ldc + j] = Σ_q a[i·rs + q·cs] · table[at[q] + j] for i < rows ≤ most[wide],
	// j < cols, cols at least a tile's. Both are nil or both are there; at has morePlaces elements more than there are
	// rows.
	dotRows      func(rows, cols, k int, at []int, table, b []float32, ldb int, c []float32, ldc int, add bool)
	tileRows     func(rows, cols, k int, a []float32, rs, cs int, at []int, table, c []float32, ldc int)
	leastDotRows int

	winogradKernels

	bf16x3 *bf16x3Kernels // nil where the level has no matrix units

	// fmaChains does chains independent multiply-adds in each step; triad computes dst[i] = a[i] + b[i]/2.
	chains    int
	fmaChains func(steps int)
	triad     func(dst, a, b []float32)
}

// lookahead says what a kernel asks for while it works: where at is 0 the rows of B, which lies far off; otherwise
// strip s the lines at address at + 4·(s·step + q/4·inc) for each term q.
type lookahead struct {
	at        uintptr
	inc, step int
}

var genericKernels = kernels{
	lanes: 4, kc: 512, most: [5]int{1: 2}, wide: 1, rate: 3,
	tile: gemmGeneric, copyRows: copyRowsGeneric, mulRows: mulRowsGeneric, transpose: transposeGeneric,
	winogradKernels: genericWinograd,
	chains:          8, fmaChains: func(steps int) { runtime.KeepAlive(fmaChainsGeneric(steps)) }, triad: triadGeneric,
}
