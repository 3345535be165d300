package cpu

import (
	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// reduceStage reduces [o, r, k] over its middle axis, for each of the reduced results. The terms of one sum are cut
// into parts of a fixed number of rows; each part is summed by one item, and merge combines the parts by a tree.
type reduceStage struct {
	reduce  *Reduce
	o, r, k int
	src     [][]float32 // per result: the array to reduce; nil in the first stage, which evaluates the program
	dst     [][]float32 // per result: parts × [o, k]
	last    bool        // merge stores to the outputs

	rows  int // of one part
	parts int
	group int // how many of the o one item does; more than 0 only where [r, k] is less than a block
	batch int // neighbouring parts that an item does
	width int // columns that an item does
	items int
}

// Rows of one part where k > 1: enough for a block of narrow rows, within the bound on serial additions.
const leastRows, mostRows = 64, 128

// SumBlock is the longest run of terms that a Reduce adds one after the other before it goes on by a tree: mostRows for
// each group of neighbouring axes, of which spaces up to rank 4 have two. (A sum of rows has blockLen/sumLanes = 32.)
const SumBlock = 2 * mostRows

// cut decides the parts and the items, by the shape alone.
func (s *reduceStage) cut(results int) {
	s.rows = blockLen
	if s.k > 1 {
		s.rows = min(max(blockLen/s.k, leastRows), mostRows)
	}
	s.parts = (s.r + s.rows - 1) / s.rows
	s.width = min(s.k, blockLen)
	if s.parts == 1 && s.r*s.k <= blockLen {
		s.group = blockLen / (s.r * s.k)
		s.items = (s.o + s.group - 1) / s.group
	} else {
		const leastItems, mostParts = 64, 8 // enough items for the threads to end together
		s.batch = min(max(s.parts/leastItems, 1), mostParts)
		s.items = s.o * s.batches() * s.widths()
	}
	for range results {
		s.dst = append(s.dst, make([]float32, s.parts*s.o*s.k))
	}
}

// widths is the number of pieces that the columns are cut into.
func (s *reduceStage) widths() int { return (s.k + s.width - 1) / s.width }

// batches is the number of batches that the parts are cut into.
func (s *reduceStage) batches() int { return (s.parts + s.batch - 1) / s.batch }

// Do computes one item: the parts of s.group sums, or a batch of parts of some columns.
func (s *reduceStage) Do(w *Worker, item int) {
	if s.group > 0 {
		s.many(w, item*s.group)
		return
	}
	col := item % s.widths() * s.width
	item /= s.widths()
	part, o := item%s.batches()*s.batch, item/s.batches()
	for end := min(part+s.batch, s.parts); part < end; part++ {
		s.part(w, o, part, col)
	}
}

// part reduces one part of the columns from col on.
func (s *reduceStage) part(w *Worker, o, part, col int) {
	row, rows := part*s.rows, min(s.rows, s.r-part*s.rows)
	width := min(s.width, s.k-col)
	step := 1 // rows that are evaluated at a time
	if width == s.k {
		step = max(1, blockLen/s.k)
	}
	for i := s.byTape(w, o, part, rows); i < rows; i += step {
		n := width
		if width == s.k {
			n *= min(step, rows-i)
		}
		lo := (o*s.r+row+i)*s.k + col
		s.eval(w, lo, n)
		for j := range s.dst {
			dst := s.dst[j][(part*s.o+o)*s.k+col:][:width]
			s.fold(w, j, dst, lo, 0, n, i > 0)
		}
	}
}

// byTape reduces the first rows of a part by the tape, where there is one for them, and says how many.
func (s *reduceStage) byTape(w *Worker, o, part, rows int) int {
	t := s.reduce.tape
	if t == nil || s.src != nil || s.width < s.k || s.k == 1 && rows%sumLanes != 0 {
		return 0
	}
	done := t.sum(w, (o*s.r+part*s.rows)*s.k, rows*s.k)
	for j := 0; done > 0 && j < len(s.dst); j++ {
		t.result(w, j, s.dst[j][(part*s.o+o)*s.k:][:s.k])
	}
	return done / s.k
}

// many reduces up to group neighbouring [r, k], the first being number o, from one block.
func (s *reduceStage) many(w *Worker, o int) {
	n := s.r * s.k
	group := min(s.group, s.o-o)
	s.eval(w, o*n, group*n)
	for j := range s.dst {
		if s.k == 1 {
			s.fold(w, j, s.dst[j][o:][:group], o*n, 0, group*n, false)
			continue
		}
		for i := range group {
			s.fold(w, j, s.dst[j][(o+i)*s.k:][:s.k], o*n, i*n, n, false)
		}
	}
}

// eval computes the terms lo…lo+n-1.
func (s *reduceStage) eval(w *Worker, lo, n int) {
	if s.src == nil {
		s.reduce.prog.run(w, lo, n, nil)
	}
}

// fold reduces n terms of result j: those from number lo+from on, of a block that eval computed from lo on. They are
// rows of k terms, which are combined to dst [k], or, where k is 1, len(dst) rows that give one number each. Where add
// is set, dst already holds earlier rows.
func (s *reduceStage) fold(w *Worker, j int, dst []float32, lo, from, n int, add bool) {
	var a, b []float32
	if s.src != nil {
		a = s.src[j][lo+from:][:n]
	} else {
		p, f := s.reduce.prog, frame{w: w, lo: lo, n: from + n}
		a = p.real(p.results[j].a, &f)[from:]
		if p.results[j].b.at != nowhere {
			b = p.real(p.results[j].b, &f)[from:]
		}
	}
	l, max := s.reduce.loops, s.reduce.kinds[j] == kind.Maximum
	if s.k > 1 && !add {
		a = a[copy(dst, a):]
	}
	switch {
	case b != nil:
		l.dots(dst, a, b, n/len(dst))
	case s.k > 1 && max:
		l.maxRows(dst, a)
	case s.k > 1:
		l.addRows(dst, a)
	case max:
		l.maxima(dst, a, n/len(dst))
	default:
		l.sums(dst, a, n/len(dst))
	}
}

// merge combines the parts of a stage, by a tree whose form depends on their number alone, and after the last stage
// stores the results.
type merge reduceStage

// Do merges one block of the [o, k] points.
func (m *merge) Do(_ *Worker, item int) {
	n := m.o * m.k
	lo, hi := item*blockLen, min((item+1)*blockLen, m.o*m.k)
	for j, all := range m.dst {
		combine := m.reduce.loops.real[expr.Add].vv
		if m.reduce.kinds[j] == kind.Maximum {
			combine = m.reduce.loops.real[expr.Max].vv
		}
		part := func(i int) []float32 { return all[i*n+lo : i*n+hi] }
		for step := 1; step < m.parts; step *= 2 {
			for i := 0; i+step < m.parts; i += 2 * step {
				combine(part(i), part(i), part(i+step))
			}
		}
		if m.last {
			store(&m.reduce.out[j].operandIter, m.reduce.out[j].real, part(0), lo)
		}
	}
}
