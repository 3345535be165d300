package tensor

import "bilevel/device"

// layout lays values out densely where strides cannot express what is asked: a Reshape across a transposition or a
// broadcast, and the rows of Gather and ScatterAdd, which devices see as two axes.
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

// asRows sees a node [n, …] as [n, d].
func asRows(n *Node) (ref, bool) {
	r := refTo(n)
	d := device.Size(n.shape[1:])
	strides, ok := restride(r.shape, r.strides, []int{n.shape[0], d})
	r.shape, r.strides = []int{n.shape[0], d}, strides
	return r, ok
}

// ref is a strided window into the memory of the node that owns it.
type ref struct {
	store *Node
	shape []int
	strided
}

// refTo is where a node's elements lie. layout has made sure that strides can say it.
func refTo(n *Node) ref {
	store, s, _ := viewOf(n)
	return ref{store: store, shape: n.shape, strided: s}
}

// whole says whether the window shows all of its store in order.
func (r ref) whole() bool {
	return r.off == 0 && r.view(0, 0).IsDense() && device.Size(r.shape) == r.store.Size()
}

// view places the window into a buffer.
func (r ref) view(buf, off int) device.View {
	return device.View{Buf: buf, Off: off + r.off, Shape: r.shape, Strides: r.strides}
}

// as3D puts a leading axis of length 1 before a matrix.
func (r ref) as3D() ref {
	if len(r.shape) == 2 {
		r.shape = append([]int{1}, r.shape...)
		r.strides = append([]int{0}, r.strides...)
	}
	return r
}
