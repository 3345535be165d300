package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// copyRows writes the kernel that copies a block of rows, or its product with a mask.
func copyRows(c *Context, s registers, masked bool) {
	if masked {
		c.Function("mulRows" + s.name)
	} else {
		c.Function("copyRows" + s.name)
	}
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	if masked {
		c.SignatureExpr("func(dst *float32, ldd int, src *float32, lds int, by *float32, ldb int, rows, cols int)")
		c.Doc("mulRows" + s.name + " computes dst[i·ldd + j] = src[i·lds + j] · by[i·ldb + j] for i < rows, j < " +
			"cols; rows and cols at least 1.")
	} else {
		c.SignatureExpr("func(dst *float32, ldd int, src *float32, lds int, rows, cols int)")
		c.Doc("copyRows" + s.name + " computes dst[i·ldd + j] = src[i·lds + j] for i < rows, j < cols; rows and " +
			"cols at least 1.")
	}
	k := &tileKernel{Context: c, registers: s}
	dst, src, by := c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("src"), src)
	ldd, lds := k.stride("ldd"), k.stride("lds")
	var ldb reg.GPVirtual
	if masked {
		c.Load(c.Param("by"), by)
		ldb = k.stride("ldb")
	}
	rows := c.GP64()
	c.Load(c.Param("rows"), rows)
	whole, all, lanes := k.vectors("cols")

	at := c.GP64()
	x := s.at(0)
	move := func(last bool) {
		k.load(Mem{Base: src, Index: at, Scale: 1}, x, last)
		if masked {
			y := Mem{Base: by, Index: at, Scale: 1}
			if last {
				k.load(y, s.at(1), true)
				c.VMULPS(s.at(1), x, x)
			} else {
				c.VMULPS(y, x, x)
			}
		}
		if last && k.mask != nil {
			k.putParts(x, s.at(2), dst, at, lanes)
			return
		}
		k.put(x, Mem{Base: dst, Index: at, Scale: 1}, last)
	}
	c.Label("row")
	c.XORQ(at, at)
	c.CMPQ(at, whole)
	c.JGE(LabelRef("last"))
	c.Label("loop")
	move(false)
	c.ADDQ(U8(s.bytes()), at)
	c.CMPQ(at, whole)
	c.JLT(LabelRef("loop"))
	c.Label("last")
	c.CMPQ(at, all)
	c.JGE(LabelRef("next"))
	move(true)
	c.Label("next")
	c.ADDQ(ldd, dst)
	c.ADDQ(lds, src)
	if masked {
		c.ADDQ(ldb, by)
	}
	c.DECQ(rows)
	c.JNZ(LabelRef("row"))
	c.VZEROUPPER()
	c.RET()
}

// putParts stores the first lanes of a vector of eight at to + at, which it moves on: four, two and one at a time,
// since a masked store of AVX2 takes AMD's processors 12 to 18 cycles.
func (k *tileKernel) putParts(x, rest reg.VecPhysical, to, at, lanes reg.GPVirtual) {
	low, upper := x.AsX(), rest.AsX()
	k.TESTQ(U32(4), lanes)
	k.JZ(LabelRef("two"))
	k.VMOVUPS(low, Mem{Base: to, Index: at, Scale: 1})
	k.VEXTRACTF128(U8(1), x, low)
	k.ADDQ(U8(16), at)
	k.Label("two")
	k.TESTQ(U32(2), lanes)
	k.JZ(LabelRef("one"))
	k.VMOVLPS(low, Mem{Base: to, Index: at, Scale: 1})
	k.VMOVHLPS(low, low, upper)
	k.VMOVAPS(upper, low)
	k.ADDQ(U8(8), at)
	k.Label("one")
	k.TESTQ(U32(1), lanes)
	k.JZ(LabelRef("next"))
	k.VMOVSS(low, Mem{Base: to, Index: at, Scale: 1})
}

// packPanels writes the kernel that copies rows into panels so many columns wide.
func packPanels(c *Context, s registers, width int) {
	c.Function(fmt.Sprintf("pack%d%s", width, s.name))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(dst *float32, panel int, src *float32, lds int, rows, panels int)")
	vecs := (width + s.lanes - 1) / s.lanes
	c.Doc(fmt.Sprintf("pack%d%s computes dst[p·panel + i·%d + j] = src[i·lds + p·%d + j] for p < panels, i < rows, ",
		width, s.name, width, width)+fmt.Sprintf("j < %d; rows and panels", width),
		fmt.Sprintf("at least 1. It moves whole vectors: %d elements past the last panel of a row are ",
			vecs*s.lanes-width)+"read, and as many past the last row",
		"of a panel written.")
	k := &tileKernel{Context: c, registers: s}
	dst, src := c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("src"), src)
	panel, lds := k.stride("panel"), k.stride("lds")
	rows, panels := c.GP64(), c.GP64()
	c.Load(c.Param("rows"), rows)
	from, to := c.GP64(), c.GP64()
	c.Label("row")
	c.MOVQ(src, from)
	c.MOVQ(dst, to)
	c.Load(c.Param("panels"), panels)
	c.Label("panel")
	for v := range vecs {
		c.VMOVUPS(Mem{Base: from, Disp: v * s.bytes()}, s.at(v))
	}
	for v := range vecs {
		c.VMOVUPS(s.at(v), Mem{Base: to, Disp: v * s.bytes()})
	}
	c.ADDQ(U8(4*width), from)
	c.ADDQ(panel, to)
	c.DECQ(panels)
	c.JNZ(LabelRef("panel"))
	c.ADDQ(lds, src)
	c.ADDQ(U8(4*width), dst)
	c.DECQ(rows)
	c.JNZ(LabelRef("row"))
	c.VZEROUPPER()
	c.RET()
}

// transpose writes the kernel that transposes one square of a vector's size, or a corner of it.
func transpose(c *Context, s registers) {
	c.Function("transpose" + s.name)
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(dst *float32, ldd int, src *float32, lds int, rows, cols int)")
	c.Doc("transpose"+s.name+" computes dst[j·ldd + i] = src[i·lds + j] for i < rows, j < cols, both at least 1.",
		"It works in squares of a vector's size.")
	k := &tileKernel{Context: c, registers: s}
	ldd, lds := k.stride("ldd"), k.stride("lds")
	dst, src, rows, cols := c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("src"), src)
	c.Load(c.Param("rows"), rows)
	n := s.lanes

	c.Label("band") // n rows of src at most
	band := c.GP64()
	c.MOVQ(U64(uint64(n)), band)
	c.CMPQ(rows, band)
	c.CMOVQLT(rows, band)
	from, to := c.GP64(), c.GP64()
	c.MOVQ(src, from)
	c.MOVQ(dst, to)
	c.Load(c.Param("cols"), cols)

	c.Label("square")
	width := c.GP64()
	c.MOVQ(U64(uint64(n)), width)
	c.CMPQ(cols, width)
	c.CMOVQLT(cols, width)
	if n == 16 {
		opmask(c, width, reg.K1)
		opmask(c, band, reg.K2)
	}
	// Rows past the last one repeat it: what they hold is not stored.
	row, left := c.GP64(), c.GP64()
	c.MOVQ(from, row)
	c.MOVQ(band, left)
	step := c.GP64()
	c.MOVQ(lds, step)
	load := func(to reg.VecPhysical) {
		if n == 16 {
			c.VMOVUPS_Z(Mem{Base: row}, reg.K1, to)
		} else {
			c.VMASKMOVPS(Mem{Base: row}, k.mask, to)
		}
		c.DECQ(left)
		c.CMOVQEQ(left, step) // left is 0 then
		c.ADDQ(step, row)
	}
	store := func(from reg.VecPhysical, whole bool, done string) {
		switch {
		case n == 16:
			c.VMOVUPS(from, reg.K2, Mem{Base: row})
		case whole:
			c.VMOVUPS(from, Mem{Base: row})
		default:
			c.VMASKMOVPS(from, k.mask, Mem{Base: row})
		}
		c.DECQ(left)
		c.JZ(LabelRef(done))
		c.ADDQ(ldd, row)
	}
	if n == 8 {
		k.mask = s.at(15)
		k.signMask(width)
	}
	var in [16]reg.VecPhysical
	for i := range n {
		in[i] = s.at(i)
		load(in[i])
	}
	var out []reg.VecPhysical
	if n == 16 {
		out = k.transpose16(in)
	} else {
		out = k.transpose8(in)
		k.signMask(band)
	}
	c.MOVQ(to, row)
	c.MOVQ(width, left)
	if n == 8 { // see putParts
		c.CMPQ(band, U8(n))
		c.JNE(LabelRef("part"))
		for i := range n {
			store(out[i], true, "next")
		}
		c.Label("part")
	}
	for i := range n {
		store(out[i], false, "next")
	}
	c.Label("next")
	c.ADDQ(U8(s.bytes()), from)
	below := c.GP64()
	c.MOVQ(ldd, below)
	c.SHLQ(U8(map[int]uint8{8: 3, 16: 4}[n]), below)
	c.ADDQ(below, to)
	c.SUBQ(width, cols)
	c.JNZ(LabelRef("square"))

	c.ADDQ(U8(s.bytes()), dst)
	c.MOVQ(lds, below)
	c.SHLQ(U8(map[int]uint8{8: 3, 16: 4}[n]), below)
	c.ADDQ(below, src)
	c.SUBQ(band, rows)
	c.JNZ(LabelRef("band"))
	c.VZEROUPPER()
	c.RET()
}

// transpose16 transposes sixteen registers: pairs of 32 bits, pairs of 64, then quarters of registers twice.
func (k *tileKernel) transpose16(r [16]reg.VecPhysical) []reg.VecPhysical {
	t := func(i int) reg.VecPhysical { return k.at(16 + i) }
	for i := 0; i < 16; i += 2 {
		k.VUNPCKLPS(r[i+1], r[i], t(i))
		k.VUNPCKHPS(r[i+1], r[i], t(i+1))
	}
	for i := 0; i < 16; i += 4 { // now register 4g+j holds rows 4g…4g+3 of columns j, j+4, j+8, j+12
		k.VUNPCKLPD(t(i+2), t(i), r[i])
		k.VUNPCKHPD(t(i+2), t(i), r[i+1])
		k.VUNPCKLPD(t(i+3), t(i+1), r[i+2])
		k.VUNPCKHPD(t(i+3), t(i+1), r[i+3])
	}
	for j := range 4 {
		k.VSHUFF32X4(U8(0x88), r[4+j], r[j], t(j))       // columns j, j+8 of rows 0…7
		k.VSHUFF32X4(U8(0xdd), r[4+j], r[j], t(4+j))     // columns j+4, j+12
		k.VSHUFF32X4(U8(0x88), r[12+j], r[8+j], t(8+j))  // and of rows 8…15
		k.VSHUFF32X4(U8(0xdd), r[12+j], r[8+j], t(12+j)) //
	}
	out := make([]reg.VecPhysical, 16)
	for j := range 4 {
		k.VSHUFF32X4(U8(0x88), t(8+j), t(j), r[j])
		k.VSHUFF32X4(U8(0xdd), t(8+j), t(j), r[8+j])
		k.VSHUFF32X4(U8(0x88), t(12+j), t(4+j), r[4+j])
		k.VSHUFF32X4(U8(0xdd), t(12+j), t(4+j), r[12+j])
	}
	copy(out, r[:])
	return out
}

// transpose8 transposes the eight registers 0…7 with the help of 8…14.
func (k *tileKernel) transpose8(r [16]reg.VecPhysical) []reg.VecPhysical {
	t := func(i int) reg.VecPhysical { return k.at(8 + i) }
	for half := 0; half < 8; half += 4 { // rows of four by four, both halves of each register at once
		a, b, c, d := r[half], r[half+1], r[half+2], r[half+3]
		k.VUNPCKLPS(b, a, t(0))
		k.VUNPCKHPS(b, a, t(1))
		k.VUNPCKLPS(d, c, t(2))
		k.VUNPCKHPS(d, c, t(3))
		k.VUNPCKLPD(t(2), t(0), a)
		k.VUNPCKHPD(t(2), t(0), b)
		k.VUNPCKLPD(t(3), t(1), c)
		k.VUNPCKHPD(t(3), t(1), d)
	}
	out := make([]reg.VecPhysical, 8)
	for j := range 4 {
		k.VPERM2F128(U8(0x20), r[4+j], r[j], t(j))
		k.VPERM2F128(U8(0x31), r[4+j], r[j], r[4+j])
		out[j], out[4+j] = t(j), r[4+j]
	}
	return out
}
