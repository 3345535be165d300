package cpu

// Do computes one tile of the product and stores it through the epilogue.
func (g *Gemm) Do(w *Worker, item int) {
	col := item % g.colTiles * g.cols
	item /= g.colTiles
	row, batch := item%g.rowTiles*g.rows, item/g.rowTiles
	rows, cols := min(g.rows, g.m-row), min(g.cols, g.n-col)

	ld := (cols + g.kernel.nr - 1) / g.kernel.nr * g.kernel.nr
	tile := w.real[g.tileAt:g.aAt]
	switch {
	case g.k == 0:
		clear(tile)
	case g.small:
		ld = cols
		g.plain(tile, batch, row, col, rows, cols)
	default:
		for k := 0; k < g.k; k += Kc {
			g.tile(w, tile, ld, batch, row, col, rows, cols, k)
		}
	}
	if g.flip {
		t := w.real[g.to:][:g.rows*g.cols]
		transpose(t, tile, rows, cols, ld)
		tile, ld = t, rows
		row, col, rows, cols = col, row, cols, rows
	}
	g.finish(w, tile, ld, batch, row, col, rows, cols)
}

// tile adds the terms k…k+Kc-1 to a tile; the first ones store it.
func (g *Gemm) tile(w *Worker, tile []float32, ld, batch, row, col, rows, cols, k int) {
	mr, nr := g.kernel.mr, g.kernel.nr
	kc := min(Kc, g.k-k)
	b := w.real[g.bAt:g.to]
	if g.packed != nil {
		b = g.packedAt(k, kc, col)
	} else {
		g.b.pack(b, batch, k, col, kc, cols, nr)
	}
	at := g.a.transposed()
	for i := 0; i < rows; i += mr {
		var a []float32
		rs, cs := g.a.rs, g.a.cs
		if g.packA || i+mr > rows { // a panel that ends early is filled up with zeros
			a = w.real[g.aAt:][:mr*kc]
			at.pack(a, batch, k, row+i, kc, min(mr, rows-i), mr)
			rs, cs = 1, mr
		} else {
			a = g.a.data[g.a.at(batch, row+i, k):]
		}
		for j := 0; j < ld; j += nr {
			g.kernel.run(tile[i*ld+j:], ld, a, rs, cs, b[j*kc:], kc, k > 0)
		}
	}
}

// plain computes a tile of a tiny product without packing, in the order of the kernels.
func (g *Gemm) plain(tile []float32, batch, row, col, rows, cols int) {
	a, b := &g.a, &g.b
	for i := range rows {
		for j := range cols {
			at, bt := a.at(batch, row+i, 0), b.at(batch, 0, col+j)
			am, bm := a.by.at(batch, row+i, 0), b.by.at(batch, 0, col+j)
			var s float32
			for range g.k {
				x, y := a.data[at], b.data[bt]
				if a.mask != nil {
					x *= a.mask[am]
				}
				if b.mask != nil {
					y *= b.mask[bm]
				}
				s += float32(x * y)
				at, bt, am, bm = at+a.cs, bt+b.rs, am+a.by.cs, bm+b.by.rs
			}
			tile[i*cols+j] = s
		}
	}
}

// finish runs the epilogue over a tile whose rows are ld apart, given in the orientation of out.
func (g *Gemm) finish(w *Worker, tile []float32, ld, batch, row, col, rows, cols int) {
	m, n := g.m, g.n
	if g.flip {
		m, n = n, m
	}
	lo := (batch*m+row)*n + col
	if cols == n && n < blockLen { // the tile holds whole rows of out, so all of it is one run of points
		for i := 1; i < rows && ld != n; i++ {
			copy(tile[i*n:][:n], tile[i*ld:])
		}
		rows, cols = 1, rows*n
	}
	for i := range rows {
		for j := 0; j < cols; j += blockLen {
			c := min(blockLen, cols-j)
			g.epilogue.run(w, lo+i*n+j, c, tile[i*ld+j:][:c])
		}
	}
}

// transpose computes dst[j,i] = src[i,j] for a dense dst [cols, rows] and a src [rows, cols] whose rows are ld apart.
func transpose(dst, src []float32, rows, cols, ld int) {
	for i := range rows {
		for j, v := range src[i*ld:][:cols] {
			dst[j*rows+i] = v
		}
	}
}
