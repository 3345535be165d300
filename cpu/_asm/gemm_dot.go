package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dotShapes lists the kernels of products with few columns, whose vectors run along k: for each number of columns as
// many rows as leave registers for a vector of each row and one of B, and a single row for what is left.
func (s registers) dotShapes() []tileShape {
	rows := s.dotRows()
	var list []tileShape
	for cols := 1; cols < len(rows); cols++ {
		if rows[cols] > 1 {
			list = append(list, tileShape{1, cols})
		}
		list = append(list, tileShape{rows[cols], cols})
	}
	return list
}

// dotRows lists the most rows by columns. A kernel of one row would load a vector of B for each product, more than the
// processor's two a cycle: 64×784·784×10 takes 13.2 µs with one row and ten columns, 12.0 with two and five (Zen 3).
func (s registers) dotRows() []int {
	if s.lanes == 8 {
		return []int{1: 6, 4, 3, 2, 2, 2}
	}
	return []int{1: 8, 8, 7, 6, 4, 4, 3, 3, 2, 2, 2, 2}
}

// dotKernel is the state of one such kernel while it is written. vecs of the shape are its columns.
type dotKernel struct {
	*tileKernel
	at reg.GPVirtual // byte offset of the term
}

// dots writes the kernel of so many rows and columns.
func dots(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("dots%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(groups, k int, a *float32, rs int, b *float32, ldb int, c *float32, ldc int, add bool)")
	if t.rows == 1 && t.vecs == 1 {
		c.Doc(
			fmt.Sprintf("dotsRxN%s computes c[i·ldc + j] (+)= Σ_q a[i·rs + q] · b[j·ldb + q] for i < groups·R, j < N "+
				"and q < k, all at least 1;", s.name),
			"it adds where add is set. Each sum is one of as many sums as a vector has lanes, added "+
				"pairwise at the end.")
	}
	k := &dotKernel{tileKernel: &tileKernel{Context: c, registers: s, tileShape: t}, at: c.GP64()}
	whole := k.beforeLast("k")

	c.Label("group")
	k.clear()
	a, b := k.walkRows("a", "rs", k.rows), k.walkRows("b", "ldb", k.vecs)
	k.alongK(a, b, whole, nil)

	add := c.GP8()
	c.Load(c.Param("add"), add)
	k.putSums(add)
	next, rs := k.argument("a"), k.stride("rs")
	for range k.rows {
		k.ADDQ(rs, next)
	}
	k.nextGroup()
}

// alongK adds the products of a group, vector by vector; ask says what is asked for meanwhile.
func (k *dotKernel) alongK(a, b *rowsAt, whole reg.GPVirtual, ask []Mem) {
	k.XORQ(k.at, k.at)
	k.CMPQ(k.at, whole)
	k.JGE(LabelRef("last"))
	k.Label("loop")
	for _, m := range ask {
		k.PREFETCHT1(m)
	}
	k.term(a, b, false)
	a.step(k)
	b.step(k)
	k.ADDQ(U8(k.bytes()), k.at)
	k.CMPQ(k.at, whole)
	k.JLT(LabelRef("loop"))
	k.Label("last")
	k.term(a, b, true)
}

// clear makes all sums zero.
func (k *dotKernel) clear() {
	for i := range k.rows * k.vecs {
		k.zero(k.registers.at(i))
	}
}

// putSums stores the sums of a group at c, or adds them where add is set, and moves c on.
func (k *dotKernel) putSums(add reg.Register) {
	to, ldc := k.GP64(), k.stride("ldc")
	k.Load(k.Param("c"), to)
	for i := range k.rows {
		for j := 0; j < k.vecs; j += 4 {
			k.finish(i, j, min(4, k.vecs-j), add, to)
		}
		k.ADDQ(ldc, to)
	}
	k.MOVQ(to, k.argument("c"))
}

// nextGroup goes on with the next group, or ends the kernel after the last.
func (k *dotKernel) nextGroup() {
	k.DECQ(k.argument("groups"))
	k.JNZ(LabelRef("group"))
	k.VZEROUPPER()
	k.RET()
}

// rowsAt addresses rows of a matrix at the current term: four to a pointer.
type rowsAt struct {
	each        bool // a pointer to each row
	base        []reg.GPVirtual
	stride, by3 reg.GPVirtual
}

// walkRows makes the addresses of the first term of some rows.
func (k *dotKernel) walkRows(matrix, stride string, rows int) *rowsAt {
	w := &rowsAt{base: []reg.GPVirtual{k.GP64()}}
	k.Load(k.Param(matrix), w.base[0])
	if rows == 1 {
		return w
	}
	w.stride = k.stride(stride)
	if rows > 3 {
		w.by3 = k.GP64()
		k.LEAQ(Mem{Base: w.stride, Index: w.stride, Scale: 2}, w.by3)
	}
	for 4*len(w.base) < rows {
		next := k.GP64()
		k.LEAQ(Mem{Base: w.base[len(w.base)-1], Index: w.stride, Scale: 4}, next)
		w.base = append(w.base, next)
	}
	return w
}

// row is the address of row i.
func (w *rowsAt) row(i int) Mem {
	if w.each {
		return Mem{Base: w.base[i]}
	}
	m := Mem{Base: w.base[i/4]}
	switch i % 4 {
	case 1, 2:
		m.Index, m.Scale = w.stride, uint8(i%4)
	case 3:
		m.Index, m.Scale = w.by3, 1
	}
	return m
}

// step moves on by a vector.
func (w *rowsAt) step(k *dotKernel) {
	for _, p := range w.base {
		k.ADDQ(U8(k.bytes()), p)
	}
}

// Registers: sums first, then a vector of each row of A, then one of B.
func (k *dotKernel) rowA(i int) reg.VecPhysical { return k.registers.at(k.rows*k.vecs + i) }
func (k *dotKernel) temp() reg.VecPhysical      { return k.registers.at(k.rows*k.vecs + k.rows) }

// term adds a vector of terms to all sums.
func (k *dotKernel) term(a, b *rowsAt, last bool) {
	for i := range k.rows {
		k.load(a.row(i), k.rowA(i), last)
	}
	k.multiply(b, last)
}

// multiply adds the products of the loaded vectors of A with a vector of each column of B.
func (k *dotKernel) multiply(b *rowsAt, last bool) {
	for j := range k.vecs {
		if k.rows == 1 && !last {
			k.VFMADD231PS(b.row(j), k.rowA(0), k.sum(0, j))
			continue
		}
		k.load(b.row(j), k.temp(), last)
		for i := range k.rows {
			k.VFMADD231PS(k.temp(), k.rowA(i), k.sum(i, j))
		}
	}
}

// finish adds the lanes of n ≤ 4 neighbouring sums of row i and stores them, or adds them, at column j.
func (k *dotKernel) finish(i, j, n int, add reg.Register, to reg.GPVirtual) {
	t, a := k.temp(), k.sum(i, j)
	pair := func(a, b reg.VecPhysical) { // a ← a0+a2, b0+b2, a1+a3, b1+b3 in each 128 bits
		k.VUNPCKLPS(b, a, t)
		k.VUNPCKHPS(b, a, a)
		k.VADDPS(t, a, a)
	}
	switch n {
	case 1:
		k.halves(a, t)
		k.VMOVHLPS(a.AsX(), t.AsX(), t.AsX())
		k.VADDPS(t.AsX(), a.AsX(), a.AsX())
		k.VMOVSHDUP(a.AsX(), t.AsX())
		k.VADDSS(t.AsX(), a.AsX(), a.AsX())
	case 2:
		pair(a, k.sum(i, j+1))
		k.halves(a, t)
		k.VMOVHLPS(a.AsX(), t.AsX(), t.AsX())
		k.VADDPS(t.AsX(), a.AsX(), a.AsX())
	default:
		c := k.sum(i, j+2)
		pair(a, k.sum(i, j+1))
		pair(c, k.sum(i, j+n-1)) // of three, the third with itself
		k.VUNPCKLPD(c, a, t)
		k.VUNPCKHPD(c, a, a)
		k.VADDPS(t, a, a)
		k.halves(a, t)
	}
	m := Mem{Base: to, Disp: 4 * j}
	third := Mem{Base: to, Disp: 4*j + 8}
	set := fmt.Sprintf("set%d_%d", i, j)
	k.TESTB(add, add)
	k.JZ(LabelRef(set))
	switch n {
	case 1:
		k.VADDSS(m, a.AsX(), a.AsX())
	case 4:
		k.VADDPS(m, a.AsX(), a.AsX())
	default:
		k.VMOVSD(m, t.AsX())
		if n == 3 {
			k.VINSERTPS(U8(0x20), third, t.AsX(), t.AsX())
		}
		k.VADDPS(t.AsX(), a.AsX(), a.AsX())
	}
	k.Label(set)
	switch n {
	case 1:
		k.VMOVSS(a.AsX(), m)
	case 4:
		k.VMOVUPS(a.AsX(), m)
	default:
		k.VMOVLPS(a.AsX(), m)
		if n == 3 {
			k.VEXTRACTPS(U8(2), a.AsX(), third)
		}
	}
}

// halves adds the upper half of a register to the lower one until 128 bits are left.
func (k *dotKernel) halves(r, temp reg.VecPhysical) {
	if k.lanes == 16 {
		k.VEXTRACTF64X4(U8(1), r, temp.AsY())
		k.VADDPS(temp.AsY(), r.AsY(), r.AsY())
		k.VEXTRACTF32X4(U8(1), r.AsY(), temp.AsX()) // unlike VEXTRACTF128 it reaches registers from 16 on
	} else {
		k.VEXTRACTF128(U8(1), r.AsY(), temp.AsX())
	}
	k.VADDPS(temp.AsX(), r.AsX(), r.AsX())
}
