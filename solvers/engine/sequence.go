package engine

import "bilevel/solvers/problem"

// sequences number the minibatches of a run. Draws of one level and stream follow each other in one sequence, in the
// order in which iterations, phases and repetitions make them, so that no two of them are the same minibatch. A number
// depends on the iteration and on how often phases repeat, never on what ran before.
type sequences struct {
	all  []*sequence
	vary bool // some phase has a number of repetitions of its own

	repeats map[*phase][]uint64 // repetitions of a phase before iteration 0, 1, …
}

// sequence is the minibatches of one level and stream.
type sequence struct {
	of     *sequences
	source problem.Source
	side   problem.Side
	phases []*phase // that draw from it, in order
	each   []int    // draws of one repetition of each
	before []uint64 // draws before iteration 0, 1, …
}

func (s *sequences) add(ph *phase, d *draw, source problem.Source) (seq *sequence, place int) {
	for _, q := range s.all {
		if q.side == d.Of && q.source.Stream == source.Stream {
			seq = q
		}
	}
	if seq == nil {
		seq = &sequence{of: s, source: source, side: d.Of}
		s.all = append(s.all, seq)
	}
	if n := len(seq.phases); n == 0 || seq.phases[n-1] != ph {
		seq.phases, seq.each = append(seq.phases, ph), append(seq.each, 0)
	}
	last := len(seq.each) - 1
	seq.each[last]++
	return seq, seq.each[last] - 1
}

// number is that of a draw in repetition r of a phase in iteration k.
func (q *sequence) number(ph *phase, d *draw, k, r int) uint64 {
	n := q.until(k)
	for i, p := range q.phases {
		if p == ph {
			return n + uint64(r*q.each[i]+d.place)
		}
		n += uint64(p.times(k) * q.each[i])
	}
	panic("engine: a draw outside its sequence")
}

// until is the number of draws before iteration k.
func (q *sequence) until(k int) uint64 {
	if !q.of.vary {
		return uint64(k) * q.inIteration(0)
	}
	if len(q.before) == 0 {
		q.before = []uint64{0}
	}
	for i := len(q.before) - 1; i < k; i++ {
		q.before = append(q.before, q.before[i]+q.inIteration(i))
	}
	return q.before[k]
}

func (q *sequence) inIteration(k int) (n uint64) {
	for i, p := range q.phases {
		n += uint64(p.times(k) * q.each[i])
	}
	return n
}

// repetitions is how often a phase ran before iteration k.
func (s *sequences) repetitions(ph *phase, k int) uint64 {
	if ph.Repeat == nil {
		return uint64(k)
	}
	if s.repeats == nil {
		s.repeats = make(map[*phase][]uint64)
	}
	before := s.repeats[ph]
	if len(before) == 0 {
		before = []uint64{0}
	}
	for i := len(before) - 1; i < k; i++ {
		before = append(before, before[i]+uint64(ph.times(i)))
	}
	s.repeats[ph] = before
	return before[k]
}
