package tensor

import (
	"slices"

	"bilevel/device"
)

// The memory planner says where each stored value lies. An iteration of an algorithm updates variables, say
//
//	w ← w − ρ·g   with g = the gradient at w, laid out as one vector [g1 g2], and
//	c ← c + 1
//
// and all reads of w and c see the values from before. Every value could have memory of its own, and be copied into
// its variable at the end. Four rules make most of that unnecessary.
//
//  1. Parts in place (placeParts). A concatenation needs no copies if its parts are computed right where they belong:
//     g1 into the first elements of g, g2 behind them. It takes a part that nothing else has placed yet and that lies
//     in the concatenation without gaps; columns of a matrix are copied.
//  2. Order (compile_order.go). If the values do not fit into a small arena, the steps are listed in an order that
//     needs less memory. Steps that only store new values of variables come last, when old values have been read.
//  3. Updates in place (placeUpdates). A new value is computed right into its variable if no step reads the old value
//     afterwards. The step itself may read it, if it is one that reads each element before it writes that element: w
//     − ρ·g is computed over w. If two variables exchange their values, one is computed aside and copied at the end.
//  4. One arena for each type of elements (arena). What is left lives from the step that computes it to the last step
//     that reads it. The planner walks through the steps with a list of free blocks: a value takes the smallest
//     block that fits, and gives it back after its last reader. A Map may write over an argument that it is the last to
//     read; in large programs so may a Reduce with what it stores whole, and a product with its epilogue.
//
// An example of the fourth rule, for values of one size and h = f(x), i = g(h), j = h + i:
//
//	step          takes     in use      free after it
//	h = f(x)      block 0   h           –
//	i = g(h)      block 1   h i         –
//	j = h + i     block 0   j (over h)  block 1
//
// Memory is not used twice in an arena of up to smallArena elements: it stays in the cache anyway, and two steps that
// share memory cannot run at the same time (device/cpudevice/schedule.go).

// place is where a node's value lies: inside another node's (part of a concatenation), in a variable, or in the arena.
type place struct {
	in  *Node // not nil: inside this node
	v   *Variable
	off int
}

// planner gives every stored value its memory.
type planner struct {
	steps []step
	roots map[*Node]bool // the nodes that updates store
	// overwrite: every operation that may write over an argument does so, not a Map only.
	overwrite bool
	places    map[*Node]place
	size      [2]int // of the arenas, by type

	visited int // choices looked at while the steps were put in order
}

// alignment of arena blocks, in elements: one cache line of float32, so that vector loads do not straddle.
const alignment = 16

// smallArena is the size of an arena, in elements, up to which memory is not used twice: it fits into the second-level
// cache, and values that share memory could not be computed at the same time.
const smallArena = 160 << 10

// plan keeps the steps in the order of the graph where their values fit into a small arena, and where another order
// would not need less.
func plan(steps []step, updates []Update, roots []*Node) *planner {
	p := planned(steps, updates, roots, planOptions{reuseAbove: smallArena})
	if p.size[Real] > smallArena {
		q := planned(steps, updates, roots, planOptions{large: true, reuseAbove: smallArena})
		if q.size[Real] < p.size[Real] {
			return q
		}
	}
	return p
}

type planOptions struct {
	// large: list the steps in an order that needs little memory, and let all operations that can write over an
	// argument do so. In small programs that would only make more steps wait for each other.
	large bool
	// reuseAbove is the size of an arena, in elements, up to which memory is not used twice.
	reuseAbove int
}

// planned gives the values of steps their memory. roots are the nodes that the updates store, in the same order.
func planned(steps []step, updates []Update, roots []*Node, o planOptions) *planner {
	p := &planner{steps: steps, roots: map[*Node]bool{}, places: map[*Node]place{}, overwrite: o.large}
	for _, r := range roots {
		p.roots[r] = true
	}
	p.placeParts()
	if o.large {
		p.steps = p.order()
	}
	p.storesLast()
	p.placeUpdates(updates, roots)
	p.arena(o.reuseAbove)
	return p
}

// placeParts computes parts of a concatenation where they belong and drops their copies.
func (p *planner) placeParts() {
	written := make(map[*Node]bool)
	for _, s := range p.steps {
		for _, o := range s.out {
			written[o.store] = true
		}
	}
	kept := p.steps[:0:0]
	for _, s := range p.steps {
		if s.op == device.Copy {
			part, whole := s.in[0], s.out[0]
			_, placed := p.places[part.store]
			joins := whole.store.op == opConcat || whole.store.op == opPad
			free := written[part.store] && !placed && !p.roots[part.store]
			if joins && free && part.whole() && whole.view(0, 0).IsDense() {
				p.places[part.store] = place{in: whole.store, off: whole.off}
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

// storesLast moves steps that only store final values behind all others, so that old values have been read by then.
func (p *planner) storesLast() {
	read := make(map[*Node]bool)
	for _, s := range p.steps {
		for _, r := range s.in {
			read[r.store] = true
		}
	}
	final := func(s step) bool {
		return !slices.ContainsFunc(s.out, func(o ref) bool { return read[o.store] || !p.roots[o.store] })
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

// placeUpdates puts each new value into its variable, at once where that is safe, else by a copy at the end.
func (p *planner) placeUpdates(updates []Update, roots []*Node) {
	writers := make(map[*Node][]int)     // of a root or of a part of it, by step
	readers := make(map[*Variable][]int) // of the old value
	for i, s := range p.steps {
		for _, o := range s.out {
			if h, _ := p.home(o.store); p.roots[h] {
				writers[h] = append(writers[h], i)
			}
		}
		for _, in := range s.in {
			if v := in.store.v; v != nil {
				readers[v] = append(readers[v], i)
			}
		}
	}
	var copies []step
	for i, u := range updates {
		r := roots[i]
		if _, placed := p.places[r]; !placed && p.safe(u.Var, r, writers[r], readers[u.Var]) {
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
// first write, or is of the very element that the same step then replaces.
func (p *planner) safe(v *Variable, r *Node, writers, readers []int) bool {
	for _, i := range readers {
		if len(writers) == 0 || i < writers[0] {
			continue
		}
		if i > writers[0] || len(writers) > 1 {
			return false
		}
		for k, in := range p.steps[i].in {
			if in.store.v == v && !inPlace(p.steps[i], k, r) {
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

// arena lays out what is left, by lifetimes.
func (p *planner) arena(reuseAbove int) {
	lastUse := make(map[*Node]int)
	for i, s := range p.steps {
		for _, h := range p.touched(s) {
			lastUse[h] = i
		}
	}
	free := [2]*freeList{{}, {}}
	for i, s := range p.steps {
		overwritten := make(map[*Node]bool)
		for _, o := range s.out {
			h, _ := p.home(o.store)
			if _, ok := p.places[h]; ok || h.op == opVar {
				continue
			}
			if old := p.dying(s, i, h, lastUse, overwritten); old != nil {
				overwritten[old] = true
				p.places[h] = p.places[old]
				continue
			}
			p.places[h] = place{off: free[h.typ].take(h.Size())}
		}
		for _, h := range p.touched(s) {
			pl, ok := p.places[h]
			if ok && pl.v == nil && lastUse[h] == i && !overwritten[h] && free[h.typ].end > reuseAbove {
				free[h.typ].give(pl.off, h.Size())
			}
		}
	}
	p.size = [2]int{free[0].end, free[1].end}
}

// touched lists the values that a step reads or writes, by the node that owns the memory, each once.
func (p *planner) touched(s step) (list []*Node) {
	for _, refs := range [2][]ref{s.in, s.out} {
		for _, r := range refs {
			if h, _ := p.home(r.store); !slices.Contains(list, h) {
				list = append(list, h)
			}
		}
	}
	return list
}

// dying is an input in the arena that step i is the last to read and may overwrite with h.
func (p *planner) dying(s step, i int, h *Node, lastUse map[*Node]int, overwritten map[*Node]bool) *Node {
	if s.op != device.Map && !p.overwrite {
		return nil
	}
	for k, in := range s.in {
		old := in.store
		pl, ok := p.places[old]
		if !ok || pl.v != nil || pl.in != nil || lastUse[old] != i || overwritten[old] {
			continue
		}
		if old.typ != h.typ || old.Size() != h.Size() || !inPlace(s, k, h) {
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
