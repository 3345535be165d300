package tensor

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// fold evaluates what is constant, writes x + x as 2·x and x^p in elementwise functions, and drops what changes
// nothing: x·1, x+0, x/1, --x, views of constants, slices of one part of a concatenation, gradient stops
// (differentiation is over when programs are compiled). It never rewrites x·0, which is not 0 for infinite or NaN x,
// and leaves Random alone.
//
// It computes in float64 what a device may compute in float32, so it evaluates only what comes to the same in both but
// for rounding: results that float32 holds with full precision (fits), of functions without jumps or of arguments that
// are the same number in both.
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
				if s := c * float64(n.in[0].Size()) / float64(max(1, n.Size())); fits(c, s) {
					return Full(s, n.shape...)
				}
			}
		case opSlice:
			return foldSlice(n)
		case opPow:
			return composePow(n.in[0], n.num)
		case opGuarded:
			return composeGuarded(n)
		case opCentre:
			return composeCentre(n)
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
			c := info.Eval(args[0], args[1], args[2])
			if fits(c, args[0], args[1], args[2]) && (!jumps[n.fn] || allSingle(args[:])) {
				return Full(c, n.shape...)
			}
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

// fits says whether float32 holds all numbers up to rounding: each is 0, or normal, neither overflowing nor losing
// digits below. Infinities and NaN are left to the device too, since a finite computation may have led to them.
func fits(list ...float64) bool {
	for _, c := range list {
		if c = math.Abs(c); c != 0 && !(c >= 0x1p-126 && c <= math.MaxFloat32) {
			return false
		}
	}
	return true
}

// jumps lists the functions that tell numbers apart which float32 does not.
var jumps = [expr.NumFn]bool{
	expr.Sign: true, expr.Floor: true, expr.Lt: true, expr.Le: true, expr.Eq: true, expr.Where: true,
}

// allSingle says whether all numbers are float32 numbers, or NaN.
func allSingle(list []float64) bool {
	return !slices.ContainsFunc(list, func(c float64) bool { return float64(float32(c)) != c && !math.IsNaN(c) })
}

// foldFactors turns c·(d·x) into (c·d)·x where float32 holds c·d.
func foldFactors(n *Node) *Node {
	for i := range 2 {
		c, ok := n.in[i].isConst()
		inner := n.in[1-i]
		if !ok || inner.op != opElem || inner.fn != expr.Mul {
			continue
		}
		for j := range 2 {
			if d, ok := inner.in[j].isConst(); ok && fits(c, d, c*d) && c*d != 0 {
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
