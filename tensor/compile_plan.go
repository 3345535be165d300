package tensor

import (
	"slices"

	"bilevel/device"
)

// place is where a node's value lies: inside another node's (part of a concatenation), in a variable, or in the arena.
type place struct {
	in  *Node // not nil: inside this node
	v   *Variable
	off int
}

// planner gives every stored value its memory.
//
// An update is computed right into its variable where no step still has to read the old value; elsewhere it is
// computed aside and copied at the end. Parts of a concatenation are computed right into it. The rest shares one
// arena per type: a value's memory is free again after its last reader, and a Map writes over an input that it
// is the last to read.
type planner struct {
	steps  []step
	places map[*Node]place
	size   [2]int // of the arenas, by type

	visited int // choices looked at while the steps were put in order
}

// alignment of arena blocks, in elements: one cache line of float32, so that vector loads do not straddle.
const alignment = 16

// plan keeps the steps in the order of the graph where their values fit into a small arena, and where another order
// would not need less.
func plan(steps []step, updates []Update, roots []*Node) *planner {
	p := planned(steps, updates, roots, planOptions{reuseAbove: smallArena})
	if p.size[Real] > smallArena {
		if q := planned(steps, updates, roots, planOptions{reorder: true, reuseAbove: smallArena}); q.size[Real] < p.size[Real] {
			return q
		}
	}
	return p
}

type planOptions struct {
	reorder    bool // list the steps anew
	reuseAbove int  // the size of an arena, in elements, up to which memory is not used twice
}

func planned(steps []step, updates []Update, roots []*Node, o planOptions) *planner {
	p := &planner{steps: steps, places: map[*Node]place{}}
	p.placeParts(roots)
	if o.reorder {
		p.steps = p.order(roots)
	}
	p.storesLast(roots)
	p.placeUpdates(updates, roots)
	p.arena(o.reuseAbove)
	return p
}

// storesLast moves steps that only store final values behind all others, so that old values have been read by then.
func (p *planner) storesLast(roots []*Node) {
	read := make(map[*Node]bool)
	for _, s := range p.steps {
		for _, r := range s.in {
			read[r.store] = true
		}
	}
	final := func(s step) bool {
		for _, o := range s.out {
			if read[o.store] || !slices.Contains(roots, o.store) {
				return false
			}
		}
		return true
	}
	var early, late []step
	for _, s := range p.steps {
		if final(s) {
			late = append(late, s)
		} else {
			early = append(early, s)
		}
	}
	p.steps = append(early, late...)
}

// placeParts computes parts of a concatenation where they belong and drops their copies.
func (p *planner) placeParts(roots []*Node) {
	written := make(map[*Node]bool)
	for _, s := range p.steps {
		for _, o := range s.out {
			written[o.store] = true
		}
	}
	kept := p.steps[:0:0]
	for _, s := range p.steps {
		if s.op == device.Copy {
			in, out := s.in[0], s.out[0]
			_, placed := p.places[in.store]
			joins := out.store.op == opConcat || out.store.op == opPad
			if joins && written[in.store] && !placed && in.whole() && out.view(0, 0).IsDense() && !slices.Contains(roots, in.store) {
				p.places[in.store] = place{in: out.store, off: out.off}
				continue
			}
		}
		kept = append(kept, s)
	}
	p.steps = kept
}

// home follows parts to the value that owns the memory.
func (p *planner) home(n *Node) (*Node, int) {
	off := 0
	for {
		pl, ok := p.places[n]
		if !ok || pl.in == nil {
			return n, off
		}
		n, off = pl.in, off+pl.off
	}
}

// placeUpdates puts each new value into its variable, at once where that is safe, else by a copy at the end.
func (p *planner) placeUpdates(updates []Update, roots []*Node) {
	var copies []step
	for i, u := range updates {
		r := roots[i]
		if _, placed := p.places[r]; !placed && p.safe(u.Var, r) {
			p.places[r] = place{v: u.Var}
			continue
		}
		dst := u.Var.Node()
		from := ref{store: r, shape: dst.shape, strided: strided{0, device.RowMajor(dst.shape)}}
		copies = append(copies, step{op: device.Copy, in: []ref{from}, out: []ref{refTo(dst)}})
	}
	p.steps = append(p.steps, copies...)
}

// safe says whether r may be computed in the variable's own memory: every read of the old value comes before the
// first write, or is the very element that the same step then replaces.
func (p *planner) safe(v *Variable, r *Node) bool {
	first, writers := len(p.steps), 0
	for i, s := range p.steps {
		for _, o := range s.out {
			if h, _ := p.home(o.store); h == r {
				first, writers = min(first, i), writers+1
			}
		}
	}
	for i, s := range p.steps {
		for k, in := range s.in {
			if in.store.v != v || i < first {
				continue
			}
			if i > first || writers > 1 || !inPlace(s, k, r) {
				return false
			}
		}
	}
	return true
}

// inPlace says whether a step reads its input number k only at the element it writes to r at the same time.
func inPlace(s step, k int, r *Node) bool {
	o := slices.IndexFunc(s.out, func(o ref) bool { return o.store == r })
	if o < 0 || !s.in[k].whole() || !s.out[o].whole() || !slices.Equal(s.in[k].shape, s.out[o].shape) {
		return false
	}
	switch a := s.attr.(type) {
	case device.MapAttr:
		return true
	case device.ReduceAttr:
		return o >= len(a.Kinds)
	case device.EpilogueAttr:
		return k >= a.Extras()
	}
	return s.op == device.ScatterAdd && k == 0
}

// smallArena is the size of an arena, in elements, up to which memory is not used twice: it fits into the
// second-level cache, and values that share memory could not be computed at the same time.
const smallArena = 160 << 10

// arena lays out what is left, by lifetimes.
func (p *planner) arena(reuseAbove int) {
	lastUse := make(map[*Node]int)
	for i, s := range p.steps {
		for _, refs := range [2][]ref{s.in, s.out} {
			for _, r := range refs {
				h, _ := p.home(r.store)
				lastUse[h] = i
			}
		}
	}
	free := [2]*freeList{{}, {}}
	for i, s := range p.steps {
		reused := make(map[*Node]bool)
		for _, o := range s.out {
			h, _ := p.home(o.store)
			if _, ok := p.places[h]; ok || h.op == opVar {
				continue
			}
			if old := p.dying(s, i, h, lastUse, reused); old != nil {
				reused[old] = true
				p.places[h] = p.places[old]
				continue
			}
			p.places[h] = place{off: free[h.typ].take(h.Size())}
		}
		released := make(map[*Node]bool)
		for _, refs := range [2][]ref{s.in, s.out} {
			for _, r := range refs {
				h, _ := p.home(r.store)
				pl, ok := p.places[h]
				if ok && pl.v == nil && lastUse[h] == i && !reused[h] && !released[h] && free[h.typ].end > reuseAbove {
					released[h] = true
					free[h.typ].give(pl.off, h.Size())
				}
			}
		}
	}
	p.size = [2]int{free[0].end, free[1].end}
}

// dying is an input in the arena that step i is the last to read and may overwrite with h.
func (p *planner) dying(s step, i int, h *Node, lastUse map[*Node]int, reused map[*Node]bool) *Node {
	if s.op != device.Map {
		return nil
	}
	for k, in := range s.in {
		old := in.store
		pl, ok := p.places[old]
		if !ok || pl.v != nil || pl.in != nil || lastUse[old] != i || reused[old] || old.typ != h.typ || old.Size() != h.Size() || !inPlace(s, k, h) {
			continue
		}
		once := true // the same value read through another window must not be overwritten
		for j, other := range s.in {
			oh, _ := p.home(other.store)
			once = once && (j == k || oh != old)
		}
		if once {
			return old
		}
	}
	return nil
}
