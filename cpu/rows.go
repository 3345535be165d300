package cpu

import (
	"errors"
	"fmt"

	"bilevel/internal/expr"
)

// ErrIndex says that a Gather or ScatterAdd met an index outside its table, or a KthLargest a k outside its elements.
var ErrIndex = errors.New("cpu: index out of range")

// checkIndices returns an error wrapping ErrIndex if an element of idx [j] is outside 0…n-1.
func checkIndices(op string, idx *Array, n int) error {
	at := idx.Off
	for j := range idx.Shape[0] {
		if i := idx.Int[at]; uint(i) >= uint(n) {
			return fmt.Errorf("%w: %s: element %d is %d, the table has %d rows", ErrIndex, op, j, i, n)
		}
		at += idx.Strides[0]
	}
	return nil
}

// Gather copies rows by index. See NewGather.
type Gather struct {
	pool            *Pool
	out, table, idx Array
	// rows that one item copies
	group int
	// where rows and indices lie densely
	copyRows8 func(dst []float32, ldd int, src []float32, lds int, rows *[8]int32, n int)
	// the memory of out and table then, Real or Int
	to, from []float32
}

// NewGather makes out[j,:] = table[idx[j],:], with table [n,d], idx Int [j], out [j,d]; Real or Int rows, or Byte rows
// that become Real. Its Run fails with ErrIndex, having written nothing, if an index is outside 0…n-1.
func NewGather(pool *Pool, out, table, idx Array) *Gather {
	g := &Gather{pool: pool, out: out, table: table, idx: idx, group: roundUp(max(1, blockLen/max(1, out.Shape[1])), 8)}
	if table.Byte != nil {
		return g
	}
	if d := out.Shape[1]; (d <= 1 || out.Strides[1] == 1 && table.Strides[1] == 1) &&
		(len(idx.Int) == 0 || idx.Strides[0] == 1) {
		g.copyRows8, g.to, g.from = loopsOf(pool.level).copyRows8, out.Real, table.Real
		if out.Int != nil {
			g.to, g.from = words(out.Int), words(table.Int)
		}
	}
	return g
}

func (g *Gather) check() error { return checkIndices("Gather", &g.idx, g.table.Shape[0]) }

// Run does the work; the caller holds the pool.
func (g *Gather) Run() error {
	if err := g.check(); err != nil {
		return err
	}
	const perElement, perRow = 0.3, 10 // nanoseconds
	rows, d := g.out.Shape[0], g.out.Shape[1]
	g.pool.share((rows+g.group-1)/g.group, float64(rows)*(perElement*float64(d)+perRow), g)
	return nil
}

// Do copies one group of rows.
func (g *Gather) Do(_ *Worker, item int) {
	if g.copyRows8 != nil {
		g.copyRows(item*g.group, min((item+1)*g.group, g.out.Shape[0]))
		return
	}
	for j := item * g.group; j < min((item+1)*g.group, g.out.Shape[0]); j++ {
		row := int(g.idx.Int[g.idx.Off+j*g.idx.Strides[0]])
		dst := run{g.out.Shape[1], g.out.Off + j*g.out.Strides[0], g.out.Strides[1]}
		src := run{g.out.Shape[1], g.table.Off + row*g.table.Strides[0], g.table.Strides[1]}
		switch {
		case g.table.Byte != nil:
			widenRun(g.out.Real, g.table.Byte, dst, src)
		case g.out.Int != nil:
			copyRun(g.out.Int, g.table.Int, dst, src)
		default:
			copyRun(g.out.Real, g.table.Real, dst, src)
		}
	}
}

// copyRows copies rows lo…hi-1, eight at a time.
func (g *Gather) copyRows(lo, hi int) {
	d, lds, ldd := g.out.Shape[1], g.table.Strides[0], g.out.Strides[0]
	table, rows, out := g.from[g.table.Off:], g.idx.Int[g.idx.Off+lo:][:hi-lo], g.to[g.out.Off+lo*ldd:]
	for ; len(rows) >= 8; rows, out = rows[8:], out[min(8*ldd, len(out)):] {
		g.copyRows8(out, ldd, table, lds, (*[8]int32)(rows), d)
	}
	for r, row := range rows {
		copy(out[r*ldd:][:d], table[int(row)*lds:])
	}
}

// widenRun makes a run of numbers of a run of bytes of the same length.
func widenRun(dst []float32, src []byte, to, from run) {
	if to.n > 0 && to.stride == 1 && from.stride == 1 {
		src = src[from.off:][:from.n]
		for i := range dst[to.off:][:to.n] {
			dst[to.off+i] = float32(src[i])
		}
		return
	}
	for i := range to.n {
		dst[to.off+i*to.stride] = float32(src[from.off+i*from.stride])
	}
}

// copyRun copies one run of elements to another of the same length.
func copyRun[T float32 | int32](dst, src []T, to, from run) {
	switch {
	case to.n == 0:
	case to.stride == 1:
		loadRun(dst[to.off:][:to.n], src, from)
	case from.stride == 1:
		storeRun(dst, src[from.off:][:from.n], to)
	default:
		for i := range to.n {
			dst[to.off+i*to.stride] = src[from.off+i*from.stride]
		}
	}
}

// ScatterAdd adds rows by index. See NewScatterAdd.
type ScatterAdd struct {
	pool          *Pool
	out, idx, src Array
	base          interface{ Run() error } // copies base to out; nil where they are the same
	width         int                      // columns that one item adds
	add           func(dst, a, b []float32)
}

// NewScatterAdd makes out = base, then, for j in order, out[idx[j],:] += src[j,:], with base and out [n,d], idx Int
// [j], src [j,d]. out may be exactly base. Its Run fails with ErrIndex, having written nothing, if an index is outside
// 0…n-1.
//
// Threads share the columns: each element still receives its terms in the order of j.
func NewScatterAdd(pool *Pool, out, base, idx, src Array) *ScatterAdd {
	s := &ScatterAdd{pool: pool, out: out, idx: idx, src: src, add: loopsOf(pool.level).real[expr.Add].vv}
	if !out.same(&base) {
		s.base = NewCopy(pool, out, base)
	}
	const leastWidth = 64 // columns: shorter pieces of a row cost more than they give
	s.width = max(leastWidth, out.Shape[1]/(2*pool.Threads()))
	return s
}

// Run does the work; the caller holds the pool.
func (s *ScatterAdd) Run() error {
	if err := checkIndices("ScatterAdd", &s.idx, s.out.Shape[0]); err != nil {
		return err
	}
	if s.base != nil {
		if err := s.base.Run(); err != nil {
			return err
		}
	}
	const perElement = 0.5 // nanoseconds
	d := s.out.Shape[1]
	s.pool.share((d+s.width-1)/s.width, perElement*float64(s.idx.Shape[0]*d), s)
	return nil
}

// Do adds one piece of all rows.
func (s *ScatterAdd) Do(_ *Worker, item int) {
	col := item * s.width
	n := min(s.width, s.out.Shape[1]-col)
	for j := range s.idx.Shape[0] {
		row := int(s.idx.Int[s.idx.Off+j*s.idx.Strides[0]])
		to := s.out.Off + row*s.out.Strides[0] + col*s.out.Strides[1]
		from := s.src.Off + j*s.src.Strides[0] + col*s.src.Strides[1]
		if s.out.Strides[1] == 1 && s.src.Strides[1] == 1 {
			dst := s.out.Real[to:][:n]
			s.add(dst, dst, s.src.Real[from:][:n])
			continue
		}
		for i := range n {
			s.out.Real[to+i*s.out.Strides[1]] += s.src.Real[from+i*s.src.Strides[1]]
		}
	}
}
