package tensor

// rewrite rebuilds a graph from its leaves upward: change gets each node as it was and as it is on rewritten inputs,
// and gives the node that takes its place. Every pass of the compiler that changes the graph is one call of it.
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

// substitute rebuilds outs with some nodes replaced by others of the same shape.
func substitute(outs []*Node, by map[*Node]*Node) []*Node {
	return rewrite(outs, func(old, now *Node) *Node {
		if r, ok := by[old]; ok {
			return r
		}
		return now
	})
}
