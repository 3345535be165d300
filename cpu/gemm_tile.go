package cpu

import "unsafe"

// Do computes one tile of the product.
func (g *Gemm) Do(w *Worker, item int) {
	col := item % g.colTiles * g.cols
	item /= g.colTiles
	row, batch := item%g.rowTiles*g.rows, item/g.rowTiles
	t := block{batch, row, col, min(g.rows, g.m-row), min(g.cols, g.n-col)}

	c, ld := w.real[g.tileAt:], t.cols
	if g.direct {
		c, ld = g.out.data[g.out.at(batch, row, col):], g.out.rs
	}
	if g.k == 0 {
		for i := range t.rows {
			clear(c[i*ld:][:t.cols])
		}
	}
	for k := 0; k < g.k; k += g.kc {
		switch {
		case g.pieces:
			g.inPieces(w, c, ld, t, k)
		case g.dots > 0:
			g.dotPiece(w, c, ld, t, k)
		default:
			g.piece(w, c, ld, t, k)
		}
	}
	if g.direct && g.bare || g.eager(t) {
		return
	}
	if g.bare && g.out.cs == 1 {
		g.kernels.copyRows(g.out.data[g.out.at(batch, row, col):], g.out.rs, c, ld, t.rows, t.cols)
		return
	}
	if g.bare && g.out.rs == 1 {
		g.kernels.transpose(g.out.data[g.out.at(batch, row, col):], g.out.cs, c, ld, t.rows, t.cols)
		return
	}
	if g.flip {
		turned := w.real[g.to:]
		g.kernels.transpose(turned, t.rows, c, ld, t.rows, t.cols)
		c, ld = turned, t.rows
		t = block{batch, t.col, t.row, t.cols, t.rows}
	}
	g.finish(w, c, ld, t)
}

// piece adds the terms k…k+kc-1 to a tile; the first ones set it.
func (g *Gemm) piece(w *Worker, c []float32, ld int, t block, k int) {
	kc := min(g.kc, g.k-k)
	var b []float32
	var ldb int
	if g.rowsB == nil {
		b, ldb = g.blockB(w, block{t.batch, k, t.col, kc, t.cols})
	}
	most := g.kernels.most[g.vecs]
	panels := (t.rows + most - 1) / most
	for p := range panels { // of nearly equal height
		i, end := t.rows*p/panels, t.rows*(p+1)/panels
		a, rs, cs := g.panelA(w, block{t.batch, t.row + i, k, end - i, kc})
		if x := g.rowsB; x != nil { // all terms at once
			g.kernels.tileRows(end-i, t.cols, kc, a, rs, cs, x.at, x.table[t.col:], c[i*ld:], ld)
		} else {
			var next lookahead
			if g.copyB {
				next = g.lookahead(t.batch, t.row+min(end, t.rows-1), k)
			}
			g.kernels.tile(end-i, g.vecs, t.cols, kc, a, rs, cs, b, ldb, c[i*ld:], ld, k > 0, next)
		}
		if k+kc == g.k && g.eager(t) {
			g.finish(w, c[i*ld:], ld, block{t.batch, t.row + i, t.col, end - i, t.cols})
		}
	}
}

// lookahead is how strips ask for the panel of A that comes next: one of its rows each, or, where terms lie in rows, every
// fourth of those.
func (g *Gemm) lookahead(batch, row, k int) lookahead {
	at := addressOf(g.a.data, g.a.at(batch, row, k))
	if g.a.rs == 1 {
		return lookahead{at, 4 * g.a.cs, g.a.cs}
	}
	return lookahead{at, 4, g.a.rs}
}

// addressOf is the address of x[i], which must exist.
func addressOf(x []float32, i int) uintptr { return uintptr(unsafe.Pointer(&x[i])) }

// longDots is the most elements of A in one call of a kernel, about 100 µs: the runtime cannot stop it meanwhile.
const longDots = 1 << 20

// dotPiece does the same with vectors along k.
func (g *Gemm) dotPiece(w *Worker, c []float32, ld int, t block, k int) {
	kc := min(g.kc, g.k-k)
	b, ldb := g.columnsB(w, block{t.batch, k, t.col, kc, t.cols})
	if x := g.rowsA; x != nil {
		g.kernels.dotRows(t.rows, t.cols, kc, x.at[t.row:], x.table, b, ldb, c, ld)
		return
	}
	step := max(1, longDots/kc)
	for j := 0; j < t.cols; j += g.dots {
		for i := 0; i < t.rows; i += step {
			a := g.a.data[g.a.at(t.batch, t.row+i, k):]
			g.kernels.dots(min(step, t.rows-i), min(g.dots, t.cols-j), kc, a, g.a.rs, b[j*ldb:], ldb, c[i*ld+j:], ld, k > 0)
		}
	}
}

// columnsB gives a block of B whose columns are ld apart: in place or copied.
func (g *Gemm) columnsB(w *Worker, b block) (at []float32, ld int) {
	if !g.copyB {
		return g.b.data[g.b.at(b.batch, b.row, b.col):], g.b.cs
	}
	at, ld = w.real[g.bAt:], roundUp(g.kc, 16)+16
	t := g.b.transposed()
	t.copyTo(g.kernels, at, ld, block{b.batch, b.col, b.row, b.cols, b.rows}, w.real[g.tempAt:])
	return at, ld
}

// sizeB is the room for a copied block of B.
func (g *Gemm) sizeB() int {
	if g.dots > 0 {
		return g.cols * (roundUp(g.kc, 16) + 16)
	}
	return g.kc * g.ldb()
}

// eager says whether φ takes the rows of a tile as soon as they are done, while they are near: where rows are long enough
// for a run of their own, and in the order of out.
func (g *Gemm) eager(t block) bool {
	return !g.bare && !g.flip && g.dots == 0 && !g.pieces && g.k > 0 && t.cols >= 128
}

// panelA gives a panel of A and its strides: in place, or copied in the order in which it lies.
func (g *Gemm) panelA(w *Worker, b block) (a []float32, rs, cs int) {
	if !g.copyA {
		return g.a.data[g.a.at(b.batch, b.row, b.col):], g.a.rs, g.a.cs
	}
	a = w.real[g.aAt:]
	if g.a.rs == 1 {
		t := g.a.transposed()
		t.copyTo(g.kernels, a, b.rows, block{b.batch, b.col, b.row, b.cols, b.rows}, nil)
		return a, 1, b.rows
	}
	rs = g.kc + 16
	g.a.copyTo(g.kernels, a, rs, b, nil)
	return a, rs, 1
}

// blockB gives a block of B whose rows are ld apart: in place or copied.
func (g *Gemm) blockB(w *Worker, b block) (at []float32, ld int) {
	if !g.copyB {
		return g.b.data[g.b.at(b.batch, b.row, b.col):], g.b.rs
	}
	at = w.real[g.bAt:]
	g.b.copyTo(g.kernels, at, g.ldb(), b, w.real[g.tempAt:])
	return at, g.ldb()
}

// ldb is how far apart the rows of a copied block of B are.
func (g *Gemm) ldb() int { return roundUp(g.cols, 16) + 16 }

// finish runs the epilogue over a tile whose rows are ld apart, given in the orientation of out.
func (g *Gemm) finish(w *Worker, tile []float32, ld int, t block) {
	m, n := g.m, g.n
	if g.flip {
		m, n = n, m
	}
	lo := (t.batch*m+t.row)*n + t.col
	rows, cols := t.rows, t.cols
	if cols == n && ld == n && n < blockLen { // the tile holds whole rows of out, so all of it is one run of points
		rows, cols = 1, rows*n
	}
	for i := range rows {
		for j := 0; j < cols; j += blockLen {
			c := min(blockLen, cols-j)
			g.epilogue.run(w, lo+i*n+j, c, tile[i*ld+j:][:c])
		}
	}
}
