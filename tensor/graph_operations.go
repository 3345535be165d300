package tensor

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// reduce keeps the reduced axes with length 1. No axes means all.
func (n *Node) reduce(name string, kind device.ReduceKind, axes []int) *Node {
	n.want(name, Real)
	if len(axes) == 0 {
		for a := range n.shape {
			axes = append(axes, a)
		}
	}
	axes = slices.Sorted(slices.Values(axes))
	shape := slices.Clone(n.shape)
	for i, a := range axes {
		if a < 0 || a >= len(n.shape) || i > 0 && a == axes[i-1] {
			fail(name, "axes %v of shape %v", axes, n.shape)
		}
		shape[a] = 1
	}
	if len(axes) == 0 {
		return n // a scalar is its own sum
	}
	return newNode(Node{op: opReduce, kind: kind, shape: shape, in: []*Node{n}, ints: axes})
}

// drop removes the axes that a reduction left with length 1.
func (n *Node) drop(axes []int) *Node {
	var shape []int
	for a, d := range n.shape {
		if len(axes) > 0 && !slices.Contains(axes, a) {
			shape = append(shape, d)
		}
	}
	return n.Reshape(shape...)
}

// Sum adds over the axes given, or over all; the axes disappear.
func (n *Node) Sum(axes ...int) *Node { return n.reduce("Sum", device.Sum, axes).drop(axes) }

// SumKeep is Sum that keeps the axes with length 1.
func (n *Node) SumKeep(axes ...int) *Node { return n.reduce("Sum", device.Sum, axes) }

// MaxOver is the largest element over the axes given, or over all; its derivative goes to the first of equals.
func (n *Node) MaxOver(axes ...int) *Node {
	return n.reduce("MaxOver", device.Maximum, axes).drop(axes)
}

// Mean is the mean over the axes given, or over all.
func (n *Node) Mean(axes ...int) *Node {
	return n.shareOf(n.Sum(axes...))
}

// meanKeep is Mean that keeps the axes with length 1.
func (n *Node) meanKeep(axes []int) *Node { return n.shareOf(n.SumKeep(axes...)) }

// shareOf is the mean of elements of n, of a sum over them.
func (n *Node) shareOf(sum *Node) *Node {
	return sum.Scale(float64(max(1, sum.Size())) / float64(max(1, n.Size())))
}

// Dot is Σ a_i b_i over all elements of two nodes of one shape.
func Dot(a, b *Node) *Node {
	if !slices.Equal(a.shape, b.shape) {
		fail("Dot", "shapes %v and %v differ", a.shape, b.shape)
	}
	return a.Mul(b).Sum()
}

// Norm is the Euclidean norm over all elements; its derivative at 0 is 0.
func (n *Node) Norm() *Node { return n.Square().Sum().Sqrt() }

// MatMul is the matrix product [m,k]·[k,n], or of each pair of a batch [b,m,k]·[b,k,n].
func (n *Node) MatMul(m *Node) *Node {
	n.want("MatMul", Real)
	m.want("MatMul", Real)
	r := len(n.shape)
	if r != len(m.shape) || r < 2 || r > 3 || n.shape[r-1] != m.shape[r-2] || r == 3 && n.shape[0] != m.shape[0] {
		fail("MatMul", "%v by %v", n.shape, m.shape)
	}
	shape := slices.Clone(n.shape)
	shape[r-1] = m.shape[r-1]
	checkShape("MatMul", shape)
	return newNode(Node{op: opMatMul, shape: shape, in: []*Node{n, m}})
}

// softmax applies a row operation along the last axis.
func softmax(name string, kind device.SoftmaxKind, z *Node, rest ...*Node) *Node {
	z.want(name, Real)
	if len(z.shape) == 0 {
		fail(name, "wants rank 1 or more, got a scalar")
	}
	last := len(z.shape) - 1
	rows := z.Reshape(device.Size(z.shape[:last]), z.shape[last])
	return newNode(Node{op: opSoftmax, soft: kind, shape: rows.shape, in: append([]*Node{rows}, rest...)})
}

// Softmax is exp(z_j)/Σ exp(z_i) along the last axis.
func (n *Node) Softmax() *Node { return softmax("Softmax", device.Softmax, n).Reshape(n.shape...) }

// LogSoftmax is z_j - log Σ exp(z_i) along the last axis.
func (n *Node) LogSoftmax() *Node {
	return softmax("LogSoftmax", device.LogSoftmax, n).Reshape(n.shape...)
}

// CrossEntropy is log Σ_j exp(z_rj) - z_r,label(r) for each row of z [r,c] and labels Int [r].
func CrossEntropy(z, labels *Node) *Node {
	z.wantRank("CrossEntropy", 2)
	labels.want("CrossEntropy", Int)
	if !slices.Equal(labels.shape, z.shape[:1]) {
		fail("CrossEntropy", "logits %v with labels %v", z.shape, labels.shape)
	}
	n := softmax("CrossEntropy", device.CrossEntropy, z, labels)
	n.shape = labels.shape
	return n
}

// Gather picks rows: table [n, …] and index Int [b] give [b, …]. Of a table of bytes it gives Real numbers from 0 to
// 255.
func Gather(table, index *Node) *Node {
	index.want("Gather", Int)
	index.wantRank("Gather", 1)
	if len(table.shape) == 0 {
		fail("Gather", "wants a table of rank 1 or more, got a scalar")
	}
	shape := append(slices.Clone(index.shape), table.shape[1:]...)
	checkShape("Gather", shape)
	typ := table.typ
	if typ == Byte {
		if _, ok := asRows(table); !ok { // layout would copy it, which there is no operation for
			fail("Gather", "the rows of a table of bytes must lie as they were written: transpose what was gathered")
		}
		typ = Real
	}
	return newNode(Node{op: opGather, typ: typ, shape: shape, in: []*Node{table, index}})
}

// ScatterAdd is base [n, …] with rows of src [b, …] added at index Int [b], duplicates in the order of the index.
func ScatterAdd(base, index, src *Node) *Node {
	base.want("ScatterAdd", Real)
	src.want("ScatterAdd", Real)
	index.want("ScatterAdd", Int)
	index.wantRank("ScatterAdd", 1)
	if len(base.shape) == 0 || !slices.Equal(src.shape, append(slices.Clone(index.shape), base.shape[1:]...)) {
		fail("ScatterAdd", "base %v, index %v, source %v", base.shape, index.shape, src.shape)
	}
	return newNode(Node{op: opScatter, shape: base.shape, in: []*Node{base, index, src}})
}

// ArgMax is the index of the largest element along the last axis, the first of equals, an Int.
func (n *Node) ArgMax() *Node {
	n.want("ArgMax", Real)
	if len(n.shape) == 0 || n.shape[len(n.shape)-1] == 0 {
		fail("ArgMax", "no elements to choose from in shape %v", n.shape)
	}
	c := n.shape[len(n.shape)-1]
	rows := n.Reshape(n.Size()/c, c)
	return newNode(Node{op: opArgMax, typ: Int, shape: rows.shape[:1], in: []*Node{rows}}).Reshape(
		n.shape[:len(n.shape)-1]...)
}

// KthLargest chooses from the elements of all parts together, counted through the parts in order. place is where the
// k-th largest lies, an Int; value is what lies there, whose derivative goes to that element. NaN is larger than any
// number, -0 is 0, and of equals the earlier comes first: x > value, or x = value at a place ≤ place, holds for exactly
// k elements where none is NaN. k is an Int number from 1 to their count; outside, running fails with device.ErrIndex.
// k may change from run to run, so that a schedule compiles once.
func KthLargest(k *Node, parts ...*Node) (value, place *Node) {
	const name = "KthLargest"
	k.want(name, Int)
	if k.Size() != 1 {
		fail(name, "wants one k, got shape %v", k.shape)
	}
	chosen := []*Node{k.Flatten()}
	count := 0
	for _, p := range parts {
		p.want(name, Real)
		if p.Size() > 0 {
			chosen = append(chosen, p.Flatten())
			count += p.Size()
		}
	}
	if count == 0 || count > math.MaxInt32 {
		fail(name, "wants 1 to 2^31-1 elements, got %d in %d parts", count, len(parts))
	}
	if c := storageOf(k); c.op == opElem && c.fn == expr.IConst && (c.num < 1 || c.num > float64(count)) {
		fail(name, "k is %v of %d elements", c.num, count)
	}
	place = newNode(Node{op: opKth, typ: Int, shape: []int{1}, in: chosen})
	return elementAt(place, chosen[1:]).Reshape(), place.Reshape()
}

// elementAt is the element at a place [1] of vectors laid end to end, without laying them so: every one of several
// gives the element there, or its first, and the one that has the place is taken.
func elementAt(place *Node, parts []*Node) *Node {
	if len(parts) == 1 {
		return Gather(parts[0], place)
	}
	var value *Node
	first := 0
	for i, p := range parts {
		local := place.Sub(IntConst(int32(first)))
		inside := IntConst(-1).Lt(local).Mul(local.Lt(IntConst(int32(p.Size()))))
		element := Gather(p, local.Mul(inside.ToInt()))
		if i == 0 {
			value = element
		} else {
			value = Where(inside, element, value)
		}
		first += p.Size()
	}
	return value
}

// random draws by Philox: seed Int [2] (low and high word), step Int scalar, and a stream number of its own for each
// use.
func random(attr device.RandomAttr, t Type, seed, step *Node, shape []int) *Node {
	checkShape("Random", shape)
	seed.want("Random", Int)
	step.want("Random", Int)
	if seed.Size() != 2 || step.Size() != 1 {
		fail("Random", "wants a seed of 2 words and one step, got %v and %v", seed.shape, step.shape)
	}
	n := newNode(Node{
		op: opRandom, typ: t, rnd: attr, shape: []int{device.Size(shape)}, in: []*Node{seed.Flatten(), step.Flatten()},
	})
	return n.Reshape(shape...)
}

// RandomNormal draws standard normals; RandomUniform numbers in [0, 1); RandomInts integers below limit.
// The same (seed, step, stream) gives the same numbers on every device.
func RandomNormal(seed, step *Node, stream uint32, shape ...int) *Node {
	return random(device.RandomAttr{Kind: device.Normal, Stream: stream}, Real, seed, step, shape)
}

func RandomUniform(seed, step *Node, stream uint32, shape ...int) *Node {
	return random(device.RandomAttr{Kind: device.Uniform, Stream: stream}, Real, seed, step, shape)
}

func RandomInts(limit uint32, seed, step *Node, stream uint32, shape ...int) *Node {
	if limit == 0 || limit > 1<<31 {
		fail("Random", "integers below %d", limit)
	}
	return random(device.RandomAttr{Kind: device.Integers, Stream: stream, N: limit}, Int, seed, step, shape)
}
