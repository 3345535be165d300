package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The random numbers of package philox, which defines every step.

// random writes the loops of random.go.
func (s isa) random() {
	s.philox()
	s.begin("philoxUniforms", "func(dst []float32, a []int32)", "")
	s.loop("V", 2, func(s isa, a []vec) vec {
		return s.do(mul, s.toReal(s.shift((*build.Context).VPSRLD, 8, a[0])), f32(0x1p-24))
	}, nil)
	s.begin("philoxNormals", "func(dst []float32, a []int32)", "")
	s.loop("V", 1, isa.normal, nil)
	s.begin("philoxIntegers", "func(dst, a []int32, b uint32)", "")
	s.loop("VS", 2, func(s isa, a []vec) vec { // the high words of the products, of even and of odd lanes
		even, odd := s.reg(), s.reg()
		s.VPMULUDQ(a[1], a[0], even)
		s.VPMULUDQ(a[1], s.shift((*build.Context).VPSRLQ, 32, a[0]), odd)
		return s.oddLanes(s.shift((*build.Context).VPSRLQ, 32, even), odd)
	}, nil)
}

// oddLanes is even in the even lanes of 32 bits and odd in the odd ones.
func (s isa) oddLanes(even, odd vec) vec {
	d := s.reg()
	if s.wide() {
		bits, k := s.GP32(), s.K()
		s.MOVL(U32(0xaaaa), bits)
		s.KMOVW(bits, k)
		s.VPBLENDMD(odd, even, k, d)
	} else {
		s.VPBLENDD(U8(0xaa), odd, even, d)
	}
	return d
}

const (
	mul0, mul1   = constant(0xD2511F53), constant(0xCD9E8D57)
	weyl0, weyl1 = constant(0x9E3779B9), constant(0xBB67AE85)
)

// philox writes func(dst []int32, seed uint64, step, stream uint32, block uint64): the words of as many whole groups of
// blocks as dst holds. A lane of 64 bits computes one block, its words in the low halves: multiplication reads nothing
// else, and what the high halves hold never comes back.
func (s isa) philox() {
	s.begin("philoxBits", "func(dst []int32, seed uint64, step, stream uint32, block uint64)",
		", but leaves a last part shorter than a group (32 words, AVX2: 16) as it is")
	dst, n := s.Load(s.Param("dst").Base(), s.GP64()), s.Load(s.Param("dst").Len(), s.GP64())
	group := s.lanes() * 2 // words
	index := s.reg()
	s.VPBROADCASTQ(s.param("block"), index)
	offsets := s.reg()
	s.VMOVUPS(s.indexOffsets(), offsets)
	s.VPADDQ(offsets, index, index)
	step, stream := s.broadcast(s.param("step")), s.broadcast(s.param("stream"))
	seed0 := s.reg()
	s.VPBROADCASTQ(s.param("seed"), seed0)
	seed1 := s.shift((*build.Context).VPSRLQ, 32, seed0)
	advance, m0, m1 := s.reg(), s.load(mul0), s.load(mul1)
	count := s.GP64()
	s.MOVQ(U32(s.lanes()/2), count)
	x := s.XMM()
	s.MOVQ(count, x)
	s.VPBROADCASTQ(x, advance)
	s.JMP(LabelRef("test"))
	s.Label("group")
	c0, c1, c2, c3 := index, s.shift((*build.Context).VPSRLQ, 32, index), step, stream
	k0, k1 := seed0, seed1
	for round := range 10 {
		if round > 0 {
			k0, k1 = s.do(iadd, k0, weyl0), s.do(iadd, k1, weyl1)
		}
		p0, p1 := s.reg(), s.reg()
		s.VPMULUDQ(m0, c0, p0)
		s.VPMULUDQ(m1, c2, p1)
		high0, high1 := s.shift((*build.Context).VPSRLQ, 32, p0), s.shift((*build.Context).VPSRLQ, 32, p1)
		c0, c1, c2, c3 = s.xor3(high1, c1, k0), p1, s.xor3(high0, c3, k1), p0
	}
	a := s.oddLanes(c0, s.shift((*build.Context).VPSLLQ, 32, c1))
	b := s.oddLanes(c2, s.shift((*build.Context).VPSLLQ, 32, c3))
	low, high := s.reg(), s.reg()
	s.VPUNPCKLQDQ(b, a, low)
	s.VPUNPCKHQDQ(b, a, high)
	s.write(low, Mem{Base: dst}, nil)
	s.write(high, Mem{Base: dst, Disp: s.bytes}, nil)
	s.VPADDQ(advance, index, index)
	s.ADDQ(U32(4*group), dst)
	s.SUBQ(U32(group), n)
	s.Label("test")
	s.CMPQ(n, U32(group))
	s.JGE(LabelRef("group"))
	s.end()
}

func (s isa) xor3(a, b, c vec) vec {
	if !s.wide() {
		return s.do(xor, s.do(xor, a, b), c)
	}
	d := s.reg()
	s.VMOVAPS(a, d)
	s.VPTERNLOGD(U8(0x96), b, c, d)
	return d
}

// indexOffsets are the blocks of the lanes: unpacking puts the even lanes before the odd ones.
func (s isa) indexOffsets() Mem {
	return Mem{Symbol: Symbol{Name: fmt.Sprintf("vecOffsets%d", s.bytes), Static: true}, Base: reg.StaticBase}
}

func emitOffsets(c *build.Context) {
	for _, s := range isas(c) {
		c.StaticGlobal(fmt.Sprintf("vecOffsets%d", s.bytes))
		c.DataAttributes(attr.RODATA | attr.NOPTR)
		half := s.lanes() / 4
		for i := range half {
			c.AddDatum(16*i, U64(i))
			c.AddDatum(16*i+8, U64(half+i))
		}
	}
}

// normal is philox.Normal.
func (s isa) normal(a []vec) vec {
	k := s.shift((*build.Context).VPSRLD, 9, a[0])
	k = s.do(iadd, s.do(iadd, k, k), constant(0xff800001)) // + 1 - 2²³
	x := s.do(mul, s.toReal(k), f32(0x1p-23))
	one := s.load(f32(1))
	w := s.do(xor, s.logOfUniform(s.do(mul, s.do(sub, one, x), s.do(add, one, x))), signBit)
	centre := s.hornerFrom(s.do(sub, w, f32(2.5)), normalCentre)
	tail := s.hornerFrom(s.do(sub, s.sqrt(w), f32(3)), normalTail)
	p := s.choose(s.compare(lessThan, w, f32(5)), centre, tail)
	return s.do(mul, s.do(mul, p, x), f32(1.41421356))
}

// logOfUniform is log of package philox, for positive normal t.
func (s isa) logOfUniform(t vec) vec {
	e := s.shiftRight(23, s.do(isub, t, constant(0x3f2aaaab)))
	f := s.do(sub, s.do(isub, t, s.shiftLeft(23, e)), f32(1))
	z := s.do(mul, f, f)
	odd := s.hornerFrom(z, []float64{0.140869141, 0.139814854, 0.200120345})
	even := s.hornerFrom(z, []float64{-0.130310059, -0.121483512, -0.166846126, -0.249996200})
	q := s.do(add, s.do(mul, odd, f), even)
	q = s.do(add, s.do(mul, q, f), f32(0.333331972))
	q = s.do(add, s.do(mul, q, f), f32(-0.5))
	return s.do(add, s.do(mul, s.toReal(e), f32(0.693147182)), s.do(add, s.do(mul, q, z), f))
}

func (s isa) hornerFrom(x vec, c []float64) vec {
	list := make([]constant, len(c))
	for i, v := range c {
		list[i] = f32(v)
	}
	return s.horner(x, list...)
}

var (
	normalCentre = []float64{
		2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
		0.246640727, 1.50140941,
	}
	normalTail = []float64{
		-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
		1.00167406, 2.83297682,
	}
)
