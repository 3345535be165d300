package arith

// A Half is one of the two 16-bit formats. Its methods are the instructions of PTX ISA 9.7.4 (and the bf16 forms of
// those chapters) on one number; Pack1 to Pack3 lift them to .f16x2 and .bf16x2.
type Half struct{ f format }

// F16 is binary16.
func F16() Half { return Half{half} }

// BF16 is bfloat16, the upper half of binary32.
func BF16() Half { return Half{bfloat} }

func (h Half) in(m Mode, u uint16) float64 {
	if m.FTZ {
		u = uint16(h.f.flush(uint32(u)))
	}
	return h.f.widen(uint32(u))
}

func (h Half) out(m Mode, v float64) uint16 {
	return uint16(h.finish(m, h.f.round(v, m.Round.direction())))
}

// finish flushes and clamps the result u as m says.
func (h Half) finish(m Mode, u uint32) uint32 {
	if m.FTZ {
		u = h.f.flush(u)
	}
	one := uint32(1<<(h.f.exp-1)-1) << h.f.frac
	switch {
	case m.Sat && (u&h.f.sign() != 0 || h.f.isNaN(u)):
		return 0
	case m.Sat && u > one:
		return one
	case m.Relu && u&h.f.sign() != 0: // NaN has no sign here
		return 0
	}
	return u
}

// Add is a + b: add{.rnd}{.ftz}{.sat}.
func (h Half) Add(m Mode, a, b uint16) uint16 { return h.out(m, m.sum(h.in(m, a), h.in(m, b))) }

// Sub is a - b: sub{.rnd}{.ftz}{.sat}.
func (h Half) Sub(m Mode, a, b uint16) uint16 { return h.out(m, m.sum(h.in(m, a), -h.in(m, b))) }

// Mul is a · b: mul{.rnd}{.ftz}{.sat}.
func (h Half) Mul(m Mode, a, b uint16) uint16 { return h.out(m, h.in(m, a)*h.in(m, b)) }

// Fma is a · b + c rounded once: fma.rnd{.ftz}{.sat|.relu}.
func (h Half) Fma(m Mode, a, b, c uint16) uint16 {
	return h.out(m, m.sum(h.in(m, a)*h.in(m, b), h.in(m, c)))
}

// Min is the smaller of a and b, -0 below +0; a NaN loses unless m.NaN: min{.ftz}{.NaN}{.xorsign.abs}.
func (h Half) Min(m Mode, a, b uint16) uint16 { return uint16(m.pick(h.f, uint32(a), uint32(b), less)) }

// Max is the greater of a and b, like Min.
func (h Half) Max(m Mode, a, b uint16) uint16 {
	return uint16(m.pick(h.f, uint32(a), uint32(b), greater))
}

// Abs clears the sign: abs{.ftz}.
func (h Half) Abs(m Mode, a uint16) uint16 { return h.signed(m, a&0x7fff) }

// Neg turns the sign: neg{.ftz}.
func (h Half) Neg(m Mode, a uint16) uint16 { return h.signed(m, a^0x8000) }

func (h Half) signed(m Mode, a uint16) uint16 {
	if m.FTZ {
		return uint16(h.f.flush(uint32(a)))
	}
	return a
}

// Holds compares two numbers: setp and set; m's FTZ counts.
func (h Half) Holds(m Mode, c Cmp, a, b uint16) bool { return c&order(h.in(m, a), h.in(m, b)) != 0 }

// Pack1 applies f to both halves of a.
func Pack1(f func(a uint16) uint16, a uint32) uint32 {
	return uint32(f(uint16(a))) | uint32(f(uint16(a>>16)))<<16
}

// Pack2 applies f to the lower halves of a and b and to the upper ones.
func Pack2(f func(a, b uint16) uint16, a, b uint32) uint32 {
	return uint32(f(uint16(a), uint16(b))) | uint32(f(uint16(a>>16), uint16(b>>16)))<<16
}

// Pack3 applies f to the lower halves of a, b and c and to the upper ones.
func Pack3(f func(a, b, c uint16) uint16, a, b, c uint32) uint32 {
	return uint32(f(uint16(a), uint16(b), uint16(c))) | uint32(f(uint16(a>>16), uint16(b>>16), uint16(c>>16)))<<16
}
