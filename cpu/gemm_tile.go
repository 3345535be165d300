package cpu

// Do computes one tile of the product.
func (g *Gemm) Do(w *Worker, item int) {
	col, end := g.column(item%g.colTiles), g.column(item%g.colTiles+1)
	item /= g.colTiles
	row, below, batch := g.row(item%g.rowTiles), g.row(item%g.rowTiles+1), item/g.rowTiles
	t := block{batch, row, col, below - row, end - col}

	c, ld := w.real[g.tileAt:], t.cols
	if g.sumsInOut {
		c, ld = g.out.data[g.out.at(batch, row, col):], g.out.rs
	}
	if g.k == 0 {
		for i := range t.rows {
			clear(c[i*ld:][:t.cols])
		}
	}
	for k := 0; k < g.k; k += g.kc {
		g.strategy.add(w, c, ld, t, k)
	}
	if g.sumsInOut && g.noEpilogue || g.tileEpilogue(t) {
		return
	}
	if g.noEpilogue && g.out.cs == 1 {
		g.kernels.copyRows(g.out.data[g.out.at(batch, row, col):], g.out.rs, c, ld, t.rows, t.cols)
		return
	}
	if g.noEpilogue && g.out.rs == 1 {
		g.kernels.transpose(g.out.data[g.out.at(batch, row, col):], g.out.cs, c, ld, t.rows, t.cols)
		return
	}
	if g.transposed {
		turned := w.real[g.to:]
		for j := 0; j < t.cols; j += turnedRows {
			rows := min(turnedRows, t.cols-j)
			g.kernels.transpose(turned, t.rows, c[j:], ld, t.rows, rows)
			g.finish(w, turned, t.rows, block{batch, t.col + j, t.row, rows, t.rows})
		}
		return
	}
	g.finish(w, c, ld, t)
}

// turnedRows is the rows of a result, computed transposed, that get their epilogue together.
const turnedRows = 8

// tileEpilogue says whether φ takes the rows of a tile as soon as they are done, while they are near: where rows are
// long enough for a run of their own, and in the order of out.
func (g *Gemm) tileEpilogue(t block) bool {
	return !g.noEpilogue && !g.transposed && g.strategy.finishesRows() && g.k > 0 && t.cols >= 128
}

// finish runs the epilogue over a tile whose rows are ld apart, given in the orientation of out.
func (g *Gemm) finish(w *Worker, tile []float32, ld int, t block) {
	m, n := g.m, g.n
	if g.transposed {
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
