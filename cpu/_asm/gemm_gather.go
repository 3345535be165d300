package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// leastGathered is the fewest columns of a kernel that copies rows meanwhile: with fewer there are more rows than address
// registers for them.
const leastGathered = 7

// sideBySide is the number of groups of rows that the kernel sums, and copies, in one call: so many times R rows are read
// side by side, because the processor fetches ahead in each.
const sideBySide = 4

// gathers writes the kernel of so many rows and columns that copies the next rows from a table meanwhile: a vector of R of
// them for each vector of terms, so that memory and arithmetic are busy together.
func gathers(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("gathers%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(k int, a *float32, rs int, b *float32, ldb int, c *float32, ldc int, rows *int32, table *float32, stride int, to *float32, ldt int)")
	if t.vecs == leastGathered {
		c.Doc(
			fmt.Sprintf("gathersRxN%s computes c[i·ldc + j] = Σ_q a[i·rs + q] · b[j·ldb + q] as dotsRxN does and, meanwhile, to[i·ldt + q] =", s.name),
			fmt.Sprintf("table[rows[i]·stride + q], for i < %d·R, j < N and q < k, a multiple of %d and at least 1.", sideBySide, s.lanes))
	}
	k := &dotKernel{tileKernel: &tileKernel{Context: c, registers: s, tileShape: t}, at: c.GP64()}
	move := k.begin()
	groups, sums := c.GP64(), c.GP64()
	c.MOVQ(U32(sideBySide), groups)
	c.Load(c.Param("c"), sums)

	c.Label("group")
	a, b := k.beginGroup()
	c.Load(c.Param("k"), k.at)
	c.Label("loop")
	move.vectors(k)
	k.term(a, b, false)
	a.step(k)
	b.step(k)
	c.SUBQ(U8(s.lanes), k.at)
	c.JNZ(LabelRef("loop"))

	add := c.GP8()
	c.XORB(add, add)
	k.endGroup(groups, add, sums)
}

// mover copies rows side by side: in turn a vector of each group of R rows, then the next column.
type mover struct {
	rows    Mem           // on the stack: for each group the addresses of R rows of the table and of R of the copy
	at, end reg.GPVirtual // the group whose turn it is
	column  reg.GPVirtual // in bytes
}

// begin finds the rows.
func (k *dotKernel) begin() *mover {
	m := &mover{rows: k.AllocLocal(sideBySide * k.rows * 16), at: k.GP64(), end: k.GP64(), column: k.GP64()}
	numbers, to := k.GP64(), k.GP64()
	k.Load(k.Param("rows"), numbers)
	k.Load(k.Param("to"), to)
	stride, ldt := k.stride("stride"), k.stride("ldt")
	for i := range sideBySide * k.rows {
		at := i / k.rows * k.rows * 16
		from := k.GP64()
		k.MOVLQSX(Mem{Base: numbers, Disp: 4 * i}, from)
		k.IMULQ(stride, from)
		k.ADDQ(k.argument("table"), from)
		k.MOVQ(from, m.rows.Offset(at+i%k.rows*8))
		k.MOVQ(to, m.rows.Offset(at+(k.rows+i%k.rows)*8))
		k.ADDQ(ldt, to)
	}
	k.LEAQ(m.rows, m.at)
	k.LEAQ(m.rows.Offset(sideBySide*k.rows*16), m.end)
	k.XORQ(m.column, m.column)
	return m
}

// vectors copies one vector of each row of the group whose turn it is.
func (m *mover) vectors(k *dotKernel) {
	p := k.GP64()
	for i := range k.rows {
		k.MOVQ(Mem{Base: m.at, Disp: 8 * i}, p)
		k.VMOVUPS(Mem{Base: p, Index: m.column, Scale: 1}, k.temp())
		k.MOVQ(Mem{Base: m.at, Disp: 8 * (k.rows + i)}, p)
		k.VMOVUPS(k.temp(), Mem{Base: p, Index: m.column, Scale: 1})
	}
	k.ADDQ(U8(16*k.rows), m.at)
	k.CMPQ(m.at, m.end)
	k.JNE(LabelRef("stay"))
	k.LEAQ(m.rows, m.at)
	k.ADDQ(U8(k.bytes()), m.column)
	k.Label("stay")
}
