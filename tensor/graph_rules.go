package tensor

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// rule is one row of the table of operations. Derivatives build nodes of the same set.
//
// jvp gives the derivative of n along tangents t of its inputs; a nil tangent is zero, and at least one is not nil.
// vjp gives, for a cotangent g of n, the cotangent of each input; nil is zero. It need not fill entries where
// need is false. A row with neither is not differentiable: its derivative is zero everywhere it exists.
type rule struct {
	name string
	jvp  func(n *Node, t []*Node) *Node
	vjp  func(n, g *Node, need []bool) []*Node
}

// rules has one row per op; a test checks that no row is missing.
var rules = [numOps]rule{
	opConst: {name: "Const"},
	opVar:   {name: "Variable"},

	opReshape: {
		name: "Reshape",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].Reshape(n.shape...) },
		vjp:  func(n, g *Node, _ []bool) []*Node { return []*Node{g.Reshape(n.in[0].shape...)} },
	},
	opPermute: {
		name: "Permute",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].Permute(n.ints...) },
		vjp: func(n, g *Node, _ []bool) []*Node {
			inverse := make([]int, len(n.ints))
			for i, a := range n.ints {
				inverse[a] = i
			}
			return []*Node{g.Permute(inverse...)}
		},
	},
	opExpand: {
		name: "Expand",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].Expand(n.shape...) },
		vjp:  func(n, g *Node, _ []bool) []*Node { return []*Node{sumTo(g, n.in[0].shape)} },
	},
	opSlice: {
		name: "Slice",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].Slice(n.ints[0], n.ints[1], n.ints[2]) },
		vjp: func(n, g *Node, _ []bool) []*Node {
			axis, from, to := n.ints[0], n.ints[1], n.ints[2]
			return []*Node{g.Pad(axis, from, n.in[0].shape[axis]-to)}
		},
	},
	opStop: {name: "StopGradient"},

	opElem: {
		name: "Map",
		jvp: func(n *Node, t []*Node) *Node {
			if n.fn == expr.Where && t[1] != nil && t[2] != nil {
				return Where(n.in[0], t[1], t[2])
			}
			var sum *Node
			for i, rule := range fnRules[n.fn] {
				if t[i] != nil && rule != nil {
					sum = plus(sum, rule(n, t[i]))
				}
			}
			return sum
		},
		vjp: func(n, g *Node, need []bool) []*Node {
			out := make([]*Node, len(n.in))
			for i, rule := range fnRules[n.fn] {
				if need[i] && rule != nil {
					out[i] = rule(n, g)
				}
			}
			return out
		},
	},
	opPow: {
		name: "Pow",
		jvp:  func(n *Node, t []*Node) *Node { return powSlope(n, t[0]) },
		vjp:  func(n, g *Node, _ []bool) []*Node { return []*Node{powSlope(n, g)} },
	},
	opGuarded: {
		name: "GuardedProduct",
		jvp: func(n *Node, t []*Node) *Node {
			var sum *Node
			for i := range n.in {
				if t[i] != nil {
					sum = plus(sum, guardedSlope(n, i, t[i]))
				}
			}
			return sum
		},
		vjp: func(n, g *Node, need []bool) []*Node {
			out := make([]*Node, len(n.in))
			for i := range n.in {
				if need[i] {
					out[i] = guardedSlope(n, i, g)
				}
			}
			return out
		},
	},
	opCentre: { // its own adjoint
		name: "Centre",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].centre(n.ints...) },
		vjp:  func(n, g *Node, _ []bool) []*Node { return []*Node{g.centre(n.ints...)} },
	},
	opReduce: {
		name: "Reduce",
		jvp: func(n *Node, t []*Node) *Node {
			if n.kind == device.Maximum {
				return marked(selected(firstMaximum(n), t[0]).SumKeep(n.ints...))
			}
			return t[0].SumKeep(n.ints...)
		},
		vjp: func(n, g *Node, _ []bool) []*Node {
			g = g.Expand(n.in[0].shape...)
			if n.kind == device.Maximum {
				g = selected(firstMaximum(n), g)
			}
			return []*Node{g}
		},
	},
	opMatMul: {
		name: "MatMul",
		jvp: func(n *Node, t []*Node) *Node {
			var sum *Node
			if t[0] != nil {
				sum = t[0].MatMul(n.in[1])
			}
			if t[1] != nil {
				sum = plus(sum, n.in[0].MatMul(t[1]))
			}
			return sum
		},
		vjp: func(n, g *Node, need []bool) []*Node {
			out := make([]*Node, 2)
			if need[0] {
				out[0] = matMulLike(n.in[0], g, n.in[1].T())
			}
			if need[1] {
				out[1] = matMulLike(n.in[1], n.in[0].T(), g)
			}
			return out
		},
	},
	opSoftmax: {
		name: "RowSoftmax",
		jvp: func(n *Node, t []*Node) *Node {
			if t[0] == nil {
				return nil
			}
			return softmaxRules[n.soft].jvp(n, t[0])
		},
		vjp: func(n, g *Node, _ []bool) []*Node {
			out := make([]*Node, len(n.in))
			out[0] = softmaxRules[n.soft].vjp(n, g)
			return out
		},
	},
	opConv: {name: "Conv", jvp: convTangent, vjp: convCotangents},
	opPool: {name: "Pool", jvp: poolTangent, vjp: poolCotangents},
	opGather: {
		name: "Gather",
		jvp:  func(n *Node, t []*Node) *Node { return Gather(t[0], n.in[1]) },
		vjp: func(n, g *Node, _ []bool) []*Node {
			return []*Node{ScatterAdd(Zeros(n.in[0].shape...), n.in[1], g), nil}
		},
	},
	opScatter: {
		name: "ScatterAdd",
		jvp: func(n *Node, t []*Node) *Node {
			switch {
			case t[2] == nil:
				return t[0]
			case t[0] == nil:
				t[0] = Zeros(n.shape...)
			}
			return ScatterAdd(t[0], n.in[1], t[2])
		},
		vjp: func(n, g *Node, _ []bool) []*Node { return []*Node{g, nil, Gather(g, n.in[1])} },
	},
	opArgMax: {name: "ArgMax"},
	opKth:    {name: "KthLargest"},
	opRandom: {name: "Random"},
	opConcat: {
		name: "Concat",
		jvp: func(n *Node, t []*Node) *Node {
			parts := slices.Clone(t)
			for i, p := range parts {
				if p == nil {
					parts[i] = Zeros(n.in[i].shape...)
				}
			}
			return Concat(n.ints[0], parts...)
		},
		vjp: func(n, g *Node, _ []bool) []*Node {
			out, at := make([]*Node, len(n.in)), 0
			for i, p := range n.in {
				d := p.shape[n.ints[0]]
				out[i] = g.Slice(n.ints[0], at, at+d)
				at += d
			}
			return out
		},
	},
	opPad: {
		name: "Pad",
		jvp:  func(n *Node, t []*Node) *Node { return t[0].Pad(n.ints[0], n.ints[1], n.ints[2]) },
		vjp: func(n, g *Node, _ []bool) []*Node {
			axis, before := n.ints[0], n.ints[1]
			return []*Node{g.Slice(axis, before, before+n.in[0].shape[axis])}
		},
	},
	opDense: {
		name: "Copy",
		jvp:  func(n *Node, t []*Node) *Node { return t[0] },
		vjp:  func(n, g *Node, _ []bool) []*Node { return []*Node{g} },
	},
}

// matMulLike is a·b, laid out like x: where x is a transposed matrix, as the transpose of bᵀ·aᵀ, whose rows lie as
// x's do.
func matMulLike(x, a, b *Node) *Node {
	if r := len(x.shape); x.op == opPermute && x.ints[r-1] == r-2 && x.ints[r-2] == r-1 {
		return b.T().MatMul(a.T()).T()
	}
	return a.MatMul(b)
}

// softmaxRules: with p = softmax(z),
//
//	softmax:       dp = p ∘ (t - <p, t>),      its own transpose
//	log-softmax:   t - <p, t>,                 transposed g - p Σg
//	cross-entropy: <p - onehot(label), t>      (one row, one number)
var softmaxRules = [...]struct{ jvp, vjp func(n, g *Node) *Node }{
	device.Softmax: {jvp: softmaxJacobian, vjp: softmaxJacobian},
	device.LogSoftmax: {
		jvp: func(n, t *Node) *Node { return t.Sub(mulChain(n.in[0].Softmax(), t).SumKeep(1)) },
		vjp: func(n, g *Node) *Node { return g.Sub(mulChain(n.in[0].Softmax(), inherit(g, g.SumKeep(1)))) },
	},
	device.CrossEntropy: {
		jvp: func(n, t *Node) *Node {
			return chainMul(inherit(t, mulChain(crossEntropySlope(n), t).Sum(1)), hasLabel(n))
		},
		vjp: func(n, g *Node) *Node {
			g = chainMul(g, hasLabel(n))
			return mulChain(crossEntropySlope(n), inherit(g, g.Reshape(-1, 1)))
		},
	},
}

func softmaxJacobian(n, g *Node) *Node {
	return mulChain(n, inherit(g, g.Sub(mulChain(n, g).SumKeep(1))))
}

func crossEntropySlope(n *Node) *Node {
	z, labels := n.in[0], n.in[1]
	return z.Softmax().Sub(OneHot(labels, z.shape[1]))
}

// hasLabel is 1 for each row of a cross-entropy whose label is one of the classes, else NaN, as the value is: whoever
// looks at the derivative alone shall not learn from a label that does not exist.
func hasLabel(n *Node) *Node {
	labels, classes := n.in[1], n.in[0].shape[1]
	outside := labels.Lt(IntConst(0)).Add(IntConst(int32(classes - 1)).Lt(labels))
	if classes <= 1<<24 { // Real numbers hold the bounds, and take fewer loops
		l := labels.ToReal()
		outside = l.Sub(l.Clamp(Const(0), Const(float64(classes-1))))
	}
	return Where(outside, Const(math.NaN()), Const(1))
}

// firstMaximum is 1 at the first of the largest elements of each reduced group, in row-major order, and 0 elsewhere.
func firstMaximum(n *Node) *Node {
	x := n.in[0]
	// Bring the reduced axes last, choose in each row, and go back.
	var order []int
	for a := range x.shape {
		if !slices.Contains(n.ints, a) {
			order = append(order, a)
		}
	}
	order = append(order, n.ints...)
	inverse := make([]int, len(order))
	for i, a := range order {
		inverse[a] = i
	}
	moved := x.Permute(order...)
	cols := 1
	for _, a := range n.ints {
		cols *= x.shape[a]
	}
	if moved.Size() == 0 {
		return Zeros(x.shape...)
	}
	rows := moved.Reshape(-1, cols)
	return OneHot(rows.ArgMax(), cols).Reshape(moved.shape...).Permute(inverse...)
}

// sumTo adds g up to a shape that broadcasts to g's.
func sumTo(g *Node, shape []int) *Node {
	lead := len(g.shape) - len(shape)
	var axes []int
	for a := range g.shape {
		if a < lead || shape[a-lead] == 1 && g.shape[a] != 1 {
			axes = append(axes, a)
		}
	}
	if len(axes) > 0 {
		g = g.SumKeep(axes...)
	}
	return g.Reshape(shape...)
}

// plus adds where nil is zero.
func plus(a, b *Node) *Node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	if a.op == opPermute && b.op == opPermute && slices.Equal(a.ints, b.ints) {
		// Gradients of transposed weights: their sum in the order in which they lie is one pass without strides.
		return inherit(b, inherit(a, plus(a.in[0], b.in[0]).Permute(a.ints...)))
	}
	return inherit(b, inherit(a, elem(expr.Add, a, b)))
}
