package tensor

import (
	"math"
	"slices"
)

// Grad is the gradient of a node of one element with respect to nodes it depends on, by reverse mode:
// one node of the shape of each wrt. It can be differentiated again.
func Grad(y *Node, wrt ...*Node) []*Node {
	if y.Size() != 1 || y.typ != Real {
		fail("Grad", "wants one Real number, got %s %v", y.typ, y.shape)
	}
	return VJP([]*Node{y}, wrt, []*Node{Full(1, y.shape...)})
}

// VJP is Jᵀc for the Jacobian J of outs with respect to wrt and a cotangent c of the shape of each out
// (nil is zero): one node of the shape of each wrt.
func VJP(outs, wrt, cotangents []*Node) []*Node {
	if len(cotangents) != len(outs) {
		fail("VJP", "%d outputs with %d cotangents", len(outs), len(cotangents))
	}
	active := dependents(outs, wrt)
	parts := make(map[*Node][]*Node) // contributions to a node's cotangent
	for i, o := range outs {
		if c := cotangents[i]; c != nil {
			c.want("VJP", Real)
			if !slices.Equal(c.shape, o.shape) {
				fail("VJP", "output %v with cotangent %v", o.shape, c.shape)
			}
			parts[o] = append(parts[o], c)
		}
	}
	var order []*Node
	walkFrom(leastDepth(wrt), outs, func(n *Node) { order = append(order, n) })
	sums := make(map[*Node]*Node)
	for _, n := range slices.Backward(order) {
		if !active[n] || len(parts[n]) == 0 {
			continue
		}
		g := accumulate(parts[n])
		sums[n] = g
		if rules[n.op].vjp == nil || slices.Contains(wrt, n) { // a wrt stands for itself, whatever lies below it
			continue
		}
		need := make([]bool, len(n.in))
		for i, in := range n.in {
			need[i] = active[in]
		}
		for i, c := range rules[n.op].vjp(n, g, need) {
			if c != nil && need[i] {
				parts[n.in[i]] = append(parts[n.in[i]], passSelection(n, c, g))
			}
		}
	}
	out := make([]*Node, len(wrt))
	for i, w := range wrt {
		if out[i] = sums[w]; out[i] == nil {
			out[i] = Zeros(w.shape...)
		}
	}
	return out
}

// leastDepth bounds the walks of derivatives from below: the gradient with respect to the last of many unrolled steps
// looks at that step only.
func leastDepth(wrt []*Node) int {
	least := math.MaxInt
	for _, w := range wrt {
		least = min(least, w.depth)
	}
	return least
}

// dependents marks the nodes under outs that depend on one of wrt.
func dependents(outs, wrt []*Node) map[*Node]bool {
	active := make(map[*Node]bool)
	for _, w := range wrt {
		w.want("derivative", Real)
		active[w] = true
	}
	walkFrom(leastDepth(wrt), outs, func(n *Node) {
		if rules[n.op].jvp == nil || active[n] { // leaves and what is not differentiable stop here
			return
		}
		if slices.ContainsFunc(n.in, func(i *Node) bool { return active[i] }) {
			active[n] = true
		}
	})
	return active
}

// accumulate adds the contributions to a cotangent. Contributions that are zero outside disjoint ranges of one axis, as
// the gradients of the parts of a flat parameter vector are, are concatenated instead: k of them cost one pass over
// memory and not k.
func accumulate(parts []*Node) *Node {
	var pads, rest []*Node
	axis := -1
	for _, p := range parts {
		if p.op == opPad && (axis < 0 || p.ints[0] == axis) {
			axis = p.ints[0]
			pads = append(pads, p)
		} else {
			rest = append(rest, p)
		}
	}
	slices.SortStableFunc(pads, func(a, b *Node) int { return a.ints[1] - b.ints[1] })
	var row []*Node // a run of disjoint pieces with zeros between
	at := 0
	for _, p := range pads {
		before, core := p.ints[1], p.in[0]
		if before < at { // overlaps the piece before: add it on its own
			rest = append(rest, p)
			continue
		}
		if before > at {
			row = append(row, gap(p, axis, before-at))
		}
		row = append(row, core)
		at = before + core.shape[axis]
	}
	if len(pads) > 0 {
		if end := pads[0].shape[axis]; at < end {
			row = append(row, gap(pads[0], axis, end-at))
		}
		rest = append(rest, Concat(axis, row...))
	}
	var sum *Node
	for _, p := range rest {
		sum = plus(sum, p)
	}
	return sum
}

// passSelection marks d, the derivative that the rule of n made of others, as selected if one of those is. Only
// products of matrices and convolutions end it: they mix all of a row.
func passSelection(n, d *Node, from ...*Node) *Node {
	mixes := n.op == opMatMul || n.op == opConv
	if !mixes && slices.ContainsFunc(from, func(f *Node) bool { return f != nil && f.selected }) {
		d.selected = true
	}
	return d
}

func gap(like *Node, axis, length int) *Node {
	shape := slices.Clone(like.shape)
	shape[axis] = length
	return Zeros(shape...)
}

// JVP is J·t for the Jacobian J of outs with respect to wrt along a tangent t of the shape of each wrt (nil is
// zero), by forward mode: one node of the shape of each out.
func JVP(outs, wrt, tangents []*Node) []*Node {
	if len(wrt) != len(tangents) {
		fail("JVP", "%d variables with %d tangents", len(wrt), len(tangents))
	}
	t := make(map[*Node]*Node)
	for i, w := range wrt {
		w.want("JVP", Real)
		if c := tangents[i]; c != nil {
			c.want("JVP", Real)
			if !slices.Equal(c.shape, w.shape) {
				fail("JVP", "variable %v with tangent %v", w.shape, c.shape)
			}
			t[w] = plus(t[w], c)
		}
	}
	walkFrom(leastDepth(wrt), outs, func(n *Node) {
		if rules[n.op].jvp == nil || slices.Contains(wrt, n) {
			return
		}
		in := make([]*Node, len(n.in))
		any := false
		for i, p := range n.in {
			in[i] = t[p]
			any = any || in[i] != nil
		}
		if any {
			if d := rules[n.op].jvp(n, in); d != nil {
				t[n] = passSelection(n, d, in...)
			}
		}
	})
	out := make([]*Node, len(outs))
	for i, o := range outs {
		if out[i] = t[o]; out[i] == nil {
			out[i] = Zeros(o.shape...)
		}
	}
	return out
}

// HVP is the Hessian-vector product ∇²f v of a scalar f, as the derivative of its gradient along v.
func HVP(f *Node, wrt, v []*Node) []*Node { return JVP(Grad(f, wrt...), wrt, v) }

// Depends tells whether out has a derivative with respect to in that the graph does not show to be zero: whether
// differentiable operations lead from in to out.
func Depends(out, in *Node) bool { return dependents([]*Node{out}, []*Node{in})[out] }
