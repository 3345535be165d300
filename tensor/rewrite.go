package tensor

import "slices"

// rewrite rebuilds a graph from its leaves upward: change gets each node as it was and as it is on rewritten inputs,
// and gives the node that takes its place. Every pass of the compiler that changes the graph is one call of it.
func rewrite(outs []*Node, change func(old, now *Node) *Node) []*Node {
	done := make(map[*Node]*Node, expected(outs))
	var rec func(*Node) *Node
	rec = func(n *Node) *Node {
		if by, ok := done[n]; ok {
			return by
		}
		in, changed := n.in, false
		for i, p := range n.in {
			by := rec(p)
			if by == p {
				continue
			}
			if !changed {
				in, changed = slices.Clone(in), true
			}
			in[i] = by
		}
		by := change(n, n.with(in))
		done[n] = by
		return by
	}
	out := make([]*Node, len(outs))
	for i, o := range outs {
		out[i] = rec(o)
	}
	return out
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
