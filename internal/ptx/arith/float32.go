package arith

import "math"

// AddRN is a + b rounded to nearest even, subnormals kept: add.f32 and add.rn.f32.
func AddRN(a, b uint32) uint32 {
	return bits32(math.Float32frombits(a) + math.Float32frombits(b))
}

// SubRN is a - b rounded to nearest even: sub.f32 and sub.rn.f32.
func SubRN(a, b uint32) uint32 {
	return bits32(math.Float32frombits(a) - math.Float32frombits(b))
}

// MulRN is a · b rounded to nearest even: mul.f32 and mul.rn.f32.
func MulRN(a, b uint32) uint32 {
	return bits32(math.Float32frombits(a) * math.Float32frombits(b))
}

// bits32 is the bits of f, canonical if it is not a number.
func bits32(f float32) uint32 {
	if f != f {
		return NaN32
	}
	return math.Float32bits(f)
}

// FmaRN is a · b + c rounded once, to nearest even: fma.rn.f32.
//
// The product is exact in binary64. Rounding the binary64 sum once more errs only where it lies halfway between two
// binary32 numbers without being the exact sum, or in the subnormal range; there fmaSlow repeats the sum rounded to
// odd.
func FmaRN(a, b, c uint32) uint32 {
	p := float64(math.Float32frombits(a)) * float64(math.Float32frombits(b))
	s := p + float64(math.Float32frombits(c))
	u := math.Float64bits(s)
	// Exponent fields of 0x381 to 0x47e are normal in binary32, sums that round up to infinity included.
	if u&(1<<29-1) != 1<<28 && u>>52&0x7ff-0x381 < 0x47f-0x381 {
		return math.Float32bits(float32(s))
	}
	return fmaSlow(p, float64(math.Float32frombits(c)))
}

func fmaSlow(p, c float64) uint32 { return bits32(float32(sumOdd(p, c))) }

func f32(u uint32) float64 { return float64(math.Float32frombits(u)) }

// in32 prepares an input, out32 a result rounded to odd.
func (m Mode) in32(u uint32) float64 {
	if m.FTZ {
		u = single.flush(u)
	}
	return f32(u)
}

func (m Mode) out32(v float64) uint32 {
	return m.finish32(single.round(v, m.Round.direction()))
}

func (m Mode) finish32(u uint32) uint32 {
	if m.FTZ {
		u = single.flush(u)
	}
	if m.Sat {
		u = saturate32(u)
	}
	return u
}

// saturate32 clamps to [0, 1]; NaN and -0 become +0.
func saturate32(u uint32) uint32 {
	switch f := math.Float32frombits(u); {
	case !(f > 0):
		return 0
	case f > 1:
		return math.Float32bits(1)
	}
	return u
}

// AddF32 is a + b: add{.rnd}{.ftz}{.sat}.f32, PTX ISA 9.7.3.
func (m Mode) AddF32(a, b uint32) uint32 { return m.out32(m.sum(m.in32(a), m.in32(b))) }

// SubF32 is a - b: sub{.rnd}{.ftz}{.sat}.f32.
func (m Mode) SubF32(a, b uint32) uint32 { return m.out32(m.sum(m.in32(a), -m.in32(b))) }

// sum is a+b rounded to odd, with the sign of an exact zero that m's rounding asks for.
func (m Mode) sum(a, b float64) float64 {
	s := sumOdd(a, b)
	if s == 0 && m.Round == RM && (a != 0 || math.Signbit(a) != math.Signbit(b)) {
		return math.Copysign(0, -1)
	}
	return s
}

// MulF32 is a · b: mul{.rnd}{.ftz}{.sat}.f32.
func (m Mode) MulF32(a, b uint32) uint32 { return m.out32(m.in32(a) * m.in32(b)) }

// FmaF32 is a · b + c rounded once: fma.rnd{.ftz}{.sat}.f32.
func (m Mode) FmaF32(a, b, c uint32) uint32 {
	return m.out32(m.sum(m.in32(a)*m.in32(b), m.in32(c)))
}

// DivF32 is a / b: div.rnd{.ftz}.f32. Quotients and roots of 24-bit numbers lie further from any 25-bit number than
// binary64's rounding moves them, so that rounding twice is rounding once: S. A. Figueroa, "When is double rounding
// innocuous?", SIGNUM Newsletter 30(3), 1995.
func (m Mode) DivF32(a, b uint32) uint32 { return m.out32(m.in32(a) / m.in32(b)) }

// RcpF32 is 1 / a: rcp.rnd{.ftz}.f32.
func (m Mode) RcpF32(a uint32) uint32 { return m.out32(1 / m.in32(a)) }

// SqrtF32 is the square root of a: sqrt.rnd{.ftz}.f32.
func (m Mode) SqrtF32(a uint32) uint32 { return m.out32(math.Sqrt(m.in32(a))) }

// MinF32 is the smaller of a and b, -0 below +0; a NaN loses unless m.NaN: min{.ftz}{.NaN}{.xorsign.abs}.f32.
func (m Mode) MinF32(a, b uint32) uint32 { return m.pick(single, a, b, less) }

// MaxF32 is the greater of a and b, like MinF32.
func (m Mode) MaxF32(a, b uint32) uint32 { return m.pick(single, a, b, greater) }

// pick is min or max of any narrow format.
func (m Mode) pick(f format, a, b uint32, want Cmp) uint32 {
	if m.FTZ {
		a, b = f.flush(a), f.flush(b)
	}
	sign := (a ^ b) & f.sign()
	nanA, nanB := f.isNaN(a), f.isNaN(b)
	if m.XorSign {
		a, b = a&^f.sign(), b&^f.sign()
	}
	switch {
	case nanA && nanB, m.NaN && (nanA || nanB):
		return f.nan
	case nanA:
		a = b
	case nanB:
	case order(f.key(b), f.key(a)) == want:
		a = b
	}
	if m.XorSign {
		return a | sign
	}
	return a
}

// key orders numbers as integers, -0 below +0.
func (f format) key(u uint32) int32 {
	if u&f.sign() != 0 {
		return -int32(u&^f.sign()) - 1
	}
	return int32(u)
}

// AbsF32 clears the sign: abs{.ftz}.f32.
func (m Mode) AbsF32(a uint32) uint32 { return m.signed(a &^ (1 << 31)) }

// NegF32 turns the sign: neg{.ftz}.f32.
func (m Mode) NegF32(a uint32) uint32 { return m.signed(a ^ 1<<31) }

func (m Mode) signed(a uint32) uint32 {
	if m.FTZ {
		return single.flush(a)
	}
	return a
}

// CopysignF32 is b with the sign of a: copysign.f32.
func CopysignF32(a, b uint32) uint32 { return a&(1<<31) | b&^(1<<31) }

// F32 compares single precision numbers; ftz is Mode.FTZ.
func (c Cmp) F32(a, b uint32) bool {
	return c&order(math.Float32frombits(a), math.Float32frombits(b)) != 0
}

// F32FTZ compares single precision numbers, subnormals as zeros.
func (c Cmp) F32FTZ(a, b uint32) bool { return c.F32(single.flush(a), single.flush(b)) }
