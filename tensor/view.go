package tensor

import "bilevel/device"

// strided describes how a node's elements lie in its storage.
type strided struct {
	off     int
	strides []int
}

// viewOf follows views down to the node that owns the memory. ok is false where a Reshape cannot be
// expressed by strides; the planner then lays its input out densely first.
func viewOf(n *Node) (storage *Node, s strided, ok bool) {
	if !isView(n) {
		return n, strided{0, device.RowMajor(n.shape)}, true
	}
	in := n.in[0]
	storage, s, ok = viewOf(in)
	if !ok {
		return nil, s, false
	}
	switch n.op {
	case opPermute:
		strides := make([]int, len(n.ints))
		for i, a := range n.ints {
			strides[i] = s.strides[a]
		}
		s.strides = strides
	case opExpand:
		lead := len(n.shape) - len(in.shape)
		strides := make([]int, len(n.shape))
		for i, d := range in.shape {
			if d == n.shape[lead+i] && d != 1 {
				strides[lead+i] = s.strides[i]
			}
		}
		s.strides = strides
	case opSlice:
		if n.Size() > 0 {
			s.off += n.ints[1] * s.strides[n.ints[0]]
		}
	case opReshape:
		s.strides, ok = restride(in.shape, s.strides, n.shape)
	}
	return storage, s, ok
}

func isView(n *Node) bool { return n.op >= opReshape && n.op <= opStop }

// restride finds strides that show elements of (shape, strides), in row-major order, under another shape.
func restride(shape, strides, to []int) ([]int, bool) {
	out := make([]int, len(to))
	if device.Size(to) == 0 {
		return out, true
	}
	// Match groups of axes with equal products; inside a group the old axes must be one dense run.
	i, j := 0, 0
	for i < len(shape) || j < len(to) {
		i0, j0 := i, j
		a, b := 1, 1
		if i < len(shape) {
			a, i = shape[i], i+1
		}
		if j < len(to) {
			b, j = to[j], j+1
		}
		for a != b {
			if a < b && i < len(shape) {
				a, i = a*shape[i], i+1
			} else if j < len(to) {
				b, j = b*to[j], j+1
			} else {
				a, i = a*shape[i], i+1
			}
		}
		stride, run, last := 0, 0, false
		for k := i - 1; k >= i0; k-- {
			if shape[k] == 1 {
				continue
			}
			if last && strides[k] != run {
				return nil, false
			}
			if !last {
				stride, last = strides[k], true
			}
			run = strides[k] * shape[k]
		}
		for k := j - 1; k >= j0; k-- {
			out[k] = stride
			stride *= to[k]
		}
	}
	return out, true
}

// storageOf follows views down to the node that owns the memory.
func storageOf(n *Node) *Node {
	for isView(n) {
		n = n.in[0]
	}
	return n
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

// asRows sees a node [n, …] as [n, d].
func asRows(n *Node) (ref, bool) {
	r := refTo(n)
	d := device.Size(n.shape[1:])
	strides, ok := restride(r.shape, r.strides, []int{n.shape[0], d})
	r.shape, r.strides = []int{n.shape[0], d}, strides
	return r, ok
}
