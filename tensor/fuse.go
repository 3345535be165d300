package tensor

import (
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// A group is a set of elementwise nodes of one shape, and reductions over that shape, which one pass over memory
// computes: a Map, or a Reduce where it holds reductions. A MatMul may absorb a group as its epilogue.
type group struct {
	space  []int
	nodes  []*Node // in graph order
	axes   []int   // of its reductions
	matmul *Node   // the product whose epilogue it is, or nil
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
	order  []*Node // every node, inputs first
	roots  map[*Node]bool
	users  map[*Node][]*Node
	group  map[*Node]*group
	stored map[*Node]bool // nodes whose value goes to memory
	used   map[*Node]bool // nodes that are computed at all, stored or not
	masked map[*Node]bool // products m ⊙ w that a MatMul forms while it reads its right operand
	again  map[*Node]bool // cheap results that every reader computes for itself
}

// fuse groups the graph under roots (the values that updates store). Steps: give m ⊙ w to the product that reads it;
// join each elementwise node with its users of the same shape; hand groups to the products they follow; join neighbours that read the same memory.
// No join may make two groups wait for each other.
func fuse(roots []*Node) *fusion {
	f := &fusion{
		roots: map[*Node]bool{}, users: map[*Node][]*Node{}, group: map[*Node]*group{}, masked: map[*Node]bool{}, again: map[*Node]bool{},
	}
	for _, r := range roots {
		f.roots[r] = true
	}
	walk(roots, func(n *Node) {
		f.order = append(f.order, n)
		for _, i := range n.in {
			if s := storageOf(i); !slices.Contains(f.users[s], n) {
				f.users[s] = append(f.users[s], n)
			}
		}
		switch n.op {
		case opElem:
			f.group[n] = &group{space: n.shape, nodes: []*Node{n}}
		case opReduce:
			f.group[n] = &group{space: n.in[0].shape, nodes: []*Node{n}, axes: n.ints}
		}
	})
	f.masks()
	f.repeat()
	for _, n := range f.order {
		if f.group[n] == nil {
			continue
		}
		for _, in := range n.in {
			if f.group[in] != nil && in.op == opElem {
				f.join(f.group[in], f.group[n])
			}
		}
	}
	f.demand()
	f.epilogues()
	f.neighbours()
	return f
}

// masks finds right operands m ⊙ w that nothing else reads, both with neighbours along a row: copying them into the
// product's order then multiplies on the way. (Where w is read transposed too, one product in memory serves both.)
func (f *fusion) masks() {
	for _, n := range f.order {
		if n.op != opMatMul {
			continue
		}
		p := n.in[1]
		if p.op != opElem || p.fn != expr.Mul || f.roots[p] || len(f.users[p]) != 1 || n.in[0] == p {
			continue
		}
		along := func(in *Node) bool {
			r := refTo(in)
			return storageOf(in).op == opVar && r.strides[len(r.strides)-1] == 1
		}
		if along(p.in[0]) && along(p.in[1]) {
			f.masked[p] = true
			delete(f.group, p)
		}
	}
}

// repeat finds results that are cheaper to compute again than to store and to read: one operation on an elementwise result and a
// number, read point by point only. Whoever reads one computes it from what it is made of, which is in memory anyway; the group that
// made that has one result less to store, so that it may follow a product as its epilogue. Such are comparisons like
// relu' = (0 < relu), and sums and products like the gradient c·y of a regularization, where y itself is stored.
func (f *fusion) repeat() {
	for _, n := range f.order {
		if n.op != opElem || n.Size() == 1 || f.roots[n] || len(n.in) != 2 {
			continue
		}
		of := n.in[0]
		if _, ok := of.isConst(); ok {
			of = n.in[1]
		} else if _, ok := n.in[1].isConst(); !ok {
			continue
		}
		switch n.fn {
		case expr.Lt, expr.Le, expr.Eq:
		case expr.Add, expr.Sub, expr.Mul:
			if !f.roots[of] && f.pointwise(of) { // nobody stores it
				continue
			}
		default:
			continue
		}
		if of.op != opElem || inlined(of, of) || !f.pointwise(n) {
			continue
		}
		f.again[n] = true
		delete(f.group, n)
	}
}

// pointwise says whether all who read n are elementwise and read it as it is.
func (f *fusion) pointwise(n *Node) bool {
	return !slices.ContainsFunc(f.users[n], func(u *Node) bool { return u.op != opElem || !f.direct(u, n) })
}

func storageOf(n *Node) *Node {
	for isView(n) {
		n = n.in[0]
	}
	return n
}

// join merges two groups of one space if nothing outside lies on a path between them.
func (f *fusion) join(a, b *group) bool {
	if a == b || !slices.Equal(a.space, b.space) || a.matmul != nil || b.matmul != nil {
		return false
	}
	if a.axes != nil && b.axes != nil && !slices.Equal(a.axes, b.axes) {
		return false
	}
	if f.path(a, b) || f.path(b, a) {
		return false
	}
	position := make(map[*Node]int, len(f.order))
	for i, n := range f.order {
		position[n] = i
	}
	a.nodes = append(a.nodes, b.nodes...)
	slices.SortFunc(a.nodes, func(x, y *Node) int { return position[x] - position[y] })
	if a.axes == nil {
		a.axes = b.axes
	}
	for _, n := range b.nodes {
		f.group[n] = a
	}
	return true
}

// path says whether b waits for a other than by reading a's values point by point.
func (f *fusion) path(a, b *group) bool {
	seen := make(map[any]bool)
	var rec func(n *Node) bool
	var visit func(n *Node, from *Node) bool
	visit = func(n *Node, from *Node) bool { // n is read by from, which b needs
		if f.again[n] {
			return slices.ContainsFunc(n.in, func(i *Node) bool { return visit(i, from) })
		}
		g := f.group[n]
		if g == a {
			return !(f.group[from] == b && n.op == opElem && f.reads(from, n))
		}
		var key any = n
		if g != nil && g != b {
			key = g
		}
		if seen[key] {
			return false
		}
		seen[key] = true
		if g != nil && g != b {
			for _, m := range g.nodes {
				if rec(m) {
					return true
				}
			}
			return false
		}
		return rec(n)
	}
	rec = func(n *Node) bool {
		for _, i := range n.in {
			if visit(i, n) {
				return true
			}
		}
		return false
	}
	for _, n := range b.nodes {
		if rec(n) {
			return true
		}
	}
	return false
}

// reads says whether u takes the value of n point by point.
func (f *fusion) reads(u, n *Node) bool {
	return slices.ContainsFunc(u.in, func(i *Node) bool { return i == n || f.again[i] && slices.Contains(i.in, n) })
}

// inlined says whether the value of s, read as n, is so cheap that every group computes it for itself:
// single numbers and counters.
func inlined(n, s *Node) bool {
	return s.op == opElem && (s.Size() == 1 || s.fn == expr.Iota && n == s)
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
		case f.masked[s]: // its factors are leaves
		case f.again[s]:
			for _, i := range s.in {
				read(i, user)
			}
		case (user.op == opElem || user.op == opReduce) && s == n && s.op == opElem && f.group[s] == f.group[user]:
			f.used[s] = true
		case (user.op == opElem || user.op == opReduce) && inlined(n, s):
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
}

// liveNodes are the group's nodes that somebody needs.
func (f *fusion) liveNodes(g *group) []*Node {
	var live []*Node
	for _, n := range g.nodes {
		if f.used[n] {
			live = append(live, n)
		}
	}
	return live
}

// outputs are the group's nodes that go to memory, reductions first.
func (f *fusion) outputs(g *group) []*Node {
	var reduced, whole []*Node
	for _, n := range f.liveNodes(g) {
		switch {
		case n.op == opReduce:
			reduced = append(reduced, n)
		case f.stored[n]:
			whole = append(whole, n)
		}
	}
	return append(reduced, whole...)
}

// groups lists the live groups in graph order.
func (f *fusion) groups() []*group {
	var out []*group
	seen := make(map[*group]bool)
	for _, n := range f.order {
		if g := f.group[n]; g != nil && f.used[n] && !seen[g] {
			seen[g] = true
			out = append(out, g)
		}
	}
	return out
}

// epilogues gives a group to the product it follows: when all that read the product are in the group, which stores
// one result, reduces nothing, and touches no Int memory. Of several products the last one takes it.
func (f *fusion) epilogues() {
	for _, n := range slices.Backward(f.order) {
		if n.op != opMatMul || !f.used[n] || f.roots[n] || n.Size() == 1 { // single numbers are inlined elsewhere
			continue
		}
		var g *group
		ok := true
		for _, u := range f.users[n] {
			if isView(u) || !f.used[u] { // who reads through a view is listed too
				continue
			}
			ok = ok && u.op == opElem && f.direct(u, n) && (g == nil || f.group[u] == g)
			g = f.group[u]
		}
		if !ok || g == nil || g.matmul != nil || g.reductions() > 0 || len(f.outputs(g)) != 1 || !slices.Equal(g.space, n.shape) || f.touchesInt(g) {
			continue
		}
		g.matmul = n
		delete(f.stored, n)
	}
}

// touchesInt says whether a group reads or writes Int memory, which a Gemm does not.
func (f *fusion) touchesInt(g *group) bool {
	outs := f.outputs(g)
	isInt := func(r ref) bool { return r.store.typ == Int }
	return outs[0].typ == Int || slices.ContainsFunc(f.express(g, outs).refs, isInt)
}

// direct says whether u reads n as it is, never through a view.
func (f *fusion) direct(u, n *Node) bool {
	for _, i := range u.in {
		if i != n && storageOf(i) == n {
			return false
		}
	}
	return true
}

// neighbours joins groups of one space that read the same memory, so that it is read once (the updates of a
// conjugate-gradient step, say), and single numbers.
func (f *fusion) neighbours() {
	const maxNodes, maxOuts = 48, 8 // a device must hold the values of one point in registers
	groups := f.groups()
	reads := make(map[*group]map[*Node]bool)
	for _, g := range groups {
		reads[g] = map[*Node]bool{}
		for _, n := range f.liveNodes(g) {
			for _, i := range n.in {
				if s := storageOf(i); f.group[s] != g && s.op != opConst {
					reads[g][s] = true
				}
			}
		}
	}
	shares := func(a, b *group) bool {
		if device.Size(a.space) == 1 {
			return true
		}
		for s := range reads[a] {
			if reads[b][s] && s.Size() > 1 {
				return true
			}
		}
		return false
	}
	for i, a := range groups {
		if a == nil {
			continue
		}
		for j := i + 1; j < len(groups); j++ {
			b := groups[j]
			if b == nil || len(f.outputs(a)) == 0 || len(f.outputs(b)) == 0 || !shares(a, b) ||
				len(a.nodes)+len(b.nodes) > maxNodes || len(f.outputs(a))+len(f.outputs(b)) > maxOuts {
				continue
			}
			if f.join(a, b) {
				for s := range reads[b] {
					reads[a][s] = true
				}
				groups[j] = nil
			}
		}
	}
}
