package main

import (
	. "github.com/mmcloughlin/avo/operand"
)

// The functions here follow their generic loops step by step, so that they give the same bits: exp.go, log.go and
// activations.go of package cpu say why they do what they do, and where the coefficients come from.

const (
	signBit = constant(1 << 31)
	noSign  = constant(1<<31 - 1)
)

func comparison(predicate int) func(s isa, a []vec) vec {
	return func(s isa, a []vec) vec { return s.keep(s.compare(predicate, a[0], a[1]), f32(1)) }
}

func (s isa) sign(a []vec) vec {
	x := a[0]
	one := s.do(or, s.do(and, x, signBit), f32(1))
	zero := s.zero()
	return s.ordered(s.keep(s.compare(notEqual, x, zero), one), x, x)
}

// relu: VMAXPS passes NaN on as its second operand, and -0 too, which adding +0 makes +0.
func (s isa) relu(a []vec) vec {
	zero := s.zero()
	return s.do(add, s.do(most, zero, a[0]), zero)
}

func (s isa) floor(a []vec) vec {
	d := s.reg()
	if s.wide() {
		s.VRNDSCALEPS(U8(9), a[0], d)
	} else {
		s.VROUNDPS(U8(9), a[0], d)
	}
	return d
}

func (s isa) exp(x vec) vec {
	x = s.do(least, s.load(f32(89)), x)
	x = s.do(most, s.load(f32(-104)), x)
	t := s.do(add, s.do(mul, x, f32(1.44269504088896341)), f32(0x1.8p23))
	n := s.do(sub, t, f32(0x1.8p23))
	r := s.do(sub, x, s.do(mul, n, f32(0.693359375)))
	r = s.do(sub, r, s.do(mul, n, f32(-2.12194440e-4)))
	p := s.horner(r, f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3), f32(4.1665795894e-2),
		f32(1.6666665459e-1), f32(5.0000001201e-1))
	p = s.do(mul, s.do(mul, p, r), r)
	p = s.do(add, s.do(add, p, r), f32(1))
	if s.wide() {
		d := s.reg()
		s.VSCALEFPS(n, p, d) // one rounding, as the two exact scalings below have
		return d
	}
	k := s.do(isub, t, constant(0x4b400000))
	half := s.shiftRight(1, k)
	pow2 := func(k vec) vec { return s.shiftLeft(23, s.do(iadd, k, constant(127))) }
	return s.do(mul, s.do(mul, p, pow2(half)), pow2(s.do(isub, k, half)))
}

// minusAbs is -|a|.
func (s isa) minusAbs(a vec) vec { return s.do(or, a, signBit) }

func (s isa) sigmoid(a []vec) vec {
	e := s.exp(s.minusAbs(a[0]))
	one := s.load(f32(1))
	negative := s.compare(lessThan, a[0], s.zero())
	return s.do(div, s.choose(negative, e, one), s.do(add, e, one))
}

func (s isa) tanh(a []vec) vec {
	x := a[0]
	e := s.exp(s.do(mul, s.minusAbs(x), f32(2)))
	one := s.load(f32(1))
	far := s.do(div, s.do(sub, one, e), s.do(add, one, e))
	far = s.do(or, far, s.do(and, x, signBit))
	z := s.do(mul, x, x)
	p := s.horner(z, f32(-5.70498872745e-3), f32(2.06390887954e-2), f32(-5.37397155531e-2), f32(1.33314422036e-1),
		f32(-3.33332819422e-1))
	near := s.do(add, s.do(mul, s.do(mul, p, z), x), x)
	return s.choose(s.compare(lessThan, s.do(and, x, noSign), f32(0.625)), near, far)
}

func (s isa) softplus(a []vec) vec {
	x := a[0]
	e := s.exp(s.minusAbs(x))
	q := s.do(div, e, s.do(add, e, f32(2)))
	z := s.do(mul, q, q)
	p := s.horner(z, f32(1./15), f32(1./13), f32(1./11), f32(1./9), f32(1./7), f32(1./5), f32(1./3))
	q = s.do(add, q, q)
	q = s.do(add, q, s.do(mul, q, s.do(mul, p, z)))
	return s.do(add, s.do(most, s.zero(), x), q)
}

func (s isa) log(a []vec) vec {
	x := a[0]
	tiny := s.compare(lessThan, x, f32(0x1p-126))
	bits := s.choose(tiny, s.do(mul, x, f32(0x1p23)), x)
	k := s.shiftRight(23, s.do(isub, bits, sqrtHalf))
	m := s.do(isub, bits, s.shiftLeft(23, k))
	e := s.do(sub, s.toReal(k), s.keep(tiny, f32(23)))
	f := s.do(sub, m, f32(1))
	z := s.do(mul, f, f)
	y := s.do(mul, s.do(mul, s.horner(f, logP...), f), z)
	y = s.do(add, y, s.do(mul, e, f32(-2.12194440e-4)))
	y = s.do(sub, y, s.do(mul, z, f32(0.5)))
	y = s.do(add, s.do(add, f, y), s.do(mul, e, f32(0.693359375)))
	// The rest: +Inf stays, ±0 gives -Inf, NaN and what is below 0 give NaN.
	inf := s.load(f32inf)
	y = s.choose(s.compare(equal, x, inf), inf, y)
	y = s.choose(s.compare(equal, x, s.zero()), s.load(f32inf|signBit), y)
	return s.choose(s.compare(notLessEqual, s.zero(), x), s.load(quietNaN), y)
}

const (
	sqrtHalf     = constant(0x3f3504f3) // the bits of √½
	f32inf       = constant(0x7f800000)
	quietNaN     = constant(0x7fc00000)
	notLessEqual = 0x16 // true for NaN
)

var logP = []constant{
	f32(7.0376836292e-2), f32(-1.1514610310e-1), f32(1.1676998740e-1), f32(-1.2420140846e-1), f32(1.4249322787e-1),
	f32(-1.6668057665e-1), f32(2.0000714765e-1), f32(-2.4999993993e-1), f32(3.3333331174e-1),
}
