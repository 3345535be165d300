package tensor

import (
	"fmt"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
	"bilevel/internal/geometry"
)

// Device, Type and the types Real, Int and Byte are those of package device. They have names here too, so that packages
// which use tensor need not import it.
type (
	Device = device.Device
	Type   = device.Type
)

const (
	Real = device.Real
	Int  = device.Int
	Byte = device.Byte
)

// op says what a node is. Beyond the device's operations there are leaves and views; graph_rules.go has a row for each.
type op uint8

const (
	// Leaves.
	opConst op = iota // num, a scalar
	opVar             // v

	// Views: they cost nothing, the planner turns them into strides.
	opReshape
	opPermute // ints: the permutation
	opExpand  // broadcast to the shape
	opSlice   // ints: axis, from, to
	opStop    // no derivative passes

	// Computation, each one family of the device's operations.
	opElem    // Map: fn
	opPow     // num: the exponent; fold writes it as opElem
	opGuarded // fn: Mul or Div; ints: which arguments guard; fold writes it as opElem
	opCentre  // ints = axes; fold writes it as a difference
	opReduce  // Reduce: ints = axes, kind; keeps reduced axes with length 1
	opMatMul  // Gemm: [m,k]·[k,n] or [b,m,k]·[b,k,n]
	opSoftmax // RowSoftmax: soft
	opConv    // Conv: attr
	opPool    // Pool: attr
	opGather  // Gather: table, index
	opScatter // ScatterAdd: base, index, source
	opArgMax  // Order
	opKth     // Order: k, then parts of rank 1
	opRandom  // Random: rnd
	opConcat  // Copy: ints = axis
	opPad     // Copy: ints = axis, before, after; zeros around
	opDense   // Copy: the same value laid out densely (inserted by the planner)

	numOps
)

// Node is one value of the graph. Nodes are immutable and may be used by any number of others.
type Node struct {
	op    op
	typ   Type
	shape []int
	in    []*Node
	depth int // more than that of every input: what is not deeper than n does not depend on n

	fn   expr.Fn
	num  float64
	ints []int
	kind device.ReduceKind
	soft device.SoftmaxKind
	rnd  device.RandomAttr
	attr device.Attr // a device.ConvAttr or a device.PoolAttr
	v    *Variable

	// selected says of a derivative that it has been through a selection: its zeros stay zeros whatever they are
	// multiplied with (fnrules.go).
	selected bool
}

// Shape is the node's shape; the caller must not change it.
func (n *Node) Shape() []int { return n.shape }

// Type is Real, Int, or Byte: a table of bytes, which Gather and ToReal turn into numbers.
func (n *Node) Type() Type { return n.typ }

// Size is the number of elements.
func (n *Node) Size() int { return device.Size(n.shape) }

func (n *Node) String() string {
	name := rules[n.op].name
	switch n.op {
	case opElem:
		name = n.fn.String()
	case opConst:
		name = fmt.Sprint(n.num)
	case opVar:
		name = n.v.name
	}
	return fmt.Sprintf("%s%v", name, n.shape)
}

// Const is a scalar constant.
func Const(c float64) *Node { return &Node{op: opConst, num: c} }

// Full is an array of one repeated constant.
func Full(c float64, shape ...int) *Node { return Const(c).Expand(shape...) }

// Zeros is an array of zeros.
func Zeros(shape ...int) *Node { return Full(0, shape...) }

// Iota counts along an axis: element (i0, i1, …) is i_axis, an Int.
func Iota(axis int, shape ...int) *Node {
	checkShape("Iota", shape)
	if axis < 0 || axis >= len(shape) {
		fail("Iota", "axis %d of shape %v", axis, shape)
	}
	return &Node{op: opElem, fn: expr.Iota, typ: Int, shape: slices.Clone(shape), ints: []int{axis}}
}

// isConst says whether the node is a constant seen through views, and which.
func (n *Node) isConst() (float64, bool) {
	for {
		switch n.op {
		case opConst:
			return n.num, true
		case opExpand, opReshape, opPermute, opSlice, opStop:
			n = n.in[0]
		default:
			return 0, false
		}
	}
}

// IsZero tells whether a node is zero whatever the variables hold, because the graph says so: the derivative in a
// variable that nothing depends on.
func (n *Node) IsZero() bool { return n.isZero() }

func (n *Node) isZero() bool {
	c, ok := n.isConst()
	return ok && c == 0
}

// checkShape refuses a shape that no array has: with a negative length, or with more elements than an int counts.
func checkShape(op string, shape []int) {
	if _, err := geometry.Size(shape); err != nil {
		fail(op, "%v", err)
	}
}

func (n *Node) want(op string, t Type) {
	if n.typ != t {
		fail(op, "wants %s, got %s of shape %v", t, n.typ, n.shape)
	}
}

func (n *Node) wantRank(op string, rank int) {
	if len(n.shape) != rank {
		fail(op, "wants rank %d, got shape %v", rank, n.shape)
	}
}

// walk visits every node that outs reach, inputs before users, in an order that depends on the graph alone.
func walk(outs []*Node, visit func(*Node)) { walkFrom(0, outs, visit) }

// walkFrom is walk that leaves out nodes of less than some depth, and thereby what only they read: all that may
// depend on nodes of that depth is visited.
func walkFrom(depth int, outs []*Node, visit func(*Node)) {
	seen := make(map[*Node]bool, expected(outs))
	var rec func(*Node)
	rec = func(n *Node) {
		if n.depth < depth || seen[n] {
			return
		}
		seen[n] = true
		for _, i := range n.in {
			rec(i)
		}
		visit(n)
	}
	for _, o := range outs {
		rec(o)
	}
}

// expected is about how many nodes outs reach, for maps that are to hold them: to make these in one piece takes a third
// of the time that it takes to let them grow. Graphs of networks and solvers have 2 to 8 nodes for each step of depth.
func expected(outs []*Node) int {
	depth := 0
	for _, o := range outs {
		depth = max(depth, o.depth+1)
	}
	return 4 * depth
}

// with is the same operation on other inputs of the same shapes.
func (n *Node) with(in []*Node) *Node {
	if slices.Equal(in, n.in) {
		return n
	}
	m := *n
	m.in, m.depth = in, 0
	return newNode(m)
}

// newNode makes a node that has inputs.
func newNode(n Node) *Node {
	for _, i := range n.in {
		n.depth = max(n.depth, i.depth+1)
	}
	return &n
}
