package cpu

// operandIter is the iteration order of one operand: it maps the row-major number of a point of an iteration space to
// the offset of the operand's element there. Axes of length 1 are dropped, and axes that continue each other are
// merged, so that few axes remain. Every operand is collapsed on its own: all that they share is the number of the
// point.
type operandIter struct {
	kind    iterKind
	off     int
	shape   []int
	strides []int
}

type iterKind uint8

const (
	dense   iterKind = iota // one after the other
	uniform                 // the same element everywhere
	cycle                   // a dense row, repeated: strides (0, 1)
	stretch                 // each element of a dense row several times: strides (1, 0)
	general                 // anything else
)

// newOperandIter maps the points of shape to off + Σ i_a·strides[a].
func newOperandIter(shape []int, strides []int, off int) operandIter {
	l := operandIter{off: off}
	for a, d := range shape {
		if d == 1 {
			continue
		}
		s := strides[a]
		if n := len(l.shape); n > 0 && l.strides[n-1] == s*d {
			l.shape[n-1] *= d
			l.strides[n-1] = s
			continue
		}
		l.shape = append(l.shape, d)
		l.strides = append(l.strides, s)
	}
	switch {
	case len(l.shape) == 0 || len(l.shape) == 1 && l.strides[0] == 1:
		l.kind = dense
	case len(l.shape) == 1 && l.strides[0] == 0:
		l.kind = uniform
	case len(l.shape) == 2 && l.strides[0] == 0 && l.strides[1] == 1:
		l.kind = cycle
	case len(l.shape) == 2 && l.strides[0] == 1 && l.strides[1] == 0:
		l.kind = stretch
	default:
		l.kind = general
	}
	return l
}

// iterOf is the iteration order of an array over its own shape.
func iterOf(a *Array) operandIter { return newOperandIter(a.Shape, a.Strides, a.Off) }

// iotaIter is the order whose offset is the index along an axis.
func iotaIter(shape []int, axis int) operandIter {
	strides := make([]int, len(shape))
	strides[axis] = 1
	return newOperandIter(shape, strides, 0)
}

// run is a piece of an iteration order: n points from offset off on, stride apart.
type run struct{ n, off, stride int }

// walk calls do for the runs that make up the points lo…lo+n-1, in order; from counts the points before the run.
// The two innermost axes are walked by addition, the outer ones located by division once per row of rows.
func (l *operandIter) walk(lo, n int, do func(from int, r run)) {
	rank := len(l.shape)
	if rank == 0 {
		do(0, run{n, l.off, 0})
		return
	}
	inner, stride := l.shape[rank-1], l.strides[rank-1]
	mid, midStride := 1, 0
	if rank > 1 {
		mid, midStride = l.shape[rank-2], l.strides[rank-2]
	}
	row, col := lo/inner, lo%inner
	for done := 0; done < n; {
		off, rest := l.off+col*stride, row/mid
		m := row % mid
		off += m * midStride
		for a := rank - 3; a >= 0; a-- {
			off += rest % l.shape[a] * l.strides[a]
			rest /= l.shape[a]
		}
		for ; m < mid && done < n; m++ {
			r := run{min(inner-col, n-done), off, stride}
			do(done, r)
			done += r.n
			off += midStride - col*stride
			col = 0
			row++
		}
	}
}

// at is the offset of point number i.
func (l *operandIter) at(i int) int {
	off := l.off
	for a := len(l.shape) - 1; a >= 0; a-- {
		off += i % l.shape[a] * l.strides[a]
		i /= l.shape[a]
	}
	return off
}

// load computes dst[i] = src at point lo+i.
func load[T float32 | int32](l *operandIter, dst, src []T, lo int) {
	switch l.kind {
	case dense:
		copy(dst, src[l.off+lo:])
	case uniform:
		fill(dst, src[l.off])
	case cycle:
		row := src[l.off:][:l.shape[1]]
		n := copy(dst, row[lo%len(row):])
		n += copy(dst[n:], row[:lo%len(row)])
		repeat(dst, n) // one row, from wherever it began
	default:
		l.walk(lo, len(dst), func(from int, r run) { loadRun(dst[from:][:r.n], src, r) })
	}
}

func loadRun[T float32 | int32](dst, src []T, r run) {
	switch r.stride {
	case 0:
		fill(dst, src[r.off])
	case 1:
		copy(dst, src[r.off:])
	default:
		j := r.off
		for i := range dst {
			dst[i] = src[j]
			j += r.stride
		}
	}
}

// store writes src[i] to the element of dst at point lo+i.
func store[T float32 | int32](l *operandIter, dst, src []T, lo int) {
	if l.kind == dense {
		copy(dst[l.off+lo:], src)
		return
	}
	l.walk(lo, len(src), func(from int, r run) { storeRun(dst, src[from:][:r.n], r) })
}

func storeRun[T float32 | int32](dst, src []T, r run) {
	if r.stride == 1 {
		copy(dst[r.off:], src)
		return
	}
	j := r.off
	for _, v := range src {
		dst[j] = v
		j += r.stride
	}
}

// loadIota computes dst[i] = the offset of point lo+i.
func (l *operandIter) loadIota(dst []int32, lo int) {
	if l.kind == cycle && len(dst) > l.shape[1] {
		row := l.shape[1]
		l.count(dst[:row], lo)
		repeat(dst, row)
		return
	}
	l.count(dst, lo)
}

// repeat fills dst with its first n elements again and again.
func repeat[T float32 | int32](dst []T, n int) {
	for n < len(dst) {
		n += copy(dst[n:], dst[:n])
	}
}

// count is loadIota element by element.
func (l *operandIter) count(dst []int32, lo int) {
	l.walk(lo, len(dst), func(from int, r run) {
		v := int32(r.off)
		part := dst[from:][:r.n]
		for i := range part {
			part[i] = v
			v += int32(r.stride)
		}
	})
}

func fill[T float32 | int32](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}
