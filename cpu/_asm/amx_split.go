package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// splitter writes what cuts float32 numbers into bfloat16 pieces: each is the rest so far, rounded to 8 significant
// bits, halves away from zero. What three pieces leave is nothing.
type splitter struct {
	*Context
	half, high reg.VecVirtual // 2¹⁵ and the upper half of a word
	bad        reg.OpmaskPhysical
}

func newSplitter(c *Context) *splitter {
	s := &splitter{c, c.ZMM(), c.ZMM(), reg.K3}
	s.broadcast(0x8000, s.half)
	s.broadcast(0xffff0000, s.high)
	c.KXORW(s.bad, s.bad, s.bad)
	return s
}

func (s *splitter) broadcast(word uint32, to reg.VecVirtual) {
	bits := s.GP32()
	s.MOVL(U32(word), bits)
	s.VPBROADCASTD(bits, to)
}

// pieces cuts two vectors at a time and hands the pieces over, in the upper halves of words; what is in the lower
// halves of the first two, the handlers drop. Where a number is NaN or infinite, or becomes so by rounding, the last
// rest is NaN.
func (s *splitter) pieces(x, y reg.VecVirtual, put func(piece int, x, y reg.VecVirtual)) {
	for p := range pieces - 1 {
		tx, ty, hx, hy := s.ZMM(), s.ZMM(), s.ZMM(), s.ZMM()
		s.VPADDD(s.half, x, tx)
		s.VPADDD(s.half, y, ty)
		s.VPANDD(s.high, tx, hx)
		s.VPANDD(s.high, ty, hy)
		s.VSUBPS(hx, x, x)
		s.VSUBPS(hy, y, y)
		put(p, hx, hy)
	}
	s.VCMPPS(U8(3), x, y, reg.K4)
	s.KORW(reg.K4, s.bad, s.bad)
	put(pieces-1, x, y)
}

// result returns whether all numbers were finite.
func (s *splitter) result() {
	finite := s.GP8()
	s.KORTESTW(s.bad, s.bad)
	s.SETEQ(finite)
	s.Store(finite, s.ReturnIndex(0))
	s.VZEROUPPER()
	s.RET()
}

// splitRows writes the kernel that cuts rows for the left operand.
func splitRows(c *Context) {
	c.Function("splitRowsAMX")
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(to *byte, tiles int, from *float32, ld, rows, cols int) bool")
	c.Doc("splitRowsAMX cuts a block of rows ≤ 16 by cols numbers, rows ld apart, into bfloat16 pieces and lays them "+
		"out as tiles of 16 rows",
		"by 32 columns, the first to, the next piece tiles·1024 bytes on, the next columns three times that; missing "+
			"columns are 0.",
		"It says whether all numbers are finite.")
	s := newSplitter(c)
	to, tiles, from, ld, rows, cols := c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("to"), to)
	c.Load(c.Param("tiles"), tiles)
	c.Load(c.Param("from"), from)
	c.Load(c.Param("ld"), ld)
	c.Load(c.Param("rows"), rows)
	c.Load(c.Param("cols"), cols)
	c.SHLQ(U8(2), ld)
	c.SHLQ(U8(10), tiles)
	odd := c.ZMM() // the words 1, 3, 5, … of a pair of vectors
	c.VMOVDQU32(NewDataAddr(Symbol{Name: "oddWords", Static: true}, 0), odd)

	c.Label("step")
	bits := c.GP64()
	c.MOVL(U32(0xffffffff), bits.As32())
	c.CMPQ(cols, U8(32))
	c.JGE(LabelRef("whole"))
	c.BZHIL(cols.As32(), bits.As32(), bits.As32())
	c.Label("whole")
	c.KMOVW(bits.As32(), reg.K1)
	c.SHRL(U8(16), bits.As32())
	c.KMOVW(bits.As32(), reg.K2)
	row, at, n := c.GP64(), c.GP64(), c.GP64()
	c.MOVQ(from, row)
	c.MOVQ(to, at)
	c.MOVQ(rows, n)
	c.Label("row")
	x, y := c.ZMM(), c.ZMM()
	c.VMOVUPS_Z(Mem{Base: row}, reg.K1, x)
	c.VMOVUPS_Z(Mem{Base: row, Disp: 64}, reg.K2, y)
	s.pieces(x, y, func(piece int, x, y reg.VecVirtual) {
		c.VPERMT2W(y, odd, x)
		slot := Mem{Base: at}
		if piece > 0 {
			slot.Index, slot.Scale = tiles, uint8(piece)
		}
		c.VMOVDQU32(x, slot)
	})
	c.ADDQ(ld, row)
	c.ADDQ(U8(64), at)
	c.DECQ(n)
	c.JNZ(LabelRef("row"))
	c.ADDQ(U32(128), from)
	for range pieces {
		c.ADDQ(tiles, to)
	}
	c.SUBQ(U8(32), cols)
	c.JG(LabelRef("step"))
	s.result()

	c.StaticGlobal("oddWords")
	c.DataAttributes(attr.RODATA | attr.NOPTR)
	for i := range 32 {
		c.AddDatum(2*i, U16(2*i+1))
	}
}

// splitPairs writes the kernel that cuts rows for the right operand: for a panel of so many tiles of 16 columns.
func splitPairs(c *Context, tiles int) {
	c.Function(fmt.Sprintf("splitPairs%dAMX", tiles))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(to *byte, room int, from *float32, ld, rows, panels, lanes int) bool")
	if tiles == 1 {
		c.Doc("splitPairsCAMX cuts a block of rows by so many panels of 16·C columns, of which the last 16 of a "+
			"panel are only lanes, rows ld apart,",
			"into bfloat16 pieces and lays each panel out as C tiles of 16 pairs of rows by 16 columns, the first "+
				"to, the next piece C·1024 bytes on,",
			"the next rows three times that, the next panel room bytes on; missing rows are 0. It says whether all "+
				"numbers are finite.")
	}
	s := newSplitter(c)
	to, from, ld, rows, room, panels, n := c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("lanes"), n)
	opmask(c, n, reg.K1)
	c.Load(c.Param("to"), to)
	c.Load(c.Param("room"), room)
	c.Load(c.Param("from"), from)
	c.Load(c.Param("ld"), ld)
	c.Load(c.Param("rows"), rows)
	c.Load(c.Param("panels"), panels)
	c.SHLQ(U8(2), ld)
	at, row, pairs := c.GP64(), c.GP64(), c.GP64()
	far, farther := c.GP64(), c.GP64() // 16 and 16+1 rows on
	c.MOVQ(ld, far)
	c.SHLQ(U8(4), far)
	c.LEAQ(Mem{Base: far, Index: ld, Scale: 1}, farther)
	load := func(tile int, from Mem, to reg.VecVirtual) {
		from.Disp = 64 * tile
		if tile == tiles-1 {
			c.VMOVUPS_Z(from, reg.K1, to)
		} else {
			c.VMOVUPS(from, to)
		}
	}
	slot := func(tile, piece int) Mem { return Mem{Base: at, Disp: tileBytes * (tiles*piece + tile)} }
	zero := c.ZMM()
	c.VPXORD(zero, zero, zero)
	// each does something for all panels of a pair of rows.
	each := func(name string, f func(tile int)) {
		c.MOVQ(to, at)
		c.MOVQ(from, row)
		c.MOVQ(panels, n)
		c.Label(name)
		for t := range tiles {
			f(t)
		}
		c.ADDQ(U32(uint32(64*tiles)), row)
		c.ADDQ(room, at)
		c.DECQ(n)
		c.JNZ(LabelRef(name))
	}

	c.Label("step")
	c.MOVQ(U32(16), pairs)
	c.Label("pair")
	c.CMPQ(rows, U8(2))
	c.JL(LabelRef("last"))
	each("two", func(t int) {
		x, y := c.ZMM(), c.ZMM()
		load(t, Mem{Base: row}, x)
		load(t, Mem{Base: row, Index: ld, Scale: 1}, y)
		c.PREFETCHT0(Mem{Base: row, Index: far, Scale: 1, Disp: 64 * t})
		c.PREFETCHT0(Mem{Base: row, Index: farther, Scale: 1, Disp: 64 * t})
		s.pairs(x, y, func(piece int) Mem { return slot(t, piece) })
	})
	c.LEAQ(Mem{Base: from, Index: ld, Scale: 2}, from)
	c.Label("next")
	c.ADDQ(U8(64), to)
	c.SUBQ(U8(2), rows)
	c.DECQ(pairs)
	c.JNZ(LabelRef("pair"))
	c.ADDQ(U32(uint32((pieces*tiles-1)*tileBytes)), to)
	c.TESTQ(rows, rows)
	c.JG(LabelRef("step"))
	s.result()

	c.Label("last")
	c.CMPQ(rows, U8(1))
	c.JNE(LabelRef("none"))
	each("one", func(t int) {
		x, y := c.ZMM(), c.ZMM()
		load(t, Mem{Base: row}, x)
		c.VMOVDQA32(zero, y)
		s.pairs(x, y, func(piece int) Mem { return slot(t, piece) })
	})
	c.JMP(LabelRef("next"))
	c.Label("none")
	each("zeros", func(t int) {
		for piece := range pieces {
			c.VMOVDQU32(zero, slot(t, piece))
		}
	})
	c.JMP(LabelRef("next"))
}

// pairs cuts two rows and stores each piece of x beside that of y, low | y & high: the last rest of a subnormal number
// has a lower half.
func (s *splitter) pairs(x, y reg.VecVirtual, slot func(piece int) Mem) {
	s.pieces(x, y, func(piece int, x, y reg.VecVirtual) {
		low := s.ZMM()
		s.VPSRLD(U8(16), x, low)
		s.VPTERNLOGD(U8(0xf8), s.high, y, low)
		s.VMOVDQU32(low, slot(piece))
	})
}
