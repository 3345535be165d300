package tensor

import (
	"fmt"
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
	done  map[any]bool // nodes and groups that have their step
}

// lower orders and emits the instructions that store the roots.
func lower(f *fusion, roots []*Node) []step {
	l := &lowering{fusion: f, done: map[any]bool{}}
	for _, r := range roots {
		l.need(r)
	}
	return l.steps
}

// need makes sure that the step which stores a node has been emitted.
func (l *lowering) need(n *Node) {
	n = storageOf(n)
	if len(n.in) == 0 && n.op != opElem || l.masked[n] {
		return
	}
	g := l.group[n]
	var key any = n
	if g != nil {
		key = g
	}
	if l.done[key] {
		return
	}
	l.done[key] = true
	if g != nil {
		l.emitGroup(g)
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

// emitters has one row per computing operation outside groups.
var emitters = map[op]func(*lowering, *Node){
	opMatMul: func(l *lowering, n *Node) {
		attr, in := l.operands(n)
		l.emit(device.Gemm, attr, refTo(n).as3D(), in...)
	},
	opSoftmax: func(l *lowering, n *Node) {
		in := make([]ref, len(n.in))
		for i, p := range n.in {
			in[i] = refTo(p)
		}
		l.emit(device.RowSoftmax, device.SoftmaxAttr{Kind: n.soft}, refTo(n), in...)
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
		l.emit(device.Select, device.SelectAttr{Kind: device.ArgMax}, refTo(n), refTo(n.in[0]))
	},
	opKth: func(l *lowering, n *Node) {
		in := make([]ref, len(n.in))
		for i, p := range n.in {
			in[i] = refTo(p)
		}
		l.emit(device.Select, device.SelectAttr{Kind: device.KthLargest}, refTo(n), in...)
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

// operands are what a MatMul reads: A and B, or A, w and m where B is m ⊙ w.
func (l *lowering) operands(n *Node) (device.GemmAttr, []ref) {
	A, B := n.in[0], n.in[1]
	if l.masked[B] {
		return device.GemmAttr{MaskB: true}, []ref{refTo(A).as3D(), refTo(B.in[1]).as3D(), refTo(B.in[0]).as3D()}
	}
	return device.GemmAttr{}, []ref{refTo(A).as3D(), refTo(B).as3D()}
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

// emitGroup emits a Map, a Reduce, or the Gemm whose epilogue the group is.
func (l *lowering) emitGroup(g *group) {
	outs := l.outputs(g)
	if len(outs) == 0 {
		return
	}
	b := l.express(g, outs)
	s := step{in: b.refs}
	for _, n := range outs {
		s.out = append(s.out, refTo(n))
	}
	space := slices.Clone(g.space)
	switch {
	case g.matmul != nil:
		l.need(g.matmul.in[0])
		l.need(g.matmul.in[1])
		attr, operands := l.operands(g.matmul)
		for i := range s.in {
			s.in[i] = s.in[i].as3D()
		}
		shift3D(&b.e, len(space))
		attr.Epilogue = &b.e
		s.op, s.attr = device.Gemm, attr
		s.out[0] = s.out[0].as3D()
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

// shift3D renumbers the axes that Iota counts when a matrix gains a leading axis.
func shift3D(e *expr.Expr, rank int) {
	for i := range e.Steps {
		if e.Steps[i].Fn == expr.Iota && rank == 2 {
			e.Steps[i].Arg++
		}
	}
}

// builder writes a group as one expression.
type builder struct {
	f      *fusion
	g      *group
	e      expr.Expr
	values map[*Node]int
	inputs map[string]int
	refs   []ref
}

// express writes what a group computes for some of its nodes.
func (f *fusion) express(g *group, outs []*Node) *builder {
	b := &builder{f: f, g: g, values: map[*Node]int{}, inputs: map[string]int{}}
	if g.matmul != nil {
		b.values[g.matmul] = b.input(refTo(g.matmul)) // the product is input 0
	}
	for _, n := range outs {
		if n.op == opReduce {
			n = n.in[0]
		}
		b.e.Outs = append(b.e.Outs, b.value(n))
	}
	return b
}

func (b *builder) step(s expr.Step) int {
	b.e.Steps = append(b.e.Steps, s)
	return len(b.e.Steps) - 1
}

// value gives the number of a node's value inside the expression.
func (b *builder) value(n *Node) int {
	if v, ok := b.values[n]; ok {
		return v
	}
	v := b.compute(n)
	b.values[n] = v
	return v
}

func (b *builder) compute(n *Node) int {
	if c, ok := n.isConst(); ok && n.typ == Real {
		return b.step(expr.Step{Fn: expr.Const, Const: c})
	}
	s := storageOf(n)
	mine := n == s && (b.f.group[n] == b.g && n.op == opElem || b.f.again[n])
	if !mine && !inlined(n, s) {
		return b.input(refTo(n))
	}
	if s.fn == expr.Iota {
		if s.Size() == 1 { // its axis need not exist here
			return b.step(expr.Step{Fn: expr.IConst})
		}
		return b.step(expr.Step{Fn: expr.Iota, Arg: s.ints[0]})
	}
	st := expr.Step{Fn: s.fn, Const: s.num} // num is that of an IConst
	for i, in := range s.in {
		st.Args[i] = b.value(in)
	}
	return b.step(st)
}

// input loads a window, once however often it is read.
func (b *builder) input(r ref) int {
	if device.Size(r.shape) == 1 { // a single number is read at every point
		r.shape, r.strides = slices.Clone(b.g.space), make([]int, len(b.g.space))
	}
	key := fmt.Sprintf("%p %d %v", r.store, r.off, r.strides)
	if v, ok := b.inputs[key]; ok {
		return v
	}
	v := b.step(expr.Step{Fn: expr.Input, Arg: len(b.refs)})
	b.inputs[key] = v
	b.refs = append(b.refs, r)
	return v
}
