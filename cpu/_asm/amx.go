package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Bytes of a tile, 16 rows of 64, and the bfloat16 pieces of a float32.
const (
	tileBytes = 1024
	pieces    = 3
)

// amx writes the kernels of products in bfloat16 pieces.
func amx(c *Context) {
	for _, t := range []tileShape{{1, 1}, {1, 2}, {2, 1}, {2, 2}} {
		amxTiles(c, t)
	}
	splitRows(c)
	splitPairs(c, 1)
	splitPairs(c, 2)
}

// Registers of amxTiles. The encodings below are for these.
var (
	amxConfig = reg.RBX // then the lower rows of C
	amxA      = reg.RSI
	amxB      = reg.RDX
	amxC      = reg.RDI
	amxLine   = reg.RAX // 64: from a row of a tile of A or B to the next
	amxLdc    = reg.RCX
)

// amxTiles writes the kernel of so many tiles of A by tiles of B. There are eight tile registers: sums in the first
// four, A in the next two, B in the last two.
func amxTiles(c *Context, t tileShape) {
	c.Function(fmt.Sprintf("amx%dx%d", t.rows, t.vecs))
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(config *byte, steps int, a, b *byte, c *float32, ldc, panels int, add bool)")
	if t.rows == 1 && t.vecs == 1 {
		c.Doc(
			"amxRxC computes c (+)= A·B for a panel of A of R tiles and panels of B of C tiles, 16·R rows by 16·C "+
				"columns of c each,",
			"side by side, and adds where add is set. a holds steps times three pieces times R tiles; b the same, of "+
				"C tiles, for each panel.",
			"Of the nine products of pieces the six that count are summed. config is the operand of LDTILECFG, which "+
				"says how many rows",
			"and columns count of each tile.")
	}
	k := &amxKernel{c}
	steps, n, panels, first, ldc16 := reg.R8, reg.R9, reg.R10, reg.R11, reg.R12
	c.Load(c.Param("config"), amxConfig)
	c.Load(c.Param("steps"), steps)
	c.Load(c.Param("a"), first)
	c.Load(c.Param("b"), amxB)
	c.Load(c.Param("c"), amxC)
	c.Load(c.Param("ldc"), amxLdc)
	c.Load(c.Param("panels"), panels)
	c.SHLQ(U8(2), amxLdc)
	c.MOVQ(amxLdc, ldc16)
	c.SHLQ(U8(4), ldc16)
	k.loadConfig()
	c.MOVQ(U32(64), amxLine)

	c.Label("panel")
	c.MOVQ(first, amxA)
	c.MOVQ(steps, n)
	c.LEAQ(Mem{Base: amxC, Index: ldc16, Scale: 1}, amxConfig)
	add := reg.R13B
	c.Load(c.Param("add"), add)
	c.TESTB(add, add)
	c.JNZ(LabelRef("load"))
	k.sums(t, func(tile int, _ reg.GPPhysical, _ int) { k.zero(tile) })
	c.JMP(LabelRef("step"))
	c.Label("load")
	k.sums(t, func(tile int, row reg.GPPhysical, disp int) { k.load(tile, row, amxLdc, disp) })

	c.Label("step")
	loadA := func(piece int) {
		for i := range t.rows {
			k.load(4+i, amxA, amxLine, tileBytes*(piece*t.rows+i))
		}
	}
	loadB := func(piece int) {
		for j := range t.vecs {
			k.load(6+j, amxB, amxLine, tileBytes*(piece*t.vecs+j))
		}
	}
	multiply := func() {
		k.sums(t, func(tile int, _ reg.GPPhysical, _ int) { k.multiply(tile, 4+tile/2, 6+tile%2) })
	}
	// Pieces 0·1, 1·1, 1·0, 2·0, 0·0, 0·2: one operand stays from each to the next.
	loadA(0)
	loadB(1)
	multiply()
	loadA(1)
	multiply()
	loadB(0)
	multiply()
	loadA(2)
	multiply()
	loadA(0)
	multiply()
	loadB(2)
	multiply()
	c.ADDQ(U32(uint32(pieces*tileBytes*t.rows)), amxA)
	c.ADDQ(U32(uint32(pieces*tileBytes*t.vecs)), amxB)
	c.DECQ(n)
	c.JNZ(LabelRef("step"))

	k.sums(t, func(tile int, row reg.GPPhysical, disp int) { k.store(tile, row, amxLdc, disp) })
	c.ADDQ(U32(uint32(64*t.vecs)), amxC)
	c.DECQ(panels)
	c.JNZ(LabelRef("panel"))
	k.release()
	c.RET()
}

// amxKernel writes instructions that neither avo nor Go's assembler knows, as bytes.
type amxKernel struct{ *Context }

// sums goes through the tiles of sums: number, first row in C, and offset of the columns.
func (k *amxKernel) sums(t tileShape, f func(tile int, row reg.GPPhysical, disp int)) {
	for i := range t.rows {
		for j := range t.vecs {
			f(2*i+j, []reg.GPPhysical{amxC, amxConfig}[i], 64*j)
		}
	}
}

// Prefixes that are part of the encoding.
const (
	none = iota
	_
	xF3
	xF2
)

// vex writes an instruction of three-byte VEX encoding, map 0F38, with the second source register.
func (k *amxKernel) vex(text string, prefix byte, second int, code ...byte) {
	k.Comment(text)
	for _, b := range append([]byte{0xc4, 0xe2, byte(^second&15)<<3 | prefix}, code...) {
		k.Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}})
	}
}

// at is ModRM, SIB and displacement of a strided operand.
func at(tile int, base, index reg.GPPhysical, disp int) []byte {
	number := map[reg.GPPhysical]byte{reg.RAX: 0, reg.RCX: 1, reg.RDX: 2, reg.RBX: 3, reg.RSI: 6, reg.RDI: 7}
	return []byte{0x80 | byte(tile)<<3 | 4, number[index]<<3 | number[base], byte(disp), byte(disp >> 8),
		byte(disp >> 16), byte(disp >> 24)}
}

func (k *amxKernel) loadConfig() { k.vex("LDTILECFG (BX)", none, 0, 0x49, 0x03) }
func (k *amxKernel) release()    { k.vex("TILERELEASE", none, 0, 0x49, 0xc0) }

func (k *amxKernel) zero(tile int) {
	k.vex(fmt.Sprintf("TILEZERO TMM%d", tile), xF2, 0, 0x49, 0xc0|byte(tile)<<3)
}

func (k *amxKernel) load(tile int, base, index reg.GPPhysical, disp int) {
	k.vex(fmt.Sprintf("TILELOADD %d(%s)(%s*1), TMM%d", disp, base.Asm(), index.Asm(), tile), xF2, 0,
		append([]byte{0x4b}, at(tile, base, index, disp)...)...)
}

func (k *amxKernel) store(tile int, base, index reg.GPPhysical, disp int) {
	k.vex(fmt.Sprintf("TILESTORED TMM%d, %d(%s)(%s*1)", tile, disp, base.Asm(), index.Asm()), xF3, 0,
		append([]byte{0x4b}, at(tile, base, index, disp)...)...)
}

// multiply adds a·b to the sums.
func (k *amxKernel) multiply(sum, a, b int) {
	k.vex(fmt.Sprintf("TDPBF16PS TMM%d, TMM%d, TMM%d", b, a, sum), xF3, b, 0x5c, 0xc0|byte(sum)<<3|byte(a))
}
