package cpu

import (
	"math"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// RowSoftmax works on the rows of z [r,c]; with M = max_j z_j and S = Σ_j exp(z_j - M) it computes
//
//	Probabilities     out [r,c] = exp(z - M) / S
//	LogProbabilities  out [r,c] = (z - M) - log S
//	CrossEntropy      out [r]   = log S - (z[label] - M), NaN for a label outside 0…c-1
//
// Subtracting M makes every exponent at most 0 and S at least 1: nothing overflows.
type RowSoftmax struct {
	pool      *Pool
	loops     *loops
	kind      kind.Softmax
	z, labels Array
	out       Array
	group     int // rows that one item does
	items     int
}

// NewRowSoftmax makes a RowSoftmax; labels is used by CrossEntropy only. For the other kinds out may be exactly z.
//
// An item is a group of rows that stays in the first-level cache, however short they are: each step below is one loop
// over the group.
func NewRowSoftmax(pool *Pool, what kind.Softmax, out, z, labels Array) *RowSoftmax {
	s := &RowSoftmax{pool: pool, loops: loopsOf(pool.level), kind: what, z: z, labels: labels, out: out}
	r, c := z.Shape[0], z.Shape[1]
	s.group = max(1, blockLen/max(1, c))
	s.items = (r + s.group - 1) / s.group
	pool.reserve(3*s.group*c+2*s.group+c/blockLen*2+2, 0)
	return s
}

// Run does the work; the caller holds the pool.
func (s *RowSoftmax) Run() error {
	const move = 0.5 // nanoseconds per element
	r, c := s.z.Shape[0], s.z.Shape[1]
	cost := move + s.loops.real[expr.Exp].cost
	s.pool.share(s.items, float64(r)*cost*float64(c), s)
	return nil
}

// Do computes one group of rows. Rows are combined with their number from one place into another: in place, the load of
// a short row would wait for the store of the one before.
func (s *RowSoftmax) Do(w *Worker, item int) {
	c := s.z.Shape[1]
	row := item * s.group
	rows := min(s.group, s.z.Shape[0]-row)
	n := rows * c
	x, e := w.real[:n], w.real[n:][:n]
	top, sums, parts := w.real[3*n:][:rows], w.real[3*n+rows:][:rows], w.real[3*n+2*rows:]
	z := s.block(&s.z, row, n)
	if z == nil {
		z = e
		for i := range rows {
			copyRun(z, s.z.Real, run{c, i * c, 1}, rowOf(&s.z, row+i))
		}
	}
	l := s.loops
	l.maxima(top, z, c)
	l.subNumber(x, z, top, c)
	s.expSums(sums, e, x, parts)
	if s.kind == kind.CrossEntropy {
		s.losses(row, sums, x)
		return
	}
	out := s.block(&s.out, row, n)
	dst := out
	if dst == nil {
		dst = w.real[2*n:][:n]
	}
	if s.kind == kind.Probabilities {
		l.byNumber(dst, e, sums, c)
	} else {
		l.real[expr.Log].v(sums, sums)
		l.subNumber(dst, x, sums, c)
	}
	if out == nil {
		for i := range rows {
			copyRun(s.out.Real, dst, rowOf(&s.out, row+i), run{c, i * c, 1})
		}
	}
}

// block is the n elements from a row of a on where they lie one after the other, else nil.
func (s *RowSoftmax) block(a *Array, row, n int) []float32 {
	c := a.Shape[1]
	if n == 0 || c > 1 && a.Strides[1] != 1 || n > c && a.Strides[0] != c {
		return nil
	}
	return a.Real[a.Off+row*a.Strides[0]:][:n]
}

// rowOf is row i of a matrix.
func rowOf(a *Array, i int) run { return run{a.Shape[1], a.Off + i*a.Strides[0], a.Strides[1]} }

// expSums computes e = exp(x) and the sums of its rows; parts is scratch.
func (s *RowSoftmax) expSums(sums, e, x, parts []float32) {
	s.loops.real[expr.Exp].v(e, x)
	if c := s.z.Shape[1]; c <= blockLen {
		s.loops.sums(sums, e, c)
		return
	}
	s.loops.sumLong(sums, e, parts)
}

// losses stores log sum - x[label] of the rows from number row on; the sums are lost.
func (s *RowSoftmax) losses(row int, sums, x []float32) {
	c := s.z.Shape[1]
	s.loops.real[expr.Log].v(sums, sums)
	labels, out := &s.labels, &s.out
	from, to := labels.Off+row*labels.Strides[0], out.Off+row*out.Strides[0]
	for i, l := range sums {
		loss := float32(math.NaN())
		if label := int(labels.Int[from]); uint(label) < uint(c) {
			loss = l - x[i*c+label]
		}
		out.Real[to] = loss
		from += labels.Strides[0]
		to += out.Strides[0]
	}
}
