package tensor

// layout inserts copies in row-major order where strides cannot express what a node asks for: a Reshape of a transposed
// or broadcast value, operands of Gather and ScatterAdd whose rows cannot be seen as one axis, and operands of
// convolutions and pools that do not lie densely.
func layout(outs []*Node) []*Node {
	return rewrite(outs, func(_, n *Node) *Node {
		switch n.op {
		case opReshape:
			if _, _, ok := viewOf(n); !ok {
				return n.with([]*Node{dense(n.in[0])})
			}
		case opGather:
			return n.with([]*Node{rowsOrDense(n.in[0]), n.in[1]})
		case opScatter:
			return n.with([]*Node{rowsOrDense(n.in[0]), n.in[1], rowsOrDense(n.in[2])})
		case opConv, opPool: // device.OpInfo.Dense
			in := make([]*Node, len(n.in))
			for i, p := range n.in {
				if in[i] = p; !refTo(p).view(0, 0).IsDense() {
					in[i] = dense(p)
				}
			}
			return n.with(in)
		}
		return n
	})
}

// dense is a copy of n in row-major order.
func dense(n *Node) *Node {
	return newNode(Node{op: opDense, typ: n.typ, shape: n.shape, in: []*Node{n}})
}

func rowsOrDense(n *Node) *Node {
	if _, ok := asRows(n); !ok {
		return dense(n)
	}
	return n
}
