package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// registers is the vector register file of an instruction set: kernels of the product fill all of it, so they place
// everything themselves.
type registers struct {
	name  string
	lanes int // float32 in a register
	count int
}

var avx2, avx512 = registers{"AVX2", 8, 16}, registers{"AVX512", 16, 32}

// at is register number i.
func (s registers) at(i int) reg.VecPhysical {
	if s.lanes == 16 {
		return []reg.VecPhysical{
			reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10,
			reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15, reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20,
			reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
		}[i]
	}
	return []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
	}[i]
}

func (s registers) bytes() int { return 4 * s.lanes }

// tileShape is the tile of a kernel: rows by vecs registers of columns.
type tileShape struct{ rows, vecs int }

// shapes lists the kernels of an instruction set: as many rows as leave registers for a row of B, the mask where it
// takes one, and an element of A.
func (s registers) shapes() []tileShape {
	most := map[int]int{1: 28, 2: 14, 3: 8, 4: 6}
	if s.lanes == 8 {
		most = map[int]int{1: 12, 2: 6, 3: 3, 4: 2}
	}
	var list []tileShape
	for _, vecs := range []int{1, 2, 3, 4} {
		for rows := 1; rows <= most[vecs]; rows++ {
			list = append(list, tileShape{rows, vecs})
		}
	}
	return list
}

// fastest is the width, in vectors, of the tiles that are fastest.
const fastest = 2

// gemm writes the kernels of the product.
func gemm(c *Context) {
	for _, s := range []registers{avx512, avx2} {
		for _, t := range s.shapes() {
			tile(c, s, t)
			if t.vecs == fastest {
				tileRows(c, s, t)
			}
		}
	}
	for _, s := range []registers{avx512, avx2} {
		copyRows(c, s, false)
		copyRows(c, s, true)
		transpose(c, s)
		if s == avx2 {
			packPanels(c, s, 6)
			packPanels(c, s, 16)
		}
		for _, t := range s.dotShapes() {
			dots(c, s, t)
			if t.vecs >= s.leastDotRows() {
				dotRows(c, s, t)
			}
		}
		peak(c, s)
		triad(c, s)
	}
	laneMaskTable(c)
}

// laneMaskTable writes the table that laneMasks points to, once a file.
func laneMaskTable(c *Context) {
	c.StaticGlobal("laneMasks")
	c.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 16 {
		c.AddDatum(4*i, U32([]uint32{math.MaxUint32, 0}[i/8]))
	}
}

// unroll is the number of terms between two branches.
const unroll = 4

// group is the number of rows of A that one address register reaches: x86 scales an index by 1, 2, 4 or 8, so that
// rows 0…4 are at base, base+rs, base+2rs, base+3rs (an index of its own) and base+4rs.
const group = 5

// tileKernel is the state of one kernel while it is written.
type tileKernel struct {
	*Context
	registers
	tileShape
	a       []reg.GPVirtual // rows 0, 5, 10, … of the current term
	rs, rs3 reg.GPVirtual
	b       reg.GPVirtual
	ahead   reg.GPVirtual // the line to ask for next
	inc     reg.GPVirtual
	mask    reg.Register // of the last vector: an opmask, or a vector of signs
}

// tile writes one kernel.
func tile(c *Context, s registers, t tileShape) {
	c.Function(fmt.Sprintf("gemm%dx%d%s", t.rows, t.vecs, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(k int, a *float32, rs, cs int, b *float32, ldb int, c *float32, ldc int, strips, lanes " +
		"int, add bool, ahead uintptr, inc, step, nextA, nextB, nextC int)")
	if t.rows == 1 && t.vecs == 1 {
		c.Doc(
			fmt.Sprintf("gemmRxV%s computes c[i,j] (+)= Σ_q a[i·rs + q·cs] · b[q·ldb + j] for i < R, q < k and j < "+
				"n, with the rows of", s.name),
			fmt.Sprintf("c ldc apart; it adds where add is set. n is strips times V vectors of %d columns, except "+
				"that the last vector of each", s.lanes),
			"strip has only so many lanes. Each element is one running sum of fused multiply-adds in the order of "+
				"q. It equals",
			"gemmGeneric up to that rounding. ahead says that B is near, in the second-level cache; meanwhile strip "+
				"s asks for the lines",
			"at ahead + 4·(s·step + q/4·inc) bytes, where V > 1. The next strip begins nextA, nextB and nextC "+
				"elements further on.")
	}
	k := &tileKernel{Context: c, registers: s, tileShape: t}
	k.loadMask()
	c.Label("strip")
	k.prefetchC()
	k.loadOperands()
	terms := c.GP64()
	c.Load(c.Param("k"), terms)
	cs, ldb := k.stride("cs"), k.stride("ldb")
	for i := range t.rows * t.vecs {
		k.zero(s.at(i))
	}

	if t.vecs > 1 { // a masked load occupies an arithmetic unit, 4 % of the time of 14×2, and asking for B as much
		c.CMPQ(k.argument("lanes"), U8(s.lanes))
		c.JNE(LabelRef("masked"))
		k.lookAhead()
		k.terms("far", terms, cs, ldb)
		c.Label("near")
		k.terms("near", terms, cs, ldb)
		c.Label("masked")
	}
	k.terms("masked", terms, cs, ldb)

	c.Label("store")
	k.store()
	for _, name := range []string{"a", "b", "c"} { // the next strip
		c.ADDQ(k.stride("next"+strings.ToUpper(name)), k.argument(name))
	}
	c.DECQ(k.argument("strips"))
	c.JNZ(LabelRef("strip"))
	c.VZEROUPPER()
	c.RET()
}

// terms adds all terms to the sums, in one of three ways: B lies far off, so that its rows are asked for early; B is
// near, so that the next panel of A is; the last vector of a row of B is partly used.
func (k *tileKernel) terms(way string, n, cs, ldb reg.GPVirtual) {
	fours := k.GP64()
	k.MOVQ(n, fours)
	k.SHRQ(U8(2), fours)
	k.JZ(LabelRef(way + "Rest"))
	k.Label(way + "Loop")
	for range unroll {
		k.term(way, cs, ldb)
	}
	if way == "near" {
		k.PREFETCHT1(Mem{Base: k.ahead})
		k.ADDQ(k.inc, k.ahead)
	}
	k.DECQ(fours)
	k.JNZ(LabelRef(way + "Loop"))
	k.Label(way + "Rest")
	k.ANDQ(U8(unroll-1), n)
	k.JZ(LabelRef("store"))
	k.Label(way + "One")
	k.term(way, cs, ldb)
	k.DECQ(n)
	k.JNZ(LabelRef(way + "One"))
	if way != "masked" {
		k.JMP(LabelRef("store"))
	}
}

// lookAhead makes the address of the first line to ask for, moves the argument on to the next strip's, and goes to near
// if there is one.
func (k *tileKernel) lookAhead() {
	at, step, inc := k.GP64(), k.stride("step"), k.stride("inc")
	k.Load(k.Param("ahead"), at)
	k.ADDQ(at, step)
	k.MOVQ(step, k.argument("ahead"))
	k.ahead, k.inc = at, inc
	k.TESTQ(at, at)
	k.JNZ(LabelRef("near"))
}

// argument is the place of an argument on the stack, which the kernel may write.
func (k *tileKernel) argument(name string) Mem {
	at, err := k.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return at.Addr
}

// stride loads a stride and turns it into bytes.
func (k *tileKernel) stride(name string) reg.GPVirtual {
	r := k.GP64()
	k.Load(k.Param(name), r)
	k.SHLQ(U8(2), r)
	return r
}

// loadOperands makes the addresses of A and B.
func (k *tileKernel) loadOperands() {
	k.addressA()
	k.b = k.GP64()
	k.Load(k.Param("b"), k.b)
}

// addressA makes the addresses of A.
func (k *tileKernel) addressA() {
	first := k.GP64()
	k.Load(k.Param("a"), first)
	k.rs = k.stride("rs")
	k.a = append(k.a, first)
	if k.rows > 3 {
		k.rs3 = k.GP64()
		k.LEAQ(Mem{Base: k.rs, Index: k.rs, Scale: 2}, k.rs3)
	}
	for len(k.a)*group < k.rows {
		last, next := k.a[len(k.a)-1], k.GP64()
		k.LEAQ(Mem{Base: last, Index: k.rs, Scale: 4}, next)
		k.ADDQ(k.rs, next)
		k.a = append(k.a, next)
	}
}

// row is the address of row i of A.
func (k *tileKernel) row(i int) Mem {
	m := Mem{Base: k.a[i/group]}
	switch i % group {
	case 1, 2, 4:
		m.Index, m.Scale = k.rs, uint8(i%group)
	case 3:
		m.Index, m.Scale = k.rs3, 1
	}
	return m
}

// loadMask makes the mask of the last vector of a row: its first lanes.
func (k *tileKernel) loadMask() {
	lanes := k.GP64()
	k.Load(k.Param("lanes"), lanes)
	k.maskOf(lanes)
}

// maskOf makes the mask of the first lanes of a vector.
func (k *tileKernel) maskOf(lanes reg.GPVirtual) {
	if k.lanes == 16 {
		opmask(k.Context, lanes, reg.K1)
		return
	}
	k.mask = k.at(k.count - 1)
	k.signMask(lanes)
}

// beforeLast gives the bytes of the vectors before the last one of so many elements as an argument says, 1 or more, and
// makes the mask of the last one.
func (k *tileKernel) beforeLast(elements string) reg.GPVirtual {
	whole, lanes := k.GP64(), k.GP64()
	k.Load(k.Param(elements), whole)
	k.DECQ(whole)
	k.MOVQ(whole, lanes)
	k.ANDQ(U8(k.lanes-1), lanes)
	k.SUBQ(lanes, whole)
	k.INCQ(lanes)
	k.SHLQ(U8(2), whole)
	k.maskOf(lanes)
	return whole
}

// vectors gives the bytes of the whole vectors of so many elements as an argument says and of all elements, and makes
// the mask of those that are left, and says how many these are.
func (k *tileKernel) vectors(elements string) (whole, all, lanes reg.GPVirtual) {
	whole, all, lanes = k.GP64(), k.GP64(), k.GP64()
	k.Load(k.Param(elements), all)
	k.MOVQ(all, lanes)
	k.ANDQ(U8(k.registers.lanes-1), lanes)
	k.MOVQ(all, whole)
	k.SUBQ(lanes, whole)
	k.SHLQ(U8(2), whole)
	k.SHLQ(U8(2), all)
	k.maskOf(lanes)
	return whole, all, lanes
}

// opmask sets the first bits of an opmask.
func opmask(c *Context, lanes reg.GPVirtual, to reg.OpmaskPhysical) {
	all, bits := c.GP32(), c.GP32()
	c.MOVL(U32(0xffff), all)
	c.BZHIL(lanes.As32(), all, bits)
	c.KMOVW(bits, to)
}

// signMask sets the first words of k.mask.
func (k *tileKernel) signMask(lanes reg.GPVirtual) {
	table, bytes := k.GP64(), k.GP64()
	k.LEAQ(k.laneMasks(), table)
	k.MOVQ(lanes, bytes)
	k.SHLQ(U8(2), bytes)
	k.SUBQ(bytes, table)
	k.VMOVUPS(Mem{Base: table, Disp: 32}, k.mask)
}

// laneMasks is a table of eight words of ones and eight of zeros: the mask of n lanes begins n words before the zeros.
func (k *tileKernel) laneMasks() Mem {
	return NewDataAddr(Symbol{Name: "laneMasks", Static: true}, 0)
}

// prefetchC asks for the lines of the tile, which are needed when the sums are done, to write them: a line that another
// core has read would come to be read, and take a second message to be written.
func (k *tileKernel) prefetchC() {
	ldc := k.stride("ldc")
	k.Load(k.Param("c"), reg.RAX)
	for i := range k.rows {
		for v := 0; v < k.vecs; v += 64 / k.bytes() {
			k.prefetchWrite(k.bytes() * v)
		}
		if i+1 < k.rows {
			k.ADDQ(ldc, reg.RAX)
		}
	}
}

// prefetchWrite is PREFETCHW of the line so many bytes, at most 255, past RAX. Go's assembler lacks the instruction; a
// processor that does takes it for none.
func (k *tileKernel) prefetchWrite(past int) {
	const opcode, disp8, disp32 = 0x0d0f, 0x48, 0x88 // of two bytes, and what follows them, with RAX as the base
	put := func(directive string, value Op) {
		k.Instruction(&ir.Instruction{Opcode: directive, Operands: []Op{value}})
	}
	if past < 128 {
		put("LONG", U32(opcode|disp8<<16|past<<24))
		return
	}
	put("LONG", U32(opcode|disp32<<16|past<<24))
	put("WORD", U16(0))
	put("BYTE", U8(0))
}

// Registers: sums first, then a row of B, then elements of A; the mask of AVX2 is the last one.
func (k *tileKernel) sum(i, v int) reg.VecPhysical { return k.at(i*k.vecs + v) }
func (k *tileKernel) rowB(v int) reg.VecPhysical   { return k.at(k.rows*k.vecs + v) }

func (k *tileKernel) elements() []reg.VecPhysical {
	end := k.count
	if k.mask != nil {
		end--
	}
	var free []reg.VecPhysical
	for i := (k.rows + 1) * k.vecs; i < end && len(free) < 4; i++ {
		free = append(free, k.at(i))
	}
	return free
}

// term adds one term to all sums and steps on.
func (k *tileKernel) term(way string, cs, ldb reg.GPVirtual) {
	for v := range k.vecs {
		k.load(Mem{Base: k.b, Disp: k.bytes() * v}, k.rowB(v), way == "masked" && v == k.vecs-1)
	}
	if way != "near" {
		for v := 0; v < k.vecs; v += 64 / k.bytes() {
			k.PREFETCHT0(Mem{Base: k.b, Index: ldb, Scale: 8, Disp: k.bytes() * v})
		}
	}
	k.ADDQ(ldb, k.b)
	k.products(cs)
}

// products adds the products of a row of B to all sums and moves A on.
func (k *tileKernel) products(cs reg.GPVirtual) {
	free := k.elements()
	for i := range k.rows {
		if k.vecs == 1 && k.lanes == 16 {
			k.VFMADD231PS_BCST(k.row(i), k.rowB(0), k.sum(i, 0))
			continue
		}
		x := free[i%len(free)]
		k.VBROADCASTSS(k.row(i), x)
		for v := range k.vecs {
			k.VFMADD231PS(x, k.rowB(v), k.sum(i, v))
		}
	}
	for _, a := range k.a {
		k.ADDQ(cs, a)
	}
}

// store writes the sums to C, or adds them.
func (k *tileKernel) store() {
	c, ldc := k.GP64(), k.stride("ldc")
	k.Load(k.Param("c"), c)
	add := k.GP8()
	k.Load(k.Param("add"), add)
	k.TESTB(add, add)
	k.JZ(LabelRef("set"))
	end := k.rowB(0) // B is done with: room for what C holds
	row := k.GP64()
	k.MOVQ(c, row)
	for i := range k.rows {
		for v := range k.vecs {
			at, last := Mem{Base: row, Disp: k.bytes() * v}, v == k.vecs-1
			if last {
				k.load(at, end, true)
				k.VADDPS(end, k.sum(i, v), k.sum(i, v))
			} else {
				k.VADDPS(at, k.sum(i, v), k.sum(i, v))
			}
		}
		if i+1 < k.rows {
			k.ADDQ(ldc, row)
		}
	}
	k.Label("set")
	if k.mask != nil { // a masked store of AVX2 takes AMD's processors 12 to 18 cycles
		k.CMPQ(k.argument("lanes"), U8(k.registers.lanes))
		k.JNE(LabelRef("setLanes"))
		to := k.GP64()
		k.MOVQ(c, to)
		k.set(to, ldc, false)
		k.JMP(LabelRef("stored"))
		k.Label("setLanes")
	}
	k.set(c, ldc, true)
	k.Label("stored")
}

// set writes the sums to C, the last vector of a row whole or in its lanes.
func (k *tileKernel) set(c, ldc reg.GPVirtual, lanes bool) {
	for i := range k.rows {
		for v := range k.vecs {
			k.put(k.sum(i, v), Mem{Base: c, Disp: k.bytes() * v}, lanes && v == k.vecs-1)
		}
		if i+1 < k.rows {
			k.ADDQ(ldc, c)
		}
	}
}

// load reads a vector; the last one of a row only in its lanes, the others becoming zero.
func (k *tileKernel) load(from Mem, to reg.VecPhysical, last bool) {
	switch {
	case !last:
		k.VMOVUPS(from, to)
	case k.mask == nil:
		k.VMOVUPS_Z(from, reg.K1, to)
	default:
		k.VMASKMOVPS(from, k.mask, to)
	}
}

// put writes a vector; of the last one of a row only its lanes.
func (k *tileKernel) put(from reg.VecPhysical, to Mem, last bool) {
	switch {
	case !last:
		k.VMOVUPS(from, to)
	case k.mask == nil:
		k.VMOVUPS(from, reg.K1, to)
	default:
		k.VMASKMOVPS(from, k.mask, to)
	}
}

func (k *tileKernel) zero(r reg.VecPhysical) {
	if k.lanes == 16 {
		k.VPXORD(r, r, r)
	} else {
		k.VXORPS(r, r, r)
	}
}
