package tensor

import (
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// fold evaluates what is constant, writes x + x as 2·x, and drops what changes nothing: x·1, x+0, x/1, --x, views of constants, slices of one
// part of a concatenation, gradient stops (differentiation is over when programs are compiled). It never rewrites x·0,
// which is not 0 for infinite or NaN x, and leaves Random alone.
func fold(outs []*Node) []*Node {
	return rewrite(outs, func(_, n *Node) *Node {
		if n.op == opStop {
			return n.in[0]
		}
		if c, ok := n.isConst(); ok && n.typ == Real {
			return Full(c, n.shape...)
		}
		switch n.op {
		case opElem:
			return foldElem(n)
		case opReduce:
			if c, ok := n.in[0].isConst(); ok && n.kind == device.Sum {
				if n.in[0].Size() == 0 {
					c = 0 // a sum of no terms, were they infinite
				}
				return Full(c*float64(n.in[0].Size())/float64(max(1, n.Size())), n.shape...)
			}
		case opSlice:
			return foldSlice(n)
		case opReshape: // a reshape of a reshape
			return n.in[0].Reshape(n.shape...)
		}
		return n
	})
}

// foldSlice takes a slice that lies in one part of a concatenation from that part.
func foldSlice(n *Node) *Node {
	axis, from, to := n.ints[0], n.ints[1], n.ints[2]
	in := n.in[0]
	if in.op != opConcat || in.ints[0] != axis {
		return n
	}
	at := 0
	for _, p := range in.in {
		d := p.shape[axis]
		if from >= at && to <= at+d && from < to {
			return p.Slice(axis, from-at, to-at)
		}
		at += d
	}
	return n
}

func foldElem(n *Node) *Node {
	info := &expr.Table[n.fn]
	if info.Eval != nil {
		if args, ok := constants(n.in); ok {
			return Full(info.Eval(args[0], args[1], args[2]), n.shape...)
		}
	}
	is := func(i int, want float64) bool {
		c, ok := n.in[i].isConst()
		return ok && c == want
	}
	switch n.fn {
	case expr.Add:
		if n.in[0] == n.in[1] {
			return n.in[0].Scale(2)
		}
		if is(0, 0) {
			return n.in[1]
		}
		if is(1, 0) {
			return n.in[0]
		}
	case expr.Sub:
		if is(1, 0) {
			return n.in[0]
		}
		if is(0, 0) {
			return n.in[1].Neg()
		}
		if n.in[1].op == opElem && n.in[1].fn == expr.Neg {
			return n.in[0].Add(n.in[1].in[0])
		}
	case expr.Mul:
		if is(0, 1) {
			return n.in[1]
		}
		if is(1, 1) {
			return n.in[0]
		}
		if m := foldFactors(n); m != nil {
			return m
		}
	case expr.Div:
		if is(1, 1) {
			return n.in[0]
		}
	case expr.Neg:
		if in := n.in[0]; in.op == opElem && in.fn == expr.Neg {
			return in.in[0]
		}
	}
	return sinkExpand(n)
}

// foldFactors turns c·(d·x) into (c·d)·x.
func foldFactors(n *Node) *Node {
	for i := range 2 {
		c, ok := n.in[i].isConst()
		inner := n.in[1-i]
		if !ok || inner.op != opElem || inner.fn != expr.Mul {
			continue
		}
		for j := range 2 {
			if d, ok := inner.in[j].isConst(); ok {
				return inner.in[1-j].Mul(Full(c*d, n.shape...))
			}
		}
	}
	return nil
}

func constants(in []*Node) (args [3]float64, ok bool) {
	if len(in) == 0 {
		return args, false
	}
	for i, p := range in {
		if args[i], ok = p.isConst(); !ok || p.typ != Real {
			return args, false
		}
	}
	return args, true
}

// sinkExpand computes before broadcasting what would be computed alike at every repeated point.
func sinkExpand(n *Node) *Node {
	var small []int
	for _, in := range n.in {
		if _, ok := in.isConst(); ok {
			continue
		}
		if in.op != opExpand || small != nil && !slices.Equal(small, in.in[0].shape) {
			return n
		}
		small = in.in[0].shape
	}
	if small == nil {
		return n
	}
	args := make([]*Node, len(n.in))
	for i, in := range n.in {
		if c, ok := in.isConst(); ok {
			args[i] = Const(c)
			if in.typ == Int {
				return n
			}
		} else {
			args[i] = in.in[0]
		}
	}
	m := elem(n.fn, args...)
	if !slices.Equal(m.shape, small) {
		return n
	}
	return m.Expand(n.shape...)
}
