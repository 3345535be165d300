package tensor

import (
	"cmp"
	"math"
	"slices"

	"bilevel/internal/expr"
)

// Fusion decides which elementwise operations and reductions are computed together. Computed one by one, each reads
// its inputs from memory and writes its result to memory, which takes far longer than the arithmetic. Computed
// together, as one expression for each element, values that only the expression itself needs stay in registers. Take
// a layer whose results are divided by the largest of them:
//
//	z = x·W          product
//	y = z + b        elementwise, over the shape of z
//	h = relu(y)      elementwise
//	m = max(h)       reduction of h
//	d = h / m        elementwise, but each element needs all of h first
//
// One by one, y, h, m and d read or write seven arrays of the shape of z. In two passes, {y, h, m} and {d}, it is
// four: z and h, h and d. Fusion finds the passes in five steps:
//
//  1. What is cheap to compute again is taken out (compile_rematerialize.go), and so are single numbers of few
//     operations (numbers); factors m ⊙ w of products are left to the product (masks).
//  2. Every elementwise node and every reduction begins as a group of its own. A group has a space: the shape over
//     whose elements it runs; that of a reduction is the shape of its argument. Each node's group joins the groups of
//     the arguments that it reads element by element, if they have the same space: {y, h, m}. It must not join d,
//     since d waits for m and m for all of h; compile_contract.go says how such a circle is seen in time.
//  3. Only now is it known what goes to memory (demand): h, which d reads from another group, and m. Not y.
//  4. A group with one result that follows a product is computed by the product itself, on each tile of the result
//     while it is in a register (epilogues). Here {y, h, m} has two results, h and m, and stays a Reduce; without m
//     and d, x·W, + b and relu would be one instruction.
//  5. Groups of the same space that touch the same memory are joined although neither reads the other's results
//     (compile_neighbours.go): the updates z += αp and r -= αq of conjugate gradients, with the sum of r², read and
//     write each vector once.
//
// The result is one instruction for each group: a Map, or a Reduce if the group holds reductions, or none if a
// product computes it. Values keep their bits: what is computed together is computed by the same operations.

// A group is a set of elementwise nodes of one shape, and reductions over that shape, which one pass over memory
// computes: a Map, or a Reduce where it holds reductions. An operation that takes an epilogue, such as a product, may
// absorb a group.
type group struct {
	space    []int
	nodes    []*Node
	axes     []int // of its reductions
	producer *Node // the operation whose epilogue it is, or nil
	// Once it is known what is stored:
	live []*Node // its nodes that somebody needs, in graph order
	outs []*Node // of these, what goes to memory, reductions first
}

func (g *group) reductions() int {
	n := 0
	for _, m := range g.nodes {
		if m.op == opReduce {
			n++
		}
	}
	return n
}

// fusion decides what is computed together.
type fusion struct {
	order      []*Node // every node, inputs first
	position   map[*Node]int
	roots      map[*Node]bool
	users      map[*Node][]*Node // who reads the memory that a node owns
	vertex     map[*Node]*vertex // of nodes that are computed alone or in a group
	graph      contraction
	stored     map[*Node]bool // nodes whose value goes to memory
	used       map[*Node]bool // nodes that are computed at all, stored or not
	masked     map[*Node]bool // products m ⊙ w that every MatMul forms while it reads them
	recomputed map[*Node]bool // nodes that every reader computes for itself (rematerialize)
	kept       map[*Node]bool // single numbers that are stored, see numbers
}

// fuse groups the graph under roots (the values that updates store).
func fuse(roots []*Node) *fusion {
	n := expected(roots)
	f := &fusion{
		position: make(map[*Node]int, n), users: make(map[*Node][]*Node, n), vertex: make(map[*Node]*vertex, n),
		roots: map[*Node]bool{}, masked: map[*Node]bool{}, kept: map[*Node]bool{},
	}
	for _, r := range roots {
		f.roots[r] = true
	}
	walk(roots, func(n *Node) {
		f.position[n] = len(f.order)
		f.order = append(f.order, n)
		for _, i := range n.in {
			s := storageOf(i)
			if users := f.users[s]; len(users) == 0 || users[len(users)-1] != n {
				f.users[s] = append(users, n)
			}
		}
	})
	f.masks()
	f.numbers()
	f.rematerialize()
	f.vertices()
	for _, n := range f.order {
		if f.group(n) == nil {
			continue
		}
		for _, in := range n.in {
			if in.op == opElem && len(in.in) > 0 && f.group(in) != nil {
				f.join(f.vertex[in], f.vertex[n])
			}
		}
	}
	f.demand()
	f.epilogues()
	f.neighbours()
	return f
}

// vertices makes a vertex of each node that is computed, and a group of each elementwise node and each reduction.
func (f *fusion) vertices() {
	for _, n := range f.order {
		if len(n.in) == 0 && n.op != opElem || isView(n) || f.masked[n] || f.recomputed[n] {
			continue
		}
		v := &vertex{}
		switch n.op {
		case opElem:
			v.group = &group{space: n.shape, nodes: []*Node{n}}
		case opReduce:
			v.group = &group{space: n.in[0].shape, nodes: []*Node{n}, axes: n.ints}
		}
		var reads []edge
		for _, i := range n.in {
			reads = f.reads(reads, i, n.op == opElem || n.op == opReduce)
		}
		f.vertex[n] = v
		f.graph.add(v, reads)
	}
}

// reads lists the vertices whose values a reader of n needs: through views and through what it computes again.
func (f *fusion) reads(list []edge, n *Node, elementwise bool) []edge {
	s := storageOf(n)
	elementwise = elementwise && n == s && n.op == opElem
	if f.recomputed[s] || f.masked[s] {
		for _, i := range s.in {
			list = f.reads(list, i, elementwise)
		}
		return list
	}
	if v := f.vertex[s]; v != nil {
		list = append(list, edge{v, elementwise})
	}
	return list
}

// group is the group that a node belongs to, or nil.
func (f *fusion) group(n *Node) *group {
	if v := f.vertex[n]; v != nil {
		return v.find().group
	}
	return nil
}

// join makes one group of two over the same space, unless they would wait for each other.
func (f *fusion) join(v, w *vertex) bool {
	v, w = v.find(), w.find()
	a, b := v.group, w.group
	if v == w || !slices.Equal(a.space, b.space) || a.producer != nil || b.producer != nil {
		return false
	}
	if a.axes != nil && b.axes != nil && !slices.Equal(a.axes, b.axes) {
		return false
	}
	into, ok := f.graph.merge(v, w)
	if !ok {
		return false
	}
	if a.axes == nil {
		a.axes = b.axes
	}
	a.nodes, a.live, a.outs = joined(a.nodes, b.nodes), append(a.live, b.live...), append(a.outs, b.outs...)
	into.group = a
	return true
}

// inlined says whether the value of s, read as n, is so cheap that every group computes it for itself: if it is a
// single number of few operations or a counter (Iota).
func (f *fusion) inlined(n, s *Node) bool {
	return s.op == opElem && (s.Size() == 1 && !f.kept[s] || s.fn == expr.Iota && n == s)
}

// maxNumber is the operations that a single number takes at most where several readers compute it for themselves.
const maxNumber = 64

// numbers finds single numbers that several read and that take more operations than that, such as the norm of a
// gradient which lies in many variables. They are stored: otherwise the expressions would grow with the product of
// operations and readers.
func (f *fusion) numbers() {
	operations := make(map[*Node]int)
	for _, n := range f.order {
		if n.op != opElem || n.Size() != 1 {
			continue
		}
		count := 1
		for _, in := range n.in {
			if s := storageOf(in); !f.kept[s] {
				count = min(count+operations[s], math.MaxInt32)
			}
		}
		operations[n] = count
		f.kept[n] = count > maxNumber && len(f.users[n]) > 1
	}
}

// demand finds which nodes are stored: those that updates or other instructions read from memory.
func (f *fusion) demand() {
	f.stored, f.used = map[*Node]bool{}, map[*Node]bool{}
	for r := range f.roots {
		f.stored[r] = true
	}
	visited := make(map[*Node]bool)
	var read func(n *Node, user *Node)
	read = func(n *Node, user *Node) {
		s := storageOf(n)
		switch {
		case len(s.in) == 0 && s.op != opElem: // leaves are in memory already
		case f.masked[s]: // its factors are in memory
		case f.recomputed[s]:
			for _, i := range s.in {
				read(i, user)
			}
		case f.kept[s]: // by its own group too, since the reader may itself be computed by another one
			f.stored[s] = true
		case (user.op == opElem || user.op == opReduce) && s == n && s.op == opElem && f.group(s) == f.group(user):
			f.used[s] = true
		case (user.op == opElem || user.op == opReduce) && f.inlined(n, s):
			if !visited[s] {
				visited[s] = true
				for _, i := range s.in {
					read(i, s)
				}
			}
		default:
			f.stored[s] = true
		}
	}
	for _, n := range slices.Backward(f.order) {
		if isView(n) || !f.stored[n] && !f.used[n] {
			continue
		}
		f.used[n] = true
		for _, i := range n.in {
			read(i, n)
		}
	}
	for _, n := range f.order {
		if g := f.group(n); g != nil && f.used[n] {
			g.live = append(g.live, n)
			if n.op == opReduce || f.stored[n] {
				g.outs = append(g.outs, n)
			}
		}
	}
}

// outputs are the group's nodes that go to memory: reductions first, then in graph order.
func (f *fusion) outputs(g *group) []*Node {
	slices.SortFunc(g.outs, func(a, b *Node) int {
		if a.op != b.op {
			if a.op == opReduce {
				return -1
			}
			return 1
		}
		return cmp.Compare(f.position[a], f.position[b])
	})
	return g.outs
}

// groups lists the vertices of the live groups in graph order.
func (f *fusion) groups() (list []*vertex) {
	seen := make(map[*vertex]bool)
	for _, n := range f.order {
		if v := f.vertex[n]; v != nil && f.used[n] {
			if v = v.find(); v.group != nil && !seen[v] {
				seen[v] = true
				list = append(list, v)
			}
		}
	}
	return list
}

// epilogues gives groups to the operations they follow, products for example. The group must hold all readers of the
// product's result, store one result of its own, hold no reduction, and read and write no Int memory. Where a group
// follows several products, the last of them takes it.
func (f *fusion) epilogues() {
	for _, n := range slices.Backward(f.order) {
		// Single numbers are inlined elsewhere.
		if !takesEpilogue(n) || !f.used[n] || f.roots[n] || n.Size() == 1 {
			continue
		}
		var g *group
		ok := true
		for _, u := range f.users[n] {
			if isView(u) || !f.used[u] && !f.recomputed[u] { // who reads through a view is listed too
				continue
			}
			ok = ok && !f.recomputed[u] && u.op == opElem && direct(u, n) && (g == nil || f.group(u) == g)
			g = f.group(u)
		}
		if ok && g != nil && g.producer == nil && g.reductions() == 0 && len(g.outs) == 1 &&
			slices.Equal(g.space, n.shape) && !f.touchesInt(g) {
			g.producer = n
			delete(f.stored, n)
		}
	}
}

// touchesInt says whether a group reads or writes Int memory, which an epilogue does not.
func (f *fusion) touchesInt(g *group) bool {
	isInt := func(r ref) bool { return r.store.typ == Int }
	return g.outs[0].typ == Int || slices.ContainsFunc(f.express(g).refs, isInt)
}

// direct says whether u reads n as it is, never through a view.
func direct(u, n *Node) bool {
	for _, i := range u.in {
		if i != n && storageOf(i) == n {
			return false
		}
	}
	return true
}
