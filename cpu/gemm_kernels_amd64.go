//go:build !purego

package cpu

import "slices"

// tileFunc is a kernel of gemm_amd64.s, whose number of rows and of vectors is in its name.
type tileFunc = func(k int, a *float32, rs, cs int, b *float32, ldb int, c *float32, ldc int, strips, lanes int,
	add bool, ahead uintptr, inc, step, nextA, nextB, nextC int)

// tilesAVX512 and tilesAVX2 list the kernels by vectors and rows.
var tilesAVX512 = [5][]tileFunc{
	1: {
		nil, gemm1x1AVX512, gemm2x1AVX512, gemm3x1AVX512, gemm4x1AVX512, gemm5x1AVX512, gemm6x1AVX512,
		gemm7x1AVX512, gemm8x1AVX512, gemm9x1AVX512, gemm10x1AVX512, gemm11x1AVX512, gemm12x1AVX512,
		gemm13x1AVX512, gemm14x1AVX512, gemm15x1AVX512, gemm16x1AVX512, gemm17x1AVX512, gemm18x1AVX512,
		gemm19x1AVX512, gemm20x1AVX512, gemm21x1AVX512, gemm22x1AVX512, gemm23x1AVX512, gemm24x1AVX512,
		gemm25x1AVX512, gemm26x1AVX512, gemm27x1AVX512, gemm28x1AVX512,
	},
	2: {
		nil, gemm1x2AVX512, gemm2x2AVX512, gemm3x2AVX512, gemm4x2AVX512, gemm5x2AVX512, gemm6x2AVX512,
		gemm7x2AVX512, gemm8x2AVX512, gemm9x2AVX512, gemm10x2AVX512, gemm11x2AVX512, gemm12x2AVX512,
		gemm13x2AVX512, gemm14x2AVX512,
	},
	3: {
		nil, gemm1x3AVX512, gemm2x3AVX512, gemm3x3AVX512, gemm4x3AVX512, gemm5x3AVX512, gemm6x3AVX512,
		gemm7x3AVX512, gemm8x3AVX512,
	},
	4: {
		nil, gemm1x4AVX512, gemm2x4AVX512, gemm3x4AVX512, gemm4x4AVX512, gemm5x4AVX512, gemm6x4AVX512,
	},
}

var tilesAVX2 = [5][]tileFunc{
	1: {
		nil, gemm1x1AVX2, gemm2x1AVX2, gemm3x1AVX2, gemm4x1AVX2, gemm5x1AVX2, gemm6x1AVX2, gemm7x1AVX2,
		gemm8x1AVX2, gemm9x1AVX2, gemm10x1AVX2, gemm11x1AVX2, gemm12x1AVX2,
	},
	2: {
		nil, gemm1x2AVX2, gemm2x2AVX2, gemm3x2AVX2, gemm4x2AVX2, gemm5x2AVX2, gemm6x2AVX2,
	},
	3: {
		nil, gemm1x3AVX2, gemm2x3AVX2, gemm3x3AVX2,
	},
	4: {
		nil, gemm1x4AVX2, gemm2x4AVX2,
	},
}

// tileRowsAVX512 and tileRowsAVX2 list the kernels whose rows of B are in a list by rows of A.
var tileRowsAVX512 = [...]tileRowsFunc{
	nil, tileRows1x2AVX512, tileRows2x2AVX512, tileRows3x2AVX512, tileRows4x2AVX512, tileRows5x2AVX512,
	tileRows6x2AVX512, tileRows7x2AVX512, tileRows8x2AVX512, tileRows9x2AVX512, tileRows10x2AVX512, tileRows11x2AVX512,
	tileRows12x2AVX512, tileRows13x2AVX512, tileRows14x2AVX512,
}

var tileRowsAVX2 = [...]tileRowsFunc{
	nil, tileRows1x2AVX2, tileRows2x2AVX2, tileRows3x2AVX2, tileRows4x2AVX2, tileRows5x2AVX2, tileRows6x2AVX2,
}

// dotFunc is a kernel of gemm_amd64.s along k, whose number of rows and of columns is in its name.
type dotFunc = func(groups, k int, a *float32, rs int, b *float32, ldb int, c *float32, ldc int, add bool)

// dotRowsFunc is one whose rows are in a list, and tileRowsFunc a tile with such rows of B.
type (
	dotRowsFunc  = func(groups, k int, rows *int, table *float32, b *float32, ldb int, c *float32, ldc int, add bool)
	tileRowsFunc = func(k int, a *float32, rs, cs int, rows *int, table *float32, c *float32, ldc, strips int)
)

// dotPair is the kernel of so many rows and the one of a single row.
type dotPair struct {
	rows              int
	many, one         dotFunc
	manyRows, oneRows dotRowsFunc // nil where columns are few
}

// dotsAVX512 and dotsAVX2 list the kernels by columns.
var dotsAVX512 = [...]dotPair{
	1:  {8, dots8x1AVX512, dots1x1AVX512, nil, nil},
	2:  {8, dots8x2AVX512, dots1x2AVX512, nil, nil},
	3:  {7, dots7x3AVX512, dots1x3AVX512, nil, nil},
	4:  {6, dots6x4AVX512, dots1x4AVX512, nil, nil},
	5:  {4, dots4x5AVX512, dots1x5AVX512, nil, nil},
	6:  {4, dots4x6AVX512, dots1x6AVX512, nil, nil},
	7:  {3, dots3x7AVX512, dots1x7AVX512, dotRows3x7AVX512, dotRows1x7AVX512},
	8:  {3, dots3x8AVX512, dots1x8AVX512, dotRows3x8AVX512, dotRows1x8AVX512},
	9:  {2, dots2x9AVX512, dots1x9AVX512, dotRows2x9AVX512, dotRows1x9AVX512},
	10: {2, dots2x10AVX512, dots1x10AVX512, dotRows2x10AVX512, dotRows1x10AVX512},
	11: {2, dots2x11AVX512, dots1x11AVX512, dotRows2x11AVX512, dotRows1x11AVX512},
	12: {2, dots2x12AVX512, dots1x12AVX512, dotRows2x12AVX512, dotRows1x12AVX512},
}

var dotsAVX2 = [...]dotPair{
	1: {6, dots6x1AVX2, dots1x1AVX2, nil, nil},
	2: {4, dots4x2AVX2, dots1x2AVX2, nil, nil},
	3: {3, dots3x3AVX2, dots1x3AVX2, nil, nil},
	4: {2, dots2x4AVX2, dots1x4AVX2, dotRows2x4AVX2, dotRows1x4AVX2},
	5: {2, dots2x5AVX2, dots1x5AVX2, dotRows2x5AVX2, dotRows1x5AVX2},
	6: {2, dots2x6AVX2, dots1x6AVX2, dotRows2x6AVX2, dotRows1x6AVX2},
}

// kernelsOf are the kernels of a level.
func kernelsOf(l Level) *kernels {
	switch l {
	case AMX:
		return &kernelsAMX
	case AVX512:
		return &kernelsAVX512
	case AVX2:
		return &kernelsAVX2
	}
	return &genericKernels
}

var kernelsAVX512 = kernels{
	lanes: 16,
	kc:    256,
	most:  tallest(&tilesAVX512),
	wide:  2,
	rate:  70,
	tile: func(rows, vecs, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool,
		ahead lookahead) {
		tiles(&tilesAVX512, 16, rows, vecs, cols, k, a, rs, cs, b, ldb, c, ldc, add, ahead)
	},
	copyRows: func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
		copyRowsAVX512(&dst[0], ldd, &src[0], lds, rows, cols)
	},
	mulRows: func(dst []float32, ldd int, src []float32, lds int, by []float32, ldb, rows, cols int) {
		mulRowsAVX512(&dst[0], ldd, &src[0], lds, &by[0], ldb, rows, cols)
	},
	transpose: func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
		transposeAVX512(&dst[0], ldd, &src[0], lds, rows, cols)
	},
	dots: func(rows, cols, k int, a []float32, rs int, b []float32, ldb int, c []float32, ldc int, add bool) {
		dots(dotsAVX512[:], rows, cols, k, a, rs, b, ldb, c, ldc, add)
	},
	dotRows: func(rows, cols, k int, at []int, table, b []float32, ldb int, c []float32, ldc int, add bool) {
		dotsOfRows(dotsAVX512[:], rows, cols, k, at, table, b, ldb, c, ldc, add)
	},
	tileRows: func(rows, cols, k int, a []float32, rs, cs int, at []int, table, c []float32, ldc int) {
		stripsOfRows(tileRowsAVX512[:], 16, rows, cols, k, a, rs, cs, at, table, c, ldc)
	},
	mostDots:        len(dotsAVX512) - 1,
	leastDotRows:    leastListed(dotsAVX512[:]),
	dotsKc:          1024,
	winogradKernels: winogradAVX512,
	chains:          12 * 16,
	fmaChains:       fmaChainsAVX512,
	triad:           func(dst, a, b []float32) { triadAVX512(&dst[0], &a[0], &b[0], len(dst)) },
}

// kernelsAMX are those of AVX-512 and bf16x3 products.
var kernelsAMX = func() kernels {
	k := kernelsAVX512
	k.bf16x3 = &bf16x3AMX
	return k
}()

var kernelsAVX2 = kernels{
	lanes:     8,
	kc:        512,
	most:      tallest(&tilesAVX2),
	wide:      2,
	panelRows: 78,
	down: func(strips, cols, k int, a []float32, rs, cs, nextA int, b []float32, c []float32, ldc int, add bool,
		ahead lookahead) {
		const lanes, high, width = 8, 6, 16
		vecs := (cols + lanes - 1) / lanes
		tilesAVX2[vecs][high](k, &a[0], rs, cs, &b[0], width, &c[0], ldc, strips, cols-lanes*(vecs-1), add, ahead.at,
			ahead.inc, ahead.step, nextA, 0, high*ldc)
	},
	packRows: func(dst []float32, panel int, src []float32, lds, rows, panels int) {
		pack6AVX2(&dst[0], panel, &src[0], lds, rows, panels)
	},
	packColumns: func(dst []float32, panel int, src []float32, lds, rows, panels int) {
		pack16AVX2(&dst[0], panel, &src[0], lds, rows, panels)
	},
	rate: 35,
	tile: func(rows, vecs, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32, ldc int, add bool,
		ahead lookahead) {
		tiles(&tilesAVX2, 8, rows, vecs, cols, k, a, rs, cs, b, ldb, c, ldc, add, ahead)
	},
	copyRows: func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
		copyRowsAVX2(&dst[0], ldd, &src[0], lds, rows, cols)
	},
	mulRows: func(dst []float32, ldd int, src []float32, lds int, by []float32, ldb, rows, cols int) {
		mulRowsAVX2(&dst[0], ldd, &src[0], lds, &by[0], ldb, rows, cols)
	},
	transpose: func(dst []float32, ldd int, src []float32, lds, rows, cols int) {
		transposeAVX2(&dst[0], ldd, &src[0], lds, rows, cols)
	},
	dots: func(rows, cols, k int, a []float32, rs int, b []float32, ldb int, c []float32, ldc int, add bool) {
		dots(dotsAVX2[:], rows, cols, k, a, rs, b, ldb, c, ldc, add)
	},
	dotRows: func(rows, cols, k int, at []int, table, b []float32, ldb int, c []float32, ldc int, add bool) {
		dotsOfRows(dotsAVX2[:], rows, cols, k, at, table, b, ldb, c, ldc, add)
	},
	tileRows: func(rows, cols, k int, a []float32, rs, cs int, at []int, table, c []float32, ldc int) {
		stripsOfRows(tileRowsAVX2[:], 8, rows, cols, k, a, rs, cs, at, table, c, ldc)
	},
	mostDots:        len(dotsAVX2) - 1,
	leastDotRows:    leastListed(dotsAVX2[:]),
	dotsKc:          400,
	winogradKernels: winogradAVX2,
	chains:          12 * 8,
	fmaChains:       fmaChainsAVX2,
	triad:           func(dst, a, b []float32) { triadAVX2(&dst[0], &a[0], &b[0], len(dst)) },
}

// tiles computes strips of vecs vectors in one call, and what is left in another.
func tiles(
	of *[5][]tileFunc, lanes, rows, vecs, cols, k int, a []float32, rs, cs int, b []float32, ldb int, c []float32,
	ldc int, add bool, ahead lookahead,
) {
	width := vecs * lanes
	if strips := cols / width; strips > 0 {
		of[vecs][rows](k, &a[0], rs, cs, &b[0], ldb, &c[0], ldc, strips, lanes, add, ahead.at, ahead.inc, ahead.step,
			0, width, width)
	}
	if rest := cols % width; rest > 0 {
		vecs := (rest + lanes - 1) / lanes
		of[vecs][rows](
			k, &a[0], rs, cs, &b[cols-rest], ldb, &c[cols-rest], ldc, 1, rest-lanes*(vecs-1), add, ahead.at, ahead.inc,
			ahead.step, 0, 0, 0,
		)
	}
}

// dots computes groups of rows in one call, and what is left in another.
func dots(
	of []dotPair, rows, cols, k int, a []float32, rs int, b []float32, ldb int, c []float32, ldc int, add bool,
) {
	p := &of[cols]
	groups := rows / p.rows
	if groups > 0 {
		p.many(groups, k, &a[0], rs, &b[0], ldb, &c[0], ldc, add)
	}
	if done := groups * p.rows; done < rows {
		p.one(rows-done, k, &a[done*rs], rs, &b[0], ldb, &c[done*ldc], ldc, add)
	}
}

// dotsOfRows does the same with rows in a list.
func dotsOfRows(
	of []dotPair, rows, cols, k int, at []int, table, b []float32, ldb int, c []float32, ldc int, add bool,
) {
	p := &of[cols]
	groups := rows / p.rows
	if groups > 0 {
		p.manyRows(groups, k, &at[0], &table[0], &b[0], ldb, &c[0], ldc, add)
	}
	if done := groups * p.rows; done < rows {
		p.oneRows(rows-done, k, &at[done], &table[0], &b[0], ldb, &c[done*ldc], ldc, add)
	}
}

// stripsOfRows computes whole strips in one call; one more ends with the last column, and computes some columns again.
func stripsOfRows(
	of []tileRowsFunc, lanes, rows, cols, k int, a []float32, rs, cs int, at []int, table, c []float32, ldc int,
) {
	width := 2 * lanes
	of[rows](k, &a[0], rs, cs, &at[0], &table[0], &c[0], ldc, cols/width)
	if cols%width > 0 {
		of[rows](k, &a[0], rs, cs, &at[0], &table[cols-width], &c[cols-width], ldc, 1)
	}
}

// leastListed is the fewest columns whose kernels take rows in a list.
func leastListed(of []dotPair) int {
	return slices.IndexFunc(of, func(p dotPair) bool { return p.manyRows != nil })
}

func tallest(tiles *[5][]tileFunc) (most [5]int) {
	for v := 1; v < len(tiles); v++ {
		most[v] = len(tiles[v]) - 1
	}
	return most
}
