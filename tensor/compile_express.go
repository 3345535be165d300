package tensor

import (
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// builder writes a group as one expression.
type builder struct {
	f      *fusion
	g      *group
	e      expr.Expr
	values map[*Node]int
	refs   []ref // the windows that it loads
	loads  []int // and the steps that load them
}

// express writes what a group computes, its outputs in order.
func (f *fusion) express(g *group) *builder {
	b := &builder{f: f, g: g, values: map[*Node]int{}}
	if g.producer != nil {
		b.values[g.producer] = b.input(refTo(g.producer)) // the product is input 0
	}
	for _, n := range f.outputs(g) {
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
	mine := n == s && (b.f.group(n) == b.g && n.op == opElem || b.f.recomputed[n])
	if !mine && !b.f.inlined(n, s) {
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

// input gives the number of the step that loads a window. However often a window is read, it is loaded once.
func (b *builder) input(r ref) int {
	if device.Size(r.shape) == 1 { // a single number is read at every point
		r.shape, r.strides = slices.Clone(b.g.space), make([]int, len(b.g.space))
	}
	same := func(o ref) bool { return o.store == r.store && o.off == r.off && slices.Equal(o.strides, r.strides) }
	if i := slices.IndexFunc(b.refs, same); i >= 0 {
		return b.loads[i]
	}
	v := b.step(expr.Step{Fn: expr.Input, Arg: len(b.refs)})
	b.refs, b.loads = append(b.refs, r), append(b.loads, v)
	return v
}
