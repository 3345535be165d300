package tensor

// split finds the frontier between what depends on some nodes and what does not. A residual is a value that depends
// on none of vary and is read by a node that does: computed once, it serves every repetition of a loop. Leaves and
// views of leaves are read in place and are no residuals. Neither is what depends on leaves that are constants only,
// which costs little to compute again, except for random numbers; nor are products m ⊙ w of variables that matrix
// products read, since these compute them.
func split(outs, vary []*Node) (residuals []*Node) {
	varies := make(map[*Node]bool)
	for _, v := range vary {
		varies[v] = true
	}
	costs := make(map[*Node]bool) // nodes that depend on a variable or on a Random
	walk(outs, func(n *Node) {
		costs[n] = n.op == opVar || n.op == opRandom
		for _, i := range n.in {
			varies[n] = varies[n] || varies[i]
			costs[n] = costs[n] || costs[i]
		}
	})
	seen, masks := make(map[*Node]bool), masksOf(outs, nil)
	add := func(n *Node) {
		n = storageOf(n) // keep what a view shows, not a copy of the view
		if varies[n] || seen[n] || len(n.in) == 0 || !costs[n] || masks[n] {
			return
		}
		seen[n] = true
		residuals = append(residuals, n)
	}
	walk(outs, func(n *Node) {
		if varies[n] {
			for _, i := range n.in {
				add(i)
			}
		}
	})
	for _, o := range outs {
		add(o)
	}
	return residuals
}
