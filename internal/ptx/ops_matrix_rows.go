package ptx

import (
	"math/bits"
	"unsafe"

	"bilevel/internal/ptx/syntax"
)

// matrixRows binds the address operand of ldmatrix and stmatrix.
func (d *decoder) matrixRows(op syntax.Operand, store bool) int {
	n := map[string]int{"x1": 1, "x2": 2, "x4": 4}[d.which("x1", "x2", "x4")]
	a := access{size: 4, regs: make([]int32, 4), base: -1, store: store, space: spaceGeneric, indirect: true}
	if d.has("shared") || d.has("shared::cta") {
		a.space = spaceShared
	}
	d.address(&a, op)
	d.in.x = &extra{access: a}
	d.in.flow, d.in.a = flowWarp, -1
	return n
}

// matrixRows are addresses of rows of 8×8 matrices: row r of matrix i at 8i+r, nil where it cannot be accessed.
type matrixRows [32]unsafe.Pointer

// element is where matrix k has the e-th of the two elements that belong to a lane, or nil: lane 4r+q has elements 2q
// and 2q+1 of row r, or of column r.
func (m *matrixRows) element(k, lane, e int, trans bool) *uint16 {
	row, col := lane/4, 2*(lane%4)+e
	if trans {
		row, col = col, row
	}
	p := m[8*k+row]
	if p == nil {
		return nil
	}
	return (*uint16)(unsafe.Add(p, 2*col))
}

// rows locates the rows of the matrices: lane 8i+r has the address of row r of matrix i.
func (w *warp) rows(in *instr, n int, mask uint32) (rows matrixRows) {
	a := &in.x.access
	var addr vec[uint64]
	w.addresses(a, &addr)
	lanes := mask
	if n < 4 {
		lanes &= 1<<(8*n) - 1
	}
	if lanes == 0 {
		return rows
	}
	w.observe(in, a, &addr, lanes)
	if w.san != nil {
		w.san.begin(w, a)
	}
	for m := lanes; m != 0; m &= m - 1 {
		i := bits.TrailingZeros32(m)
		p := w.locate(in, a, i, addr[i&31], 16)
		if p.ptr != nil && w.san != nil {
			w.san.access(w, in, a, i, p)
		}
		rows[i&31] = p.ptr
	}
	return rows
}

// loadMatrix is ldmatrix (PTX ISA 9.7.14.5.15): of each 8×8 matrix, lane 4r+q gets elements 2q and 2q+1 of row r, or of
// column r with .trans.
func loadMatrix(d *decoder) {
	d.args(2, 2)
	n := d.matrixRows(d.arg(1), false)
	regs := d.vectorOf(d.arg(0), n, width32, true)
	trans := d.has("trans")
	d.in.run = func(w *warp, in *instr, mask uint32) {
		rows := w.rows(in, n, mask)
		for k, off := range regs {
			out := reg[uint32](w, off)
			for lane := range out {
				var v uint32
				for e := range 2 {
					if p := rows.element(k, lane, e, trans); p != nil {
						v |= uint32(*p) << (16 * e)
					}
				}
				out[lane] = v
				if w.san != nil && w.san.gaps {
					w.setUndefined(off, lane, false, w.matrixBits(&rows, k, lane, trans))
				}
			}
		}
	}
}

// storeMatrix is stmatrix, the reverse of ldmatrix.
func storeMatrix(d *decoder) {
	d.args(2, 2)
	n := d.matrixRows(d.arg(0), true)
	regs := d.vectorOf(d.arg(1), n, width32, false)
	trans := d.has("trans")
	d.in.run = func(w *warp, in *instr, mask uint32) {
		rows := w.rows(in, n, mask)
		for k, off := range regs {
			src := reg[uint32](w, off)
			for lane := range src {
				for e := range 2 {
					if p := rows.element(k, lane, e, trans); p != nil {
						*p = uint16(src[lane] >> (16 * e))
						if w.san != nil && w.known[off>>2]>>lane&1 == 0 {
							u := w.undefinedBits(off, lane, false) >> (16 * e) & 0xffff
							w.block.sync.shared.setUndefined(w.sharedOffset(unsafe.Pointer(p)), 2, u)
						}
					}
				}
			}
		}
	}
}

func transposeMatrix(d *decoder) {
	d.args(2, 2)
	dst, src := d.dst(d.arg(0), width32), d.src32(d.arg(1))
	d.in.flow, d.in.a = flowWarp, -1
	d.in.run = func(w *warp, _ *instr, _ uint32) {
		a, out := *reg[uint32](w, src), reg[uint32](w, dst)
		for lane := range out {
			r, q := lane/4, lane%4
			var v uint32
			for e := range 2 {
				row, col := 2*q+e, r
				v |= a[row*4+col/2] >> (16 * (col % 2)) & 0xffff << (16 * e)
			}
			out[lane] = v
		}
	}
}
