package tensor

import (
	"slices"

	"bilevel/device"
)

// Reshape gives the same elements in row-major order another shape; one length may be -1 and is then derived.
func (n *Node) Reshape(shape ...int) *Node {
	shape = slices.Clone(shape)
	if i := slices.Index(shape, -1); i >= 0 {
		shape[i] = 1
		if rest := device.Size(shape); rest > 0 {
			shape[i] = n.Size() / rest
		}
	}
	checkShape("Reshape", shape)
	if device.Size(shape) != n.Size() {
		fail("Reshape", "%v has %d elements, %v does not", n.shape, n.Size(), shape)
	}
	if slices.Equal(shape, n.shape) {
		return n
	}
	if n.op == opReshape {
		return n.in[0].Reshape(shape...)
	}
	return newNode(Node{op: opReshape, typ: n.typ, shape: shape, in: []*Node{n}})
}

// Flatten is the node as a vector.
func (n *Node) Flatten() *Node { return n.Reshape(n.Size()) }

// Permute reorders axes: axis i of the result is axis axes[i] of n.
func (n *Node) Permute(axes ...int) *Node {
	sorted := slices.Sorted(slices.Values(axes))
	identity := true
	shape := make([]int, len(n.shape))
	for i := range max(len(axes), len(shape)) {
		if len(axes) != len(shape) || sorted[i] != i {
			fail("Permute", "%v is no permutation of the axes of %v", axes, n.shape)
		}
	}
	for i, a := range axes {
		shape[i] = n.shape[a]
		identity = identity && a == i
	}
	if identity {
		return n
	}
	return newNode(Node{op: opPermute, typ: n.typ, shape: shape, in: []*Node{n}, ints: slices.Clone(axes)})
}

// T exchanges the last two axes.
func (n *Node) T() *Node {
	r := len(n.shape)
	if r < 2 {
		fail("T", "wants rank 2 or more, got shape %v", n.shape)
	}
	axes := make([]int, r)
	for i := range axes {
		axes[i] = i
	}
	axes[r-1], axes[r-2] = r-2, r-1
	return n.Permute(axes...)
}

// Expand broadcasts to a shape: axes are aligned at the end, lengths of 1 repeat.
func (n *Node) Expand(shape ...int) *Node {
	checkShape("Expand", shape)
	lead := len(shape) - len(n.shape)
	ok := lead >= 0
	for i := range n.shape {
		ok = ok && (n.shape[i] == shape[lead+i] || n.shape[i] == 1)
	}
	if !ok {
		fail("Expand", "%v does not broadcast to %v", n.shape, shape)
	}
	if lead == 0 && slices.Equal(n.shape, shape) {
		return n
	}
	return newNode(Node{op: opExpand, typ: n.typ, shape: slices.Clone(shape), in: []*Node{n}})
}

// Slice keeps the indices from…to-1 of an axis.
func (n *Node) Slice(axis, from, to int) *Node {
	if axis < 0 || axis >= len(n.shape) || from < 0 || to < from || to > n.shape[axis] {
		fail("Slice", "axis %d, %d to %d of shape %v", axis, from, to, n.shape)
	}
	if from == 0 && to == n.shape[axis] {
		return n
	}
	shape := slices.Clone(n.shape)
	shape[axis] = to - from
	return newNode(Node{op: opSlice, typ: n.typ, shape: shape, in: []*Node{n}, ints: []int{axis, from, to}})
}

// Pad puts zeros before and after along an axis; the transpose of Slice.
func (n *Node) Pad(axis, before, after int) *Node {
	n.want("Pad", Real)
	if axis < 0 || axis >= len(n.shape) || before < 0 || after < 0 {
		fail("Pad", "axis %d, %d before and %d after, of shape %v", axis, before, after, n.shape)
	}
	if before == 0 && after == 0 {
		return n
	}
	shape := slices.Clone(n.shape)
	shape[axis] += before + after
	checkShape("Pad", shape)
	return newNode(Node{op: opPad, shape: shape, in: []*Node{n}, ints: []int{axis, before, after}})
}

// StopGradient is the same value, through which no derivative passes.
func (n *Node) StopGradient() *Node {
	return newNode(Node{op: opStop, typ: n.typ, shape: n.shape, in: []*Node{n}})
}

// Concat joins nodes along an axis; all other lengths agree.
func Concat(axis int, parts ...*Node) *Node {
	if len(parts) == 0 {
		fail("Concat", "nothing to join")
	}
	first := parts[0]
	if first.typ == Byte {
		fail("Concat", "takes Real or Int, got Byte")
	}
	if axis < 0 || axis >= len(first.shape) {
		fail("Concat", "axis %d of shape %v", axis, first.shape)
	}
	if len(parts) == 1 {
		return first
	}
	shape := slices.Clone(first.shape)
	shape[axis] = 0
	for _, p := range parts {
		fits := p.typ == first.typ && len(p.shape) == len(shape)
		for a := range shape {
			fits = fits && (a == axis || p.shape[a] == shape[a])
		}
		if !fits {
			fail("Concat", "%s %v does not fit %s %v along axis %d", p.typ, p.shape, first.typ, first.shape, axis)
		}
		shape[axis] += p.shape[axis]
	}
	return newNode(Node{op: opConcat, typ: first.typ, shape: shape, in: slices.Clone(parts), ints: []int{axis}})
}

// strided describes how a node's elements lie in its storage.
type strided struct {
	off     int
	strides []int
}

// viewOf follows views down to the node that owns the memory. ok is false where strides cannot express a Reshape; the
// pass layout then copies its input in row-major order first.
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

// refTo is where a node's elements lie. It is for graphs that have been through layout: strides can express every view.
func refTo(n *Node) ref {
	store, s, _ := viewOf(n)
	return ref{store: store, shape: n.shape, strided: s}
}

// whole says whether the window shows all elements of its store, in order.
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
