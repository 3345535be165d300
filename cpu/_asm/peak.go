package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// chains is the number of independent sums of the peak kernels: a processor with two units of latency 4 needs 8.
const chains = 12

// peak writes the kernel that measures what the machine can do at most.
func peak(c *Context, s registers) {
	c.Function("fmaChains" + s.name)
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func(steps int)")
	c.Doc("fmaChains" + s.name + " does steps times 12 independent fused multiply-adds of whole vectors.")
	n := c.GP64()
	c.Load(c.Param("steps"), n)
	for i := range chains + 2 {
		c.VXORPS(s.at(i).AsY(), s.at(i).AsY(), s.at(i).AsY())
	}
	c.Label("loop")
	for i := range chains {
		c.VFMADD213PS(s.at(chains), s.at(chains+1), s.at(i))
	}
	c.DECQ(n)
	c.JNZ(LabelRef("loop"))
	c.VZEROUPPER()
	c.RET()
}

// triad writes the kernel that measures memory.
func triad(c *Context, s registers) {
	c.Function("triad" + s.name)
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(dst, a, b *float32, n int)")
	c.Doc("triad" + s.name + " computes dst[i] = a[i] + b[i]/2 for i < n, a multiple of 64.")
	dst, a, b, n := c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("dst"), dst)
	c.Load(c.Param("a"), a)
	c.Load(c.Param("b"), b)
	c.Load(c.Param("n"), n)
	half := s.at(8)
	bits := c.GP32()
	c.MOVL(U32(0x3f000000), bits)
	c.VMOVD(bits, half.AsX())
	c.VBROADCASTSS(half.AsX(), half)
	c.Label("loop")
	for i := range 64 / s.lanes {
		x, at := s.at(i), s.bytes()*i
		c.VMOVUPS(Mem{Base: b, Disp: at}, x)
		c.VFMADD213PS(Mem{Base: a, Disp: at}, half, x)
		c.VMOVUPS(x, Mem{Base: dst, Disp: at})
	}
	for _, r := range []reg.GPVirtual{dst, a, b} {
		c.ADDQ(U32(256), r)
	}
	c.SUBQ(U8(64), n)
	c.JNZ(LabelRef("loop"))
	c.VZEROUPPER()
	c.RET()
}
