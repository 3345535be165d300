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

func (m *matrix) transposed() matrix {
	return matrix{m.layout.transposed(), m.data, m.mask, m.by.transposed()}
}

// merges says whether the batch continues the rows, so that b matrices of n rows are one of b·n rows.
func (m *matrix) merges(rows int) bool {
	return m.bs == rows*m.rs && (m.mask == nil || m.by.bs == rows*m.by.rs)
}

// shared says whether all matrices of the batch are the same one.
func (m *matrix) shared() bool { return m.bs == 0 && (m.mask == nil || m.by.bs == 0) }

// plain says whether rows lie in memory as they are: no mask, one element after the other.
func (m *matrix) plain() bool { return m.mask == nil && m.cs == 1 }

// down says the same of columns.
func (m *matrix) down() bool { return m.mask == nil && m.rs == 1 }

// block is a part of a matrix: rows × cols elements from (row, col) on.
type block struct{ batch, row, col, rows, cols int }

// copyTo computes dst[i·ld + j] = element (i, j) of the block; an element is rounded like any product where it has a
// mask. temp has room for the block, or is nil.
func (m *matrix) copyTo(k *kernels, dst []float32, ld int, b block, temp []float32) {
	src := m.data[m.at(b.batch, b.row, b.col):]
	if m.mask == nil {
		switch {
		case m.cs == 1:
			k.copyRows(dst, ld, src, m.rs, b.rows, b.cols)
		case m.rs == 1:
			k.transpose(dst, ld, src, m.cs, b.cols, b.rows)
		default:
			copyAny(dst, ld, src, m.rs, m.cs, b.rows, b.cols)
		}
		return
	}
	mask := m.mask[m.by.at(b.batch, b.row, b.col):]
	switch {
	case m.cs == 1 && m.by.cs == 1:
		k.mulRows(dst, ld, src, m.rs, mask, m.by.rs, b.rows, b.cols)
	case m.rs == 1 && m.by.rs == 1 && temp != nil:
		k.mulRows(temp, b.rows, src, m.cs, mask, m.by.cs, b.cols, b.rows)
		k.transpose(dst, ld, temp, b.rows, b.cols, b.rows)
	default:
		mulAny(dst, ld, src, m.rs, m.cs, mask, m.by.rs, m.by.cs, b.rows, b.cols)
	}
}

func copyAny(dst []float32, ld int, src []float32, rs, cs, rows, cols int) {
	for i := range rows {
		from := i * rs
		for j := range cols {
			dst[i*ld+j] = src[from]
			from += cs
		}
	}
}

func mulAny(dst []float32, ld int, src []float32, rs, cs int, mask []float32, mrs, mcs, rows, cols int) {
	for i := range rows {
		for j := range cols {
			dst[i*ld+j] = src[i*rs+j*cs] * mask[i*mrs+j*mcs]
		}
	}
}
