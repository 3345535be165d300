package params

// Peer says how PyTorch stores an array whose elements lie in another order here: it is split into the axes Split,
// these are put into the order Order, as numpy.transpose does, and the result has the shape Shape.
//
// A convolution's weights are [rows, columns, inputs, outputs] here, so that they lie as the right operand of a
// product, and [outputs, inputs, rows, columns] there: the order {3, 2, 0, 1}. A linear map of flattened images of
// [height, width, channels] here reads [channels, height, width] there.
type Peer struct {
	Split []int // nil: the array's own shape
	Order []int
	Shape []int // nil: Split in the order Order
}

// PeerShape is the array's shape in PyTorch.
func (a Array) PeerShape() []int {
	if a.Peer == nil {
		return a.Shape
	}
	if a.Peer.Shape != nil {
		return a.Peer.Shape
	}
	split := a.split()
	shape := make([]int, len(split))
	for i, axis := range a.Peer.Order {
		shape[i] = split[axis]
	}
	return shape
}

func (a Array) split() []int {
	if a.Peer.Split != nil {
		return a.Peer.Split
	}
	return a.Shape
}

// ToPeer gives the elements in PyTorch's order, FromPeer takes them back. Both give a new slice.
func (a Array) ToPeer(values []float64) []float64 {
	out := make([]float64, len(values))
	a.pairs(func(ours, theirs int) { out[theirs] = values[ours] })
	return out
}

func (a Array) FromPeer(values []float64) []float64 {
	out := make([]float64, len(values))
	a.pairs(func(ours, theirs int) { out[ours] = values[theirs] })
	return out
}

// pairs visits the place of every element here and in PyTorch.
func (a Array) pairs(visit func(ours, theirs int)) {
	if a.Peer == nil {
		for i := range a.Size() {
			visit(i, i)
		}
		return
	}
	split := a.split()
	stride := make([]int, len(split)) // here, of each axis there
	lengths := make([]int, len(split))
	for i, axis := range a.Peer.Order {
		stride[i], lengths[i] = 1, split[axis]
		for _, d := range split[axis+1:] {
			stride[i] *= d
		}
	}
	at := make([]int, len(split))
	ours := 0
	for theirs := range a.Size() {
		visit(ours, theirs)
		for i := len(at) - 1; i >= 0; i-- {
			at[i]++
			ours += stride[i]
			if at[i] < lengths[i] {
				break
			}
			ours -= lengths[i] * stride[i]
			at[i] = 0
		}
	}
}
