package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dots writes the kernel of a matrix times a vector: vectors along k, eight rows at a time.
func dots(c *Context, s registers) {
	c.Function("dots" + s.name)
	c.Attributes(attr.NOSPLIT)
	c.Pragma("noescape")
	c.SignatureExpr("func(rows, k int, a *float32, rs int, x *float32, y *float32, ldy int)")
	c.Doc("dots"+s.name+" computes y[i·ldy] = Σ_q a[i·rs + q] · x[q] for i < rows, q < k, both at least 1. Each sum is one of as many",
		"sums as a vector has lanes, added by halves at the end.")
	k := &tileKernel{Context: c, registers: s}
	rows, whole, lanes := c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("k"), whole)
	c.DECQ(whole)
	c.MOVQ(whole, lanes)
	c.ANDQ(U8(s.lanes-1), lanes)
	c.SUBQ(lanes, whole)
	c.INCQ(lanes)
	c.SHLQ(U8(2), whole)
	k.maskOf(lanes)
	c.Load(c.Param("rows"), rows)
	a, x, y := c.GP64(), c.GP64(), c.GP64()
	c.Load(c.Param("a"), a)
	c.Load(c.Param("x"), x)
	c.Load(c.Param("y"), y)
	rs, ldy := k.stride("rs"), k.stride("ldy")
	rs3, fifth := c.GP64(), c.GP64()
	c.LEAQ(Mem{Base: rs, Index: rs, Scale: 2}, rs3)

	at := c.GP64()
	term := s.at(8)
	for _, r := range []int{8, 1} {
		name := func(l string) string { return fmt.Sprint(l, r) }
		c.Label(name("group"))
		c.CMPQ(rows, U8(r))
		c.JLT(LabelRef(name("fewer")))
		for i := range r {
			k.zero(s.at(i))
		}
		c.XORQ(at, at)
		row := func(i int) Mem { // of the term at
			m := Mem{Base: a, Index: rs, Scale: uint8(i % 4)}
			if i >= 4 {
				m.Base = fifth
			}
			switch i % 4 {
			case 0:
				m.Index, m.Scale = nil, 0
			case 3:
				m.Index, m.Scale = rs3, 1
			}
			return m
		}
		add := func(last bool) {
			k.load(Mem{Base: x, Index: at, Scale: 1}, term, last)
			for i := range r {
				if last {
					k.load(row(i), s.at(9), true)
					c.VFMADD231PS(s.at(9), term, s.at(i))
				} else {
					c.VFMADD231PS(row(i), term, s.at(i))
				}
			}
		}
		c.LEAQ(Mem{Base: a, Index: rs, Scale: 4}, fifth)
		c.CMPQ(at, whole)
		c.JGE(LabelRef(name("last")))
		c.Label(name("loop"))
		add(false)
		for _, p := range []reg.GPVirtual{a, fifth, at} {
			c.ADDQ(U8(s.bytes()), p)
		}
		c.CMPQ(at, whole)
		c.JLT(LabelRef(name("loop")))
		c.Label(name("last"))
		add(true)
		for i := range r {
			k.halve(s.at(i), s.at(9))
			c.VMOVSS(s.at(i).AsX(), Mem{Base: y})
			c.ADDQ(ldy, y)
		}
		c.SUBQ(whole, a) // back to the first term, and on
		for range map[int]int{8: 2, 1: 0}[r] {
			c.LEAQ(Mem{Base: a, Index: rs, Scale: 4}, a)
		}
		if r == 1 {
			c.ADDQ(rs, a)
		}
		c.SUBQ(U8(r), rows)
		c.JMP(LabelRef(name("group")))
		c.Label(name("fewer"))
	}
	c.VZEROUPPER()
	c.RET()
}

// halve adds the upper half of a register to the lower one until one lane is left.
func (k *tileKernel) halve(r, temp reg.VecPhysical) {
	if k.lanes == 16 {
		k.VEXTRACTF64X4(U8(1), r, temp.AsY())
		k.VADDPS(temp.AsY(), r.AsY(), r.AsY())
	}
	k.VEXTRACTF128(U8(1), r.AsY(), temp.AsX())
	k.VADDPS(temp.AsX(), r.AsX(), r.AsX())
	k.VMOVHLPS(r.AsX(), temp.AsX(), temp.AsX())
	k.VADDPS(temp.AsX(), r.AsX(), r.AsX())
	k.VMOVSHDUP(r.AsX(), temp.AsX())
	k.VADDSS(temp.AsX(), r.AsX(), r.AsX())
}
