package tensor

import "bilevel/internal/expr"

// A masked network computes with z = m ⊙ w, where m and w are variables, or what variables become. Stored, z would be
// one more array of the size of all weights, written and read again in every step. A product can multiply m and w
// itself while it reads its operand, in whatever order the operand is read (device.GemmAttr.MaskA, MaskB):
//
//	forward   x·(m ⊙ w)ᵀ,   backward   δ·(m ⊙ w)
//
// But products read parts of z: weights are windows of one flat vector, and the way forward reads them transposed. The
// pass sinkViews writes a view of m ⊙ w as the product of the views, so that every reader sees a product of two
// variables; views cost nothing. Afterwards (fusion.masks) each of these that only products read is left to them, and
// the others, of biases say, are part of the elementwise groups that read them.

// masksOf gives m ⊙ w, both in memory, that some matrix product reads as a factor, through views or as it is, and that
// is not itself asked for. stored are the nodes beside variables that are in memory anyway.
func masksOf(outs []*Node, stored map[*Node]bool) map[*Node]bool {
	masks := make(map[*Node]bool)
	walk(outs, func(n *Node) {
		if n.op != opMatMul {
			return
		}
		for _, in := range n.in {
			if s := storageOf(in); isMask(s, stored) {
				masks[s] = true
			}
		}
	})
	for _, o := range outs {
		delete(masks, storageOf(o))
	}
	return masks
}

// isMask says whether n is a product of two arrays in memory, each as it is or seen through views.
func isMask(n *Node, stored map[*Node]bool) bool {
	inMemory := func(n *Node) bool {
		s := storageOf(n)
		return s.op == opVar || stored[s]
	}
	return n.op == opElem && n.fn == expr.Mul && n.typ == Real && inMemory(n.in[0]) && inMemory(n.in[1])
}

// sinkViews turns views of m ⊙ w into products of views, where strides can express these.
func sinkViews(outs []*Node) []*Node {
	stored := make(map[*Node]bool)
	for _, o := range outs {
		stored[storageOf(o)] = true
	}
	masks := masksOf(outs, stored)
	if len(masks) == 0 {
		return outs
	}
	sunk := make(map[*Node]bool) // the products as they are now
	return rewrite(outs, func(old, now *Node) *Node {
		if masks[old] {
			sunk[now] = true
		}
		if !isView(now) || !sunk[now.in[0]] {
			return now
		}
		p := now.in[0]
		m, w := now.with(p.in[:1]), now.with(p.in[1:])
		for _, v := range []*Node{m, w} {
			if _, _, ok := viewOf(v); !ok {
				return now
			}
		}
		product := newNode(Node{op: opElem, fn: expr.Mul, shape: now.shape, in: []*Node{m, w}})
		sunk[product] = true
		return product
	})
}

// masks finds m ⊙ w of which m and w are in memory and which nothing but products reads: they compute it.
func (f *fusion) masks() {
	for _, n := range f.order {
		if n.op != opMatMul {
			continue
		}
		for _, p := range n.in {
			if isMask(p, f.roots) && !f.roots[p] && f.onlyProducts(p) {
				f.masked[p] = true
			}
		}
	}
}

// onlyProducts says whether all who read p are matrix products that read it as it is: views of it are readers, too.
func (f *fusion) onlyProducts(p *Node) bool {
	for _, u := range f.users[p] {
		if u.op != opMatMul {
			return false
		}
	}
	return true
}
