package tensor

import (
	"cmp"
	"slices"
)

// Groups that are merged must not wait for each other: if the sum of a is read by b's transpose, and b's elements by
// a, neither can be computed first. A contraction answers whether two groups may become one, on a graph that shrinks
// with every yes.
//
// Its vertices are groups and nodes that are computed alone; an edge leads from a vertex to each one that reads its
// values. Merging a and b closes a cycle exactly where a path leads from a to b (or back) through a third vertex, or
// where b reads a other than element by element:
//
//	a = exp(x)              a → sum → b
//	s = sum(a)              a ───────→ b     b = a / s waits for s, which waits for all of a: they stay apart
//	b = a / s
//
// Looking for such a path in the whole graph for every edge would take time in proportion to the square of the graph.
// Two things avoid it.
//
//   - The vertices are in a list in which every edge leads forward, so that a path from a to b runs between the two.
//     Each has a label, a number that grows along the list, and the search looks at nothing outside a's and b's
//     labels. Where the two become one, what lies between and depends on a moves behind b, or what b depends on moves
//     before a.
//   - The search goes forward from a and backward from b in turns, an edge each. If one side runs out of edges there
//     is no path; that happens at once where b is the only reader of a, however far apart they are. If the sides meet
//     there is one. If neither has happened after maxSearch edges the answer is "do not merge", which is always
//     correct: it costs one more pass over memory. Such pairs nearly always have a path, a long one: an activation
//     and its derivative are joined by the rest of the network.
//
// So each question costs a bounded number of steps, and the whole fusion a time in proportion to the graph.
type contraction struct {
	first, last *vertex
	searches    int // numbers the searches, so that the marks of earlier ones count for nothing
	visited     int // edges looked at so far, the measure of the work
}

// vertex is a group, or a node computed alone.
type vertex struct {
	merged *vertex // the vertex that this one has become part of; nil: it is one itself
	group  *group  // nil: a node computed alone
	in     []edge
	out    []edge

	label      int64
	prev, next *vertex

	seen [2]int // the last search that came here, by direction
}

// edge leads to the vertex at its other end.
type edge struct {
	to *vertex
	// elementwise: each element of the reader needs the value at its own place only.
	elementwise bool
}

const (
	maxSearch = 120     // edges that each side of a search looks at
	labelGap  = 1 << 32 // between neighbours of a list that is numbered anew
)

// find is the vertex that v has become.
func (v *vertex) find() *vertex {
	for v.merged != nil {
		if v.merged.merged != nil {
			v.merged = v.merged.merged
		}
		v = v.merged
	}
	return v
}

// add appends a vertex that reads others.
func (c *contraction) add(v *vertex, reads []edge) {
	v.in = reads
	for _, e := range reads {
		e.to.out = append(e.to.out, edge{v, e.elementwise})
	}
	c.insert(v, c.last)
}

// insert puts v behind another vertex of the list; nil: at its beginning.
func (c *contraction) insert(v, behind *vertex) {
	v.prev, v.next = behind, c.first
	low := int64(0)
	if behind != nil {
		low, v.next = behind.label, behind.next
		behind.next = v
	} else {
		c.first = v
	}
	high := low + 2*labelGap
	if v.next != nil {
		high, v.next.prev = v.next.label, v
	} else {
		c.last = v
	}
	if v.label = low + (high-low)/2; v.label > low {
		return
	}
	label := int64(0) // no number is left between the two
	for w := c.first; w != nil; w = w.next {
		label += labelGap
		w.label = label
	}
}

func (c *contraction) remove(v *vertex) {
	if v.prev != nil {
		v.prev.next = v.next
	} else {
		c.first = v.next
	}
	if v.next != nil {
		v.next.prev = v.prev
	} else {
		c.last = v.prev
	}
}

// merge makes one vertex of two, unless they would wait for each other. The caller makes one group of the two.
func (c *contraction) merge(a, b *vertex) (*vertex, bool) {
	if a.label > b.label {
		a, b = b, a
	}
	side := c.apart(a, b)
	if side == nil {
		return nil, false
	}
	slices.SortFunc(side.reached, func(v, w *vertex) int { return cmp.Compare(v.label, w.label) })
	for _, v := range side.reached {
		c.remove(v)
	}
	into, from := b, a // the vertex whose place in the list remains comes first
	if side.backward {
		into, from = a, b
	}
	at := b
	if side.backward {
		at = a.prev
	}
	for _, v := range side.reached {
		c.insert(v, at)
		at = v
	}
	c.remove(from)
	from.merged = into
	into.in, into.out = joined(into.in, from.in), joined(into.out, from.out)
	from.in, from.out = nil, nil
	return into, true
}

// joined appends the shorter list to the longer one.
func joined[T any](a, b []T) []T {
	if len(a) < len(b) {
		a, b = b, a
	}
	return append(a, b...)
}

// side is one half of a search: what has been reached from one end.
type side struct {
	from, to *vertex
	backward bool
	reached  []*vertex // in the order in which they were met
	next     int       // the first of reached whose edges have not been looked at
	at       *vertex   // whose edges are being looked at
	edge     int       // and the next of them
}

// apart gives the side of the search that has found no path from a to b other than edges from element to element, or
// nil.
func (c *contraction) apart(a, b *vertex) *side {
	c.searches++
	sides := [2]side{{from: a, to: b, at: a}, {from: b, to: a, at: b, backward: true}}
	for range maxSearch {
		for i := range sides {
			more, path := c.look(&sides[i])
			if path {
				return nil
			}
			if !more {
				return &sides[i]
			}
		}
	}
	return nil
}

// look follows one edge. more is false where none is left, path true where this edge completes a path.
func (c *contraction) look(s *side) (more, path bool) {
	mine, other := 0, 1
	if s.backward {
		mine, other = 1, 0
	}
	for {
		list := &s.at.out
		if s.backward {
			list = &s.at.in
		}
		if s.edge == len(*list) {
			if s.next == len(s.reached) {
				return false, false
			}
			s.at, s.edge = s.reached[s.next], 0
			s.next++
			continue
		}
		e := &(*list)[s.edge]
		if e.to = e.to.find(); e.to == s.at { // it lies inside a group by now
			*e = (*list)[len(*list)-1]
			*list = (*list)[:len(*list)-1]
			continue
		}
		s.edge++
		c.visited++
		w := e.to
		switch {
		case w == s.to:
			return true, s.at != s.from || !e.elementwise
		case s.backward != (w.label > s.to.label) || w.seen[mine] == c.searches: // beyond the other end, or known
			return true, false
		case w.seen[other] == c.searches:
			return true, true
		}
		w.seen[mine] = c.searches
		s.reached = append(s.reached, w)
		return true, false
	}
}
