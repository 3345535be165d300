package tensor

import "slices"

// Split finds the frontier between what depends on some nodes and what does not: the residuals are the values, not
// depending on any of vary, that the nodes of outs depending on them read. Leaves and views of them are read in place
// and are no residuals, neither are constants.
//
// It is what makes an iteration cheap: residuals are computed once, the rest in every iteration.
func Split(outs, vary []*Node) (residuals []*Node) {
	varies := make(map[*Node]bool)
	for _, v := range vary {
		varies[v] = true
	}
	walk(outs, func(n *Node) {
		for _, i := range n.in {
			if varies[i] {
				varies[n] = true
			}
		}
	})
	seen := make(map[*Node]bool)
	add := func(n *Node) {
		for isView(n) { // keep what the view shows, not a copy of the view
			n = n.in[0]
		}
		if varies[n] || seen[n] || len(n.in) == 0 || constant(n) {
			return
		}
		seen[n] = true
		residuals = append(residuals, n)
	}
	walk(outs, func(n *Node) {
		if varies[n] {
			for _, i := range n.in {
				if !varies[i] {
					add(i)
				}
			}
		}
	})
	for _, o := range outs {
		if !varies[o] {
			add(o)
		}
	}
	return residuals
}

// constant says whether a node depends on no variable and no hole, so that computing it again costs little.
func constant(n *Node) bool {
	is := true
	walk([]*Node{n}, func(m *Node) { is = is && m.op != opVar && m.op != opHole })
	return is
}

// substitute rebuilds outs with some nodes replaced by others of the same shape.
func substitute(outs []*Node, by map[*Node]*Node) []*Node {
	return rewrite(outs, func(old, now *Node) *Node {
		if r, ok := by[old]; ok {
			return r
		}
		return now
	})
}

// rewrite rebuilds a graph bottom-up: change gets each node as it was and as it is on rewritten inputs,
// and gives the node that takes its place.
func rewrite(outs []*Node, change func(old, now *Node) *Node) []*Node {
	done := make(map[*Node]*Node)
	walk(outs, func(n *Node) {
		in := make([]*Node, len(n.in))
		for i, p := range n.in {
			in[i] = done[p]
		}
		done[n] = change(n, n.with(in))
	})
	out := make([]*Node, len(outs))
	for i, o := range outs {
		out[i] = done[o]
	}
	return out
}

// Linear is a derivative split into the part that does not depend on the direction and the part that is linear in it.
//
//	lin := tensor.Linearize(grad, y)            // grad = ∇f(y), a list of nodes
//	hv := lin.Apply(lin.Residuals(), []*Node{v}) // the Hessian-vector product
//
// Run Residuals once into variables, then Apply on those variables in every iteration (Executor.CompileLoop does so
// for whole loops).
type Linear struct {
	holes     []*Node
	outs      []*Node
	residuals []*Node
}

// Linearize takes the derivative of outs with respect to wrt at the point where they stand.
func Linearize(outs []*Node, wrt ...*Node) *Linear {
	l := &Linear{}
	for _, w := range wrt {
		l.holes = append(l.holes, newNode(Node{op: opHole, shape: w.shape}))
	}
	l.outs = cse(fold(JVP(outs, wrt, l.holes))) // equal values are one residual
	l.residuals = Split(l.outs, l.holes)
	return l
}

// Residuals are the values that do not depend on the direction.
func (l *Linear) Residuals() []*Node { return l.residuals }

// Apply is the derivative along tangents t, reading the residuals from nodes that hold them.
func (l *Linear) Apply(residuals, t []*Node) []*Node {
	if len(residuals) != len(l.residuals) || len(t) != len(l.holes) {
		fail("Apply", "%d residuals and %d tangents, wants %d and %d", len(residuals), len(t), len(l.residuals), len(l.holes))
	}
	by := make(map[*Node]*Node)
	give := func(place, value *Node) {
		if !slices.Equal(place.shape, value.shape) || place.typ != value.typ {
			fail("Apply", "%s %v in the place of %s %v", value.typ, value.shape, place.typ, place.shape)
		}
		by[place] = value
	}
	for i, r := range l.residuals {
		give(r, residuals[i])
	}
	for i, h := range l.holes {
		give(h, t[i])
	}
	return substitute(l.outs, by)
}
