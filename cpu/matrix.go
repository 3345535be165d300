package cpu

// matrix is one operand of a product: a batch of matrices in any strided layout, times a mask of its own layout.
type matrix struct {
	layout
	data []float32
	mask []float32 // nil: none
	by   layout    // of the mask
}

// layout places element (row, col) of matrix number batch at off + batch·bs + row·rs + col·cs.
type layout struct{ off, bs, rs, cs int }

func (l layout) at(batch, row, col int) int { return l.off + batch*l.bs + row*l.rs + col*l.cs }

func (l layout) transposed() layout { return layout{l.off, l.bs, l.cs, l.rs} }

func layoutOf(a *Array) layout { return layout{a.Off, a.Strides[0], a.Strides[1], a.Strides[2]} }

func newMatrix(a, mask *Array) matrix {
	m := matrix{layout: layoutOf(a), data: a.Real}
	if mask != nil {
		m.mask, m.by = mask.Real, layoutOf(mask)
	}
	return m
}

func (m matrix) transposed() matrix {
	return matrix{m.layout.transposed(), m.data, m.mask, m.by.transposed()}
}

// merges says whether the batch continues the rows, so that b matrices of n rows are one of b·n rows.
func (m *matrix) merges(rows int) bool {
	return m.bs == rows*m.rs && (m.mask == nil || m.by.bs == rows*m.by.rs)
}

// shared says whether all matrices of the batch are the same one.
func (m *matrix) shared() bool { return m.bs == 0 && (m.mask == nil || m.by.bs == 0) }

// pack copies rows × cols elements from (row, col) on into panels of width columns: panel p holds the columns p·width…,
// element (i, j) at p·rows·width + i·width + j. Columns past the end are zero. dst has rows·⌈cols/width⌉·width elements.
func (m *matrix) pack(dst []float32, batch, row, col, rows, cols, width int) {
	for ; cols > 0; col, cols = col+width, cols-width {
		panel := dst[:rows*width]
		dst = dst[rows*width:]
		n := min(cols, width)
		src := m.data[m.at(batch, row, col):]
		switch {
		case m.mask != nil:
			packMasked(panel, src, m.rs, m.cs, m.mask[m.by.at(batch, row, col):], m.by.rs, m.by.cs, rows, n, width)
		case m.cs == 1 && n == width:
			packRows(panel, src, m.rs, rows, width)
		default:
			packColumns(panel, src, m.rs, m.cs, rows, n, width)
		}
	}
}

// packRows packs a whole panel of rows that lie one element after the other.
func packRows(dst, src []float32, rs, rows, width int) {
	if width == 4 {
		for i := range rows {
			*(*[4]float32)(dst[4*i:]) = *(*[4]float32)(src[i*rs:])
		}
		return
	}
	for i := range rows {
		copy(dst[i*width:][:width], src[i*rs:])
	}
}

// packColumns packs n columns of any layout, one by one, and zeros up to width.
func packColumns(dst, src []float32, rs, cs, rows, n, width int) {
	for j := range width {
		if j >= n {
			for i := range rows {
				dst[i*width+j] = 0
			}
			continue
		}
		from := j * cs
		for i := range rows {
			dst[i*width+j] = src[from]
			from += rs
		}
	}
}

// packMasked packs mask ⊙ src; a product with a mask is rounded like any other.
func packMasked(dst, src []float32, rs, cs int, mask []float32, mrs, mcs, rows, n, width int) {
	for i := range rows {
		row := dst[i*width:][:width]
		for j := range n {
			row[j] = src[i*rs+j*cs] * mask[i*mrs+j*mcs]
		}
		clear(row[n:])
	}
}
