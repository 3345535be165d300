package tensor

import (
	"slices"

	"bilevel/internal/expr"
)

// broadcast is the common shape of several nodes.
func broadcast(op string, nodes ...*Node) []int {
	rank := 0
	for _, n := range nodes {
		rank = max(rank, len(n.shape))
	}
	shape := make([]int, rank)
	for i := range shape {
		shape[i] = 1
	}
	for _, n := range nodes {
		lead := rank - len(n.shape)
		for i, d := range n.shape {
			switch {
			case d == shape[lead+i] || d == 1:
			case shape[lead+i] == 1:
				shape[lead+i] = d
			default:
				shapes := make([][]int, len(nodes))
				for k, m := range nodes {
					shapes[k] = m.shape
				}
				fail(op, "shapes %v do not broadcast", shapes)
			}
		}
	}
	checkShape(op, shape)
	return shape
}

// elem applies an elementwise function to nodes brought to one shape.
func elem(fn expr.Fn, args ...*Node) *Node {
	info := &expr.Table[fn]
	shape := broadcast(info.Name, args...)
	in := make([]*Node, len(args))
	for i, a := range args {
		a.want(info.Name, info.In)
		in[i] = a.Expand(shape...)
	}
	return newNode(Node{op: opElem, fn: fn, typ: info.Out, shape: shape, in: in})
}

// typed picks the Int form of a function when both arguments are Int.
func typed(real, integer expr.Fn, a, b *Node) *Node {
	if a.typ == Int && b.typ == Int {
		return elem(integer, a, b)
	}
	return elem(real, a, b)
}

// Arithmetic, elementwise with broadcasting. Add, Sub, Mul, Lt and Eq also take two Int nodes.

func (n *Node) Add(m *Node) *Node { return typed(expr.Add, expr.IAdd, n, m) }
func (n *Node) Sub(m *Node) *Node { return typed(expr.Sub, expr.ISub, n, m) }
func (n *Node) Mul(m *Node) *Node { return typed(expr.Mul, expr.IMul, n, m) }
func (n *Node) Div(m *Node) *Node { return elem(expr.Div, n, m) }

// Scale is c·n.
func (n *Node) Scale(c float64) *Node { return n.Mul(Const(c)) }

// AddConst is n + c.
func (n *Node) AddConst(c float64) *Node { return n.Add(Const(c)) }

// Max and Min as Go's built-ins: NaN wins. Where both agree the derivative goes to n.
func (n *Node) Max(m *Node) *Node { return elem(expr.Max, n, m) }
func (n *Node) Min(m *Node) *Node { return elem(expr.Min, n, m) }

// Comparisons give 1 or 0, a Real; they have no derivative, and NaN compares false.

func (n *Node) Lt(m *Node) *Node { return typed(expr.Lt, expr.ILt, n, m) }
func (n *Node) Le(m *Node) *Node { return elem(expr.Le, n, m) }
func (n *Node) Eq(m *Node) *Node { return typed(expr.Eq, expr.IEq, n, m) }

// Where is a where c ≠ 0, else b. What is not chosen has derivative zero, whatever its value.
func Where(c, a, b *Node) *Node { return elem(expr.Where, c, a, b) }

// Clamp is min(max(n, lo), hi); its derivative in n is 1 strictly between them and 0 elsewhere.
func (n *Node) Clamp(lo, hi *Node) *Node { return elem(expr.Clamp, n, lo, hi) }

func (n *Node) Neg() *Node  { return elem(expr.Neg, n) }
func (n *Node) Exp() *Node  { return elem(expr.Exp, n) }
func (n *Node) Log() *Node  { return elem(expr.Log, n) }
func (n *Node) Sin() *Node  { return elem(expr.Sin, n) }
func (n *Node) Cos() *Node  { return elem(expr.Cos, n) }
func (n *Node) Tanh() *Node { return elem(expr.Tanh, n) }

// Abs is |n|; its derivative at 0 is 0.
func (n *Node) Abs() *Node { return elem(expr.Abs, n) }

// Sign is -1, 0 or 1. Its derivative is 0 everywhere.
func (n *Node) Sign() *Node { return elem(expr.Sign, n) }

// Sqrt is the square root; its derivative at 0 is 0, so that that of a norm is.
func (n *Node) Sqrt() *Node { return elem(expr.Sqrt, n) }

// Sigmoid is 1/(1 + exp(-n)).
func (n *Node) Sigmoid() *Node { return elem(expr.Sigmoid, n) }

// Softplus is log(1 + exp(n)).
func (n *Node) Softplus() *Node { return elem(expr.Softplus, n) }

// Relu is max(n, 0); its derivative at 0 is 0.
func (n *Node) Relu() *Node { return elem(expr.Relu, n) }

// Floor is the largest whole number up to n. Its derivative is 0 everywhere.
func (n *Node) Floor() *Node { return elem(expr.Floor, n) }

// Square is n².
func (n *Node) Square() *Node { return n.Mul(n) }

// ToReal makes Real numbers of an Int or of a table of bytes. It has no derivative.
func (n *Node) ToReal() *Node {
	if n.typ == Byte { // Gather alone reads bytes
		rows := n.Reshape(n.Size(), 1)
		if len(n.shape) > 0 {
			rows = n
		}
		return Gather(rows, Iota(0, rows.shape[0])).Reshape(n.shape...)
	}
	return elem(expr.ToReal, n)
}

// ToInt truncates toward zero. It has no derivative.
func (n *Node) ToInt() *Node { return elem(expr.ToInt, n) }

// IntConst is a scalar Int constant; all its bits are kept.
func IntConst(c int32) *Node { return &Node{op: opElem, fn: expr.IConst, typ: Int, num: float64(c)} }

// OneHot turns labels [r] into [r, classes] of 0 and 1.
func OneHot(labels *Node, classes int) *Node {
	labels.want("OneHot", Int)
	shape := append(slices.Clone(labels.shape), classes)
	return Iota(len(shape)-1, shape...).Eq(labels.Reshape(append(slices.Clone(labels.shape), 1)...))
}
