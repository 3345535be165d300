package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Kernels whose rows are found by a list of places in a table, so that a minibatch need not be copied together. What
// comes next in the list they ask for while they work: a row that nobody has read lately is far off, and the processor
// does not guess it.

// leastDotRows is the fewest columns of a kernel along k with such rows: with fewer there are more rows than address
// registers.
func (s registers) leastDotRows() int {
	if s.lanes == 8 {
		return 4
	}
	return 7
}

// dotRows writes the kernel along k of so many rows and columns.
func dotRows(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("dotRows%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(groups, k int, rows *int, table *float32, b *float32, ldb int, c *float32, ldc int, add " +
		"bool)")
	if t.vecs == s.leastDotRows() && t.rows == 1 {
		c.Doc(
			fmt.Sprintf("dotRowsRxN%s computes c[i·ldc + j] (+)= Σ_q table[rows[i] + q] · b[j·ldb + q] for i < "+
				"groups·R, j < N and q < k, all at least 1.", s.name),
			"it adds where add is set. R more rows of the list are asked for. Each sum is that of dotsRxN.")
	}
	k := &dotKernel{tileKernel: &tileKernel{Context: c, registers: s, tileShape: t}, at: c.GP64()}
	whole := k.beforeLast("k")

	c.Label("group")
	k.clear()
	list, table := c.GP64(), c.GP64()
	c.Load(c.Param("rows"), list)
	c.Load(c.Param("table"), table)
	a, ask := &rowsAt{each: true}, []Mem(nil)
	for i := range t.rows {
		row, next := c.GP64(), c.GP64()
		k.rowAt(list, i, table, row)
		k.rowAt(list, t.rows+i, table, next)
		a.base, ask = append(a.base, row), append(ask, Mem{Base: next, Index: k.at, Scale: 1})
	}
	c.ADDQ(U8(8*t.rows), list)
	c.MOVQ(list, k.argument("rows"))
	b := k.walkRows("b", "ldb", t.vecs)
	k.alongK(a, b, whole, ask)
	add := c.GP8()
	c.Load(c.Param("add"), add)
	k.putSums(add)
	k.nextGroup()
}

// rowAt makes the address of row number i of a list.
func (k *tileKernel) rowAt(list reg.GPVirtual, i int, table, to reg.GPVirtual) {
	k.MOVQ(Mem{Base: list, Disp: 8 * i}, to)
	k.LEAQ(Mem{Base: table, Index: to, Scale: 4}, to)
}

// nextRows is how many rows ahead tileRows asks for.
const nextRows = 8

// tileRows writes the kernel of so many rows of A whose rows of B are in a list, as wide as is fastest.
func tileRows(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("tileRows%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(k int, a *float32, rs, cs int, rows *int, table *float32, c *float32, ldc, strips int)")
	if t.rows == 1 {
		c.Doc(
			fmt.Sprintf("tileRowsRxV%s computes c[i,j] = Σ_q a[i·rs + q·cs] · table[rows[q] + j] for i < R, q < k "+
				"and j < n, with the rows of c ldc", s.name),
			fmt.Sprintf("apart; n is strips times V vectors of %d columns. %d more rows of the list are asked for. "+
				"Each sum is that of gemmRxV.", s.lanes, nextRows))
	}
	k := &tileKernel{Context: c, registers: s, tileShape: t}
	c.Label("strip")
	k.prefetchC()
	k.addressA()
	list, table, n := c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("rows"), list)
	c.Load(c.Param("table"), table)
	c.Load(c.Param("k"), n)
	cs := k.stride("cs")
	for i := range t.rows * t.vecs {
		k.zero(s.at(i))
	}
	k.b = c.GP64()
	next := c.GP64()
	c.Label("term")
	k.rowAt(list, 0, table, k.b)
	k.rowAt(list, nextRows, table, next)
	c.ADDQ(U8(8), list)
	for v := range t.vecs {
		k.load(Mem{Base: k.b, Disp: s.bytes() * v}, k.rowB(v), false)
	}
	for v := 0; v < t.vecs; v += 64 / s.bytes() {
		c.PREFETCHT0(Mem{Base: next, Disp: s.bytes() * v})
	}
	k.products(cs)
	c.DECQ(n)
	c.JNZ(LabelRef("term"))

	to, ldc := c.GP64(), k.stride("ldc")
	c.Load(c.Param("c"), to)
	k.set(to, ldc, false)
	for _, name := range []string{"table", "c"} { // the next strip
		at := k.argument(name)
		c.ADDQ(U32(s.bytes()*t.vecs), at)
	}
	c.DECQ(k.argument("strips"))
	c.JNZ(LabelRef("strip"))
	c.VZEROUPPER()
	c.RET()
}
