package tensor

import (
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// step is one instruction before memory is planned: its views name the nodes that own the memory.
type step struct {
	op   device.Op
	attr device.Attr
	in   []ref
	out  []ref
}

// lowering turns a fused graph into steps, each after those whose results it reads.
type lowering struct {
	*fusion
	steps []step
	done  map[*vertex]bool // those that have their steps
}

// lower orders and emits the instructions that store the roots.
func lower(f *fusion, roots []*Node) []step {
	l := &lowering{fusion: f, done: map[*vertex]bool{}}
	for _, r := range roots {
		l.need(r)
	}
	return l.steps
}

// need makes sure that the step which stores a node has been emitted.
func (l *lowering) need(n *Node) {
	n = storageOf(n)
	v := l.vertex[n]
	if l.masked[n] {
		l.need(n.in[0])
		l.need(n.in[1])
	}
	if v == nil { // a leaf, or what its readers compute
		return
	}
	if v = v.find(); l.done[v] {
		return
	}
	l.done[v] = true
	if v.group != nil {
		l.emitGroup(v.group)
		return
	}
	for _, i := range n.in {
		l.need(i)
	}
	emitters[n.op](l, n)
}

func (l *lowering) emit(op device.Op, attr device.Attr, out ref, in ...ref) {
	l.steps = append(l.steps, step{op: op, attr: attr, in: in, out: []ref{out}})
}

// emitters has one row per operation that is computed alone, not in a group.
var emitters = map[op]func(*lowering, *Node){
	opMatMul: (*lowering).emitProducer,
	opConv:   (*lowering).emitProducer,
	opPool:   func(l *lowering, n *Node) { l.emit(device.Pool, n.attr, refTo(n), refsTo(n.in)...) },
	opSoftmax: func(l *lowering, n *Node) {
		l.emit(device.RowSoftmax, device.SoftmaxAttr{Kind: n.soft}, refTo(n), refsTo(n.in)...)
	},
	opGather: func(l *lowering, n *Node) {
		table, _ := asRows(n.in[0])
		out, _ := asRows(n)
		l.emit(device.Gather, nil, out, table, refTo(n.in[1]))
	},
	opScatter: func(l *lowering, n *Node) {
		base, _ := asRows(n.in[0])
		src, _ := asRows(n.in[2])
		out, _ := asRows(n)
		l.emit(device.ScatterAdd, nil, out, base, refTo(n.in[1]), src)
	},
	opArgMax: func(l *lowering, n *Node) {
		l.emit(device.Order, device.OrderAttr{Kind: device.ArgMax}, refTo(n), refTo(n.in[0]))
	},
	opKth: func(l *lowering, n *Node) {
		l.emit(device.Order, device.OrderAttr{Kind: device.KthLargest}, refTo(n), refsTo(n.in)...)
	},
	opRandom: func(l *lowering, n *Node) {
		l.emit(device.Random, n.rnd, refTo(n), refTo(n.in[0]), refTo(n.in[1]))
	},
	opDense: func(l *lowering, n *Node) { l.emit(device.Copy, nil, refTo(n), refTo(n.in[0])) },
	opConcat: func(l *lowering, n *Node) {
		at := 0
		for _, p := range n.in {
			l.emit(device.Copy, nil, part(n, n.ints[0], at, p.shape), refTo(p))
			at += p.shape[n.ints[0]]
		}
	},
	opPad: func(l *lowering, n *Node) {
		axis, before, after := n.ints[0], n.ints[1], n.ints[2]
		zeros := slices.Clone(n.shape)
		for _, z := range [2][2]int{{0, before}, {n.shape[axis] - after, after}} {
			if zeros[axis] = z[1]; z[1] > 0 {
				l.emit(device.Copy, nil, part(n, axis, z[0], slices.Clone(zeros)), refTo(Zeros(zeros...)))
			}
		}
		l.emit(device.Copy, nil, part(n, axis, before, n.in[0].shape), refTo(n.in[0]))
	},
}

// producers has one row per operation that may absorb the group that follows it as its epilogue
// (device.OpInfo.TakesEpilogue).
var producers = map[op]struct {
	op       device.Op
	operands func(l *lowering, n *Node) (device.EpilogueAttr, []ref)
	window   func(ref) ref // how the operation sees its result and the epilogue's inputs
}{
	opMatMul: {device.Gemm, factors, ref.as3D},
	opConv: {device.Conv, func(_ *lowering, n *Node) (device.EpilogueAttr, []ref) {
		return n.attr.(device.ConvAttr), refsTo(n.in)
	}, func(r ref) ref { return r }},
}

// emitProducer emits such an operation without an epilogue.
func (l *lowering) emitProducer(n *Node) {
	p := producers[n.op]
	attr, in := p.operands(l, n)
	l.emit(p.op, attr, p.window(refTo(n)), in...)
}

// takesEpilogue says whether an elementwise expression of the result of n may be part of the operation itself.
func takesEpilogue(n *Node) bool {
	p, ok := producers[n.op]
	return ok && device.Ops[p.op].TakesEpilogue
}

// factors are what a MatMul reads: A and B, and where one of them is m ⊙ w that the product computes, w in its place
// and m after them.
func factors(l *lowering, n *Node) (device.EpilogueAttr, []ref) {
	var attr device.GemmAttr
	var in, masks []ref
	for i, to := range []*bool{&attr.MaskA, &attr.MaskB} {
		factor := n.in[i]
		if l.masked[factor] {
			*to = true
			masks = append(masks, refTo(factor.in[0]).as3D())
			factor = factor.in[1]
		}
		in = append(in, refTo(factor).as3D())
	}
	return attr, append(in, masks...)
}

func refsTo(nodes []*Node) []ref {
	list := make([]ref, len(nodes))
	for i, n := range nodes {
		list[i] = refTo(n)
	}
	return list
}

// part is a window of n that starts at index `at` of an axis.
func part(n *Node, axis, at int, shape []int) ref {
	r := refTo(n)
	if device.Size(shape) > 0 {
		r.off += at * r.strides[axis]
	}
	r.shape = shape
	return r
}

// emitGroup emits a Map, a Reduce, or the Gemm or Conv whose epilogue the group is.
func (l *lowering) emitGroup(g *group) {
	outs := l.outputs(g)
	if len(outs) == 0 {
		return
	}
	b := l.express(g)
	s := step{in: b.refs}
	for _, n := range outs {
		s.out = append(s.out, refTo(n))
	}
	space := slices.Clone(g.space)
	switch {
	case g.producer != nil:
		p := producers[g.producer.op]
		for _, i := range g.producer.in {
			l.need(i)
		}
		attr, operands := p.operands(l, g.producer)
		for i := range s.in {
			s.in[i] = p.window(s.in[i])
		}
		s.out[0] = p.window(s.out[0])
		shiftAxes(&b.e, len(s.out[0].shape)-len(space))
		s.op, s.attr = p.op, attr.WithEpilogue(&b.e)
		s.in = append(operands, s.in[1:]...)
	case g.reductions() > 0:
		a := device.ReduceAttr{Shape: space, Expr: &b.e, Axes: g.axes}
		for _, n := range outs {
			if n.op == opReduce {
				a.Kinds = append(a.Kinds, n.kind)
			}
		}
		s.op, s.attr = device.Reduce, a
	default:
		s.op, s.attr = device.Map, device.MapAttr{Shape: space, Expr: &b.e}
	}
	for _, r := range s.in {
		l.need(r.store)
	}
	l.steps = append(l.steps, s)
}

// shiftAxes renumbers the axes along which Iota counts, where a window has put `by` axes before them.
func shiftAxes(e *expr.Expr, by int) {
	for i := range e.Steps {
		if e.Steps[i].Fn == expr.Iota {
			e.Steps[i].Arg += by
		}
	}
}
