package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// leastGathered is the fewest columns of a kernel that gathers its rows: with fewer the rows are more than there are
// address registers for.
const leastGathered = 7

// gathers writes the kernel of so many rows and columns that finds its rows in a table and leaves a copy of them: while
// the memory brings a row, the sums of the one before are formed.
func gathers(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("gathers%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(groups, k int, rows *int32, table *float32, stride int, to *float32, ldt int, b *float32, ldb int, c *float32, ldc int)")
	if t.rows == 1 && t.vecs == leastGathered {
		c.Doc(
			fmt.Sprintf("gathersRxN%s computes to[i·ldt + q] = table[rows[i]·stride + q] and c[i·ldc + j] = Σ_q to[i·ldt + q] · b[j·ldb + q] for i < groups·R,", s.name),
			"j < N and q < k, all at least 1, in the order of dotsRxN.")
	}
	k := &dotKernel{tileKernel: &tileKernel{Context: c, registers: s, tileShape: t}, at: c.GP64()}
	whole := k.beforeLast("k")
	sums := c.GP64()
	c.Load(c.Param("c"), sums)

	c.Label("group")
	for i := range t.rows * t.vecs {
		k.zero(s.at(i))
	}
	a := k.pickRows()
	b, to := k.walkRows("b", "ldb", t.vecs), k.walkRows("to", "ldt", t.rows)
	c.XORQ(k.at, k.at)
	c.CMPQ(k.at, whole)
	c.JGE(LabelRef("last"))
	c.Label("loop")
	k.gathered(a, b, to, false)
	for _, w := range []*rowsAt{a, b, to} {
		w.step(k)
	}
	c.ADDQ(U8(s.bytes()), k.at)
	c.CMPQ(k.at, whole)
	c.JLT(LabelRef("loop"))
	c.Label("last")
	k.gathered(a, b, to, true)

	add := c.GP8()
	c.XORB(add, add)
	ldc := k.stride("ldc")
	for i := range t.rows {
		for j := 0; j < t.vecs; j += 4 {
			k.finish(i, j, min(4, t.vecs-j), add, sums)
		}
		c.ADDQ(ldc, sums)
	}
	c.ADDQ(U8(4*t.rows), k.argument("rows"))
	next, ldt := k.argument("to"), k.stride("ldt")
	for range t.rows {
		c.ADDQ(ldt, next)
	}
	c.DECQ(k.argument("groups"))
	c.JNZ(LabelRef("group"))
	c.VZEROUPPER()
	c.RET()
}

// aheadLines is how many lines of each row of the next group are asked for: enough that the processor goes on by itself.
const aheadLines = 2

// pickRows makes the addresses of the rows of the table that the next indices name, and asks for the beginnings of those
// that come after them.
func (k *dotKernel) pickRows() *rowsAt {
	w := &rowsAt{apart: true}
	rows, stride := k.GP64(), k.stride("stride")
	k.Load(k.Param("rows"), rows)
	row := func(i int) reg.GPVirtual {
		p := k.GP64()
		k.MOVLQSX(Mem{Base: rows, Disp: 4 * i}, p)
		k.IMULQ(stride, p)
		k.ADDQ(k.argument("table"), p)
		return p
	}
	k.CMPQ(k.argument("groups"), U8(1))
	k.JEQ(LabelRef("pick"))
	for i := range k.rows {
		p := row(k.rows + i)
		for line := range aheadLines {
			k.PREFETCHT0(Mem{Base: p, Disp: 64 * line})
		}
	}
	k.Label("pick")
	for i := range k.rows {
		w.base = append(w.base, row(i))
	}
	return w
}

// gathered adds a vector of terms to all sums and copies the rows of A.
func (k *dotKernel) gathered(a, b, to *rowsAt, last bool) {
	for i := range k.rows {
		k.load(a.row(i), k.rowA(i), last)
		k.put(k.rowA(i), to.row(i), last)
	}
	k.multiply(b, last)
}
