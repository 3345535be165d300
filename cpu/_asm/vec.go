package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// This file is the small language that the vector kernels are written in: the same steps for AVX2 and AVX-512. Steps
// that the two do differently (masks, blends) are methods here, so that a kernel says what it computes once.

// isa is an instruction set.
type isa struct {
	*build.Context
	name  string // suffix of the functions
	bytes int    // of a vector
}

// isas are the instruction sets that c may be used for.
func isas(c *build.Context) []isa { return []isa{{c, "AVX2", 32}, {c, "AVX512", 64}} }

// wide says that there are K registers, at any length of vectors.
func (s isa) wide() bool { return s.name == "AVX512" }

func (s isa) lanes() int { return s.bytes / 4 }

// vec is a vector register; an operand of a step may also be a constant.
type vec = reg.VecVirtual

func (s isa) reg() vec {
	switch s.bytes {
	case 64:
		return s.ZMM()
	case 32:
		return s.YMM()
	}
	return s.XMM()
}

// constant is a 32-bit pattern in all lanes. It lies eight times in memory: AVX2 reads it as a vector, AVX-512
// broadcasts.
type constant uint32

func f32(v float64) constant { return constant(math.Float32bits(float32(v))) }

var pool []constant

func (c constant) mem() Mem {
	for i, have := range pool {
		if have == c {
			return poolAt(i)
		}
	}
	pool = append(pool, c)
	return poolAt(len(pool) - 1)
}

func poolAt(i int) Mem {
	return Mem{Symbol: Symbol{Name: "vecConstants", Static: true}, Base: reg.StaticBase, Disp: 32 * i}
}

// emitPool writes the constants that the functions used, and the masks of AVX2.
func emitPool(s *build.Context) {
	s.StaticGlobal("vecConstants")
	s.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, c := range pool {
		for j := range 8 {
			s.AddDatum(32*i+4*j, U32(c))
		}
	}
	s.StaticGlobal("vecMasks")
	s.DataAttributes(attr.RODATA | attr.NOPTR)
	for j := range 16 {
		m := U32(0)
		if j < 8 {
			m = math.MaxUint32
		}
		s.AddDatum(4*j, m)
	}
}

// step is an instruction of two operands, with its form that broadcasts the second from memory.
type step struct{ plain, broadcast func(*build.Context, ...Op) }

var (
	add = step{(*build.Context).VADDPS, (*build.Context).VADDPS_BCST}
	sub = step{(*build.Context).VSUBPS, (*build.Context).VSUBPS_BCST}
	mul = step{(*build.Context).VMULPS, (*build.Context).VMULPS_BCST}
	div = step{(*build.Context).VDIVPS, (*build.Context).VDIVPS_BCST}
	// the second operand where either is NaN or both are zeros
	least = step{(*build.Context).VMINPS, (*build.Context).VMINPS_BCST}
	most  = step{(*build.Context).VMAXPS, (*build.Context).VMAXPS_BCST}
	and   = step{(*build.Context).VANDPS, (*build.Context).VANDPS_BCST}
	or    = step{(*build.Context).VORPS, (*build.Context).VORPS_BCST}
	xor   = step{(*build.Context).VXORPS, (*build.Context).VXORPS_BCST}
	iadd  = step{(*build.Context).VPADDD, (*build.Context).VPADDD_BCST}
	isub  = step{(*build.Context).VPSUBD, (*build.Context).VPSUBD_BCST}
	imul  = step{(*build.Context).VPMULLD, (*build.Context).VPMULLD_BCST}
)

// Op2 is the second operand of a step: a vec or a constant.
type Op2 any

// do computes a ∘ b.
func (s isa) do(o step, a vec, b Op2) vec {
	d := s.reg()
	switch b := b.(type) {
	case constant:
		if s.wide() {
			o.broadcast(s.Context, b.mem(), a, d)
		} else {
			o.plain(s.Context, b.mem(), a, d)
		}
	case vec:
		o.plain(s.Context, b, a, d)
	}
	return d
}

// load gives a constant a register.
func (s isa) load(c constant) vec {
	d := s.reg()
	s.VBROADCASTSS(c.mem(), d)
	return d
}

func (s isa) zero() vec {
	d := s.reg()
	if s.wide() {
		s.VPXORD(d, d, d)
	} else {
		s.VXORPS(d, d, d)
	}
	return d
}

// horner computes (…(c0·x + c1)·x + …) + cn, each product and each sum rounded.
func (s isa) horner(x vec, c ...constant) vec {
	p := s.do(mul, x, c[0])
	for i, v := range c[1:] {
		if i > 0 {
			p = s.do(mul, p, x)
		}
		p = s.do(add, p, v)
	}
	return p
}

// shift is a shift instruction by n bits.
func (s isa) shift(instruction func(*build.Context, ...Op), n int, a vec) vec {
	d := s.reg()
	instruction(s.Context, U8(n), a, d)
	return d
}

func (s isa) shiftLeft(n int, a vec) vec  { return s.shift((*build.Context).VPSLLD, n, a) }
func (s isa) shiftRight(n int, a vec) vec { return s.shift((*build.Context).VPSRAD, n, a) } // arithmetic

// toReal converts integers, rounding to nearest even.
func (s isa) toReal(a vec) vec {
	d := s.reg()
	s.VCVTDQ2PS(a, d)
	return d
}

func (s isa) sqrt(a vec) vec {
	d := s.reg()
	s.VSQRTPS(a, d)
	return d
}

// mask is a choice for each lane: a K register of AVX-512, or a vector of all ones and zeros.
type mask struct {
	k reg.Register
	v vec
}

// Predicates of VCMPPS.
const (
	equal     = 0x00 // false for NaN
	unordered = 0x03
	notEqual  = 0x04 // true for NaN
	lessThan  = 0x11
	lessEqual = 0x12
)

// compare is the mask a ? b.
func (s isa) compare(predicate int, a vec, b Op2) mask {
	c, isConstant := b.(constant)
	if s.wide() {
		k := s.K()
		if isConstant {
			s.VCMPPS_BCST(U8(predicate), c.mem(), a, k)
		} else {
			s.VCMPPS(U8(predicate), b.(vec), a, k)
		}
		return mask{k: k}
	}
	d := s.reg()
	if isConstant {
		s.VCMPPS(U8(predicate), c.mem(), a, d)
	} else {
		s.VCMPPS(U8(predicate), b.(vec), a, d)
	}
	return mask{v: d}
}

// icompare is the mask of instruction VPCMPGTD or VPCMPEQD on a and b.
func (s isa) icompare(instruction func(*build.Context, ...Op), a, b vec) mask {
	if s.wide() {
		k := s.K()
		instruction(s.Context, b, a, k)
		return mask{k: k}
	}
	d := s.reg()
	instruction(s.Context, b, a, d)
	return mask{v: d}
}

// choose is yes where m holds, else no.
func (s isa) choose(m mask, yes, no vec) vec {
	d := s.reg()
	if s.wide() {
		s.VBLENDMPS(yes, no, m.k, d)
	} else {
		s.VBLENDVPS(m.v, yes, no, d)
	}
	return d
}

// keep is a where m holds, else +0.
func (s isa) keep(m mask, a Op2) vec {
	d := s.reg()
	switch a := a.(type) {
	case constant:
		if s.wide() {
			s.VBROADCASTSS_Z(a.mem(), m.k, d)
		} else {
			s.VANDPS(a.mem(), m.v, d)
		}
	case vec:
		if s.wide() {
			s.VMOVAPS_Z(a, m.k, d)
		} else {
			s.VANDPS(a, m.v, d)
		}
	}
	return d
}

// ordered is v, or NaN where a or b is NaN.
func (s isa) ordered(v, a, b vec) vec {
	nan := s.compare(unordered, a, b)
	if s.wide() {
		s.VADDPS(a, b, nan.k, v)
		return v
	}
	return s.do(or, v, nan.v)
}

// maximum and minimum are Go's max and min: NaN wins, -0 < +0.
func (s isa) maximum(a, b vec) vec {
	if s.wide() {
		d := s.reg()
		s.VRANGEPS(U8(0b0101), b, a, d)
		return s.ordered(d, a, b)
	}
	return s.ordered(s.do(and, s.do(most, a, b), s.do(most, b, a)), a, b)
}

func (s isa) minimum(a, b vec) vec {
	if s.wide() {
		d := s.reg()
		s.VRANGEPS(U8(0b0100), b, a, d)
		return s.ordered(d, a, b)
	}
	return s.ordered(s.do(or, s.do(least, a, b), s.do(least, b, a)), a, b)
}

// atLeast makes max(x, bound) of two steps: VMAXPS gives x where it is NaN, the bound is NaN, or both are zeros; adding
// NaN, +0 or -0, as the bound is NaN, +0 or anything else, makes that right and changes nothing else.
func (s isa) atLeast(bound vec) func(x vec) vec {
	zero := s.zero()
	fix := s.choose(s.icompare((*build.Context).VPCMPEQD, bound, zero), zero, s.load(signBit))
	fix = s.ordered(fix, bound, bound)
	return func(x vec) vec { return s.do(add, s.do(most, bound, x), fix) }
}

// atMost makes min(x, bound) of two steps: where the bound is -0 the result has the sign bit set anyway, and setting
// all bits is NaN.
func (s isa) atMost(bound vec) func(x vec) vec {
	minusZero := s.load(signBit)
	fix := s.keep(s.icompare((*build.Context).VPCMPEQD, bound, minusZero), minusZero)
	fix = s.do(or, fix, s.keep(s.compare(unordered, bound, bound), constant(math.MaxUint32)))
	return func(x vec) vec { return s.do(or, s.do(least, bound, x), fix) }
}

// tail is the mask of the first n lanes, 0 ≤ n ≤ lanes; n is left as it is.
func (s isa) tail(n reg.Register) mask {
	if s.wide() {
		bits, k := s.GP64(), s.K()
		s.MOVQ(n, reg.RCX)
		s.MOVQ(U32(1), bits)
		s.SHLQ(reg.CL, bits)
		s.DECQ(bits)
		s.KMOVW(bits.As32(), k)
		return mask{k: k}
	}
	p, m := s.GP64(), s.reg()
	s.LEAQ(Mem{Symbol: Symbol{Name: "vecMasks", Static: true}, Base: reg.StaticBase, Disp: 32}, p)
	minus := s.GP64()
	s.MOVQ(n, minus)
	s.NEGQ(minus)
	s.VMOVUPS(Mem{Base: p, Index: minus, Scale: 4}, m)
	return mask{v: m}
}

// read loads a vector, or, where part is not nil, its lanes of part, the others being +0 and not touched.
func (s isa) read(from Mem, part *mask) vec {
	d := s.reg()
	switch {
	case part == nil:
		s.VMOVUPS(from, d)
	case s.wide():
		s.VMOVUPS_Z(from, part.k, d)
	default:
		s.VMASKMOVPS(from, part.v, d)
	}
	return d
}

// write stores a vector, or the lanes of part.
func (s isa) write(v vec, to Mem, part *mask) {
	switch {
	case part == nil:
		s.VMOVUPS(v, to)
	case s.wide():
		s.VMOVUPS(v, part.k, to)
	default:
		s.VMASKMOVPS(v, part.v, to)
	}
}

// broadcast loads one element to all lanes.
func (s isa) broadcast(from Mem) vec {
	d := s.reg()
	s.VBROADCASTSS(from, d)
	return d
}

// param is the memory of a scalar parameter.
func (s isa) param(name string) Mem {
	b, err := s.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// begin opens a function.
func (s isa) begin(name, signature, doc string) {
	s.Function(name + s.name)
	s.Attributes(attr.NOSPLIT)
	s.SignatureExpr(signature)
	s.Doc(name + s.name + " works like " + name + doc + ".")
}

func (s isa) end() {
	s.VZEROUPPER()
	s.RET()
}

// vec writes the elementwise loops and the reductions.
func vecFamily(c *build.Context) {
	pool = nil
	for _, s := range isas(c) {
		s.elementwise()
		s.rows()
		s.random()
	}
	prefetch(c)
	emitPool(c)
	emitOffsets(c)
}
