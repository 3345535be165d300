package arith

import (
	"fmt"
	"math"
	"math/bits"
)

// A scalar is a type of cvt: an integer of size bits, or a floating-point number (binary64 when f.frac is 0).
type scalar struct {
	name   string
	size   uint
	signed bool
	float  bool
	f      format
}

var scalars = [...]scalar{
	{name: "u8", size: 8}, {name: "u16", size: 16}, {name: "u32", size: 32}, {name: "u64", size: 64},
	{name: "s8", size: 8, signed: true}, {name: "s16", size: 16, signed: true},
	{name: "s32", size: 32, signed: true}, {name: "s64", size: 64, signed: true},
	{name: "f16", size: 16, float: true, f: half}, {name: "bf16", size: 16, float: true, f: bfloat},
	{name: "tf32", size: 32, float: true, f: tfloat}, {name: "f32", size: 32, float: true, f: single},
	{name: "f64", size: 64, float: true},
}

func scalarOf(name string) (scalar, bool) {
	for _, s := range scalars {
		if s.name == name {
			return s, true
		}
	}
	return scalar{}, false
}

// Cvt returns cvt.dst.src with the modifiers of m (PTX ISA 9.7.9.21): a function from the bits of the source, in the
// low part of the word, to those of the result; a signed integer result is sign-extended to 64 bits. The types are
// PTX's words: s8 to s64, u8 to u64, f16, bf16, tf32, f32, f64. The error says which rule of the instruction is broken.
//
// NaN becomes zero as an integer, but 1<<(size-1) if the source is f64 or the result has 64 bits (PTX ISA, integer
// notes of cvt); as a float it becomes the canonical NaN.
func Cvt(dst, src string, m Mode) (func(uint64) uint64, error) {
	d, okD := scalarOf(dst)
	s, okS := scalarOf(src)
	if !okD || !okS || s.name == "tf32" {
		return nil, fmt.Errorf("cvt has no conversion from %s to %s", src, dst)
	}
	if broken := m.cvtRule(d, s); broken != "" {
		return nil, fmt.Errorf("cvt.%s.%s: %s", dst, src, broken)
	}
	switch {
	case s.float && d.float:
		return func(u uint64) uint64 { return d.fromFloat(m, s.toFloat(m, u)) }, nil
	case s.float:
		invalid := uint64(0)
		if s.size == 64 || d.size == 64 {
			invalid = d.extend(1 << (d.size - 1))
		}
		return func(u uint64) uint64 { return d.fromReal(integral(s.toFloat(m, u), m.Round), invalid) }, nil
	case d.float:
		return func(u uint64) uint64 { return d.fromInteger(m, s, s.extend(u)) }, nil
	case m.Sat:
		return func(u uint64) uint64 { return d.clamp(s, s.extend(u)) }, nil
	}
	return func(u uint64) uint64 { return d.extend(s.extend(u)) }, nil
}

// cvtRule names the rule of cvt that the modifiers break, "" if none. It refuses what ptxas 13.0 refuses for sm_90, and
// conversions between f16 and bf16 without a rounding modifier, which ptxas takes against the text of the PTX ISA.
func (m Mode) cvtRule(d, s scalar) string {
	ieee := Default < m.Round && m.Round <= RP
	brain := d.name == "bf16" || s.name == "bf16"
	tf32 := d.name == "tf32"
	switch {
	case m.NaN || m.XorSign:
		return "NaN and xorsign are not modifiers of cvt"
	case m.FTZ && d.name != "f32" && s.name != "f32":
		return "ftz needs f32 as one of its types"
	case brain && (d.size == 8 || s.size == 8):
		return "bf16 does not convert from or to 8 bits"
	case m.Sat && brain, m.Sat && m.Relu, m.Sat && m.SatFinite:
		return "sat does not go with bf16, relu or satfinite"
	case (m.Relu || m.SatFinite) &&
		(d.name != "f16" && d.name != "bf16" && !tf32 || s.name != "f32" || m.FTZ || !tf32 && m.Round > RZ):
		return "relu and satfinite are for f32 to f16, bf16 or tf32 with rn or rz, without ftz"
	case m.Round == RNA && !tf32:
		return "rna is for tf32 alone"
	case tf32 && (s.name != "f32" || m.FTZ || m.Sat):
		return "tf32 comes from f32, without ftz and sat"
	case tf32 && m.Round != RNA && (m.Round != RN && m.Round != RZ || m.SatFinite), tf32 && m.Round == RNA && m.Relu:
		return "tf32 takes rna with satfinite, or rn and rz with relu"
	case tf32:
		return ""
	case !d.float && !s.float:
		if m.Round != Default {
			return "a conversion between integers does not round"
		}
		if m.Sat && d.contains(s) {
			return "sat is not allowed where every value fits"
		}
	case !d.float && !m.Round.integer():
		return "a conversion from float to integer needs rni, rzi, rmi or rpi"
	case !d.float:
	case !s.float && !ieee:
		return "a conversion from integer to float needs rn, rz, rm or rp"
	case !s.float:
	case m.Round.integer() && d.name != s.name:
		return "rounding to an integer needs equal types"
	case m.Round.integer():
	case (d.size < s.size || d.size == s.size && d.name != s.name) && !ieee:
		return "a conversion that loses precision needs rn, rz, rm or rp"
	case (d.size > s.size && s.name != "bf16" || d.name == s.name) && ieee:
		return "a conversion that loses nothing does not round"
	}
	return ""
}

// contains says whether every value of s is one of d.
func (d scalar) contains(s scalar) bool {
	if d.signed == s.signed {
		return d.size >= s.size
	}
	return d.signed && d.size > s.size
}

// extend takes the low bits of u as an integer of type s, sign or zero extended.
func (s scalar) extend(u uint64) uint64 {
	u <<= 64 - s.size
	if s.signed {
		return uint64(int64(u) >> (64 - s.size))
	}
	return u >> (64 - s.size)
}

// clamp brings u, an extended value of type s, into the range of d.
func (d scalar) clamp(s scalar, u uint64) uint64 {
	top := uint64(1)<<(d.size-1) - 1
	if !d.signed {
		top = top<<1 | 1
	}
	if s.signed && int64(u) < 0 {
		if !d.signed {
			return 0
		}
		return uint64(max(int64(u), -1<<(d.size-1)))
	}
	return min(u, top)
}

// toFloat is the value of the bits u of type s, flushed as m says.
func (s scalar) toFloat(m Mode, u uint64) float64 {
	switch {
	case s.size == 64:
		return math.Float64frombits(u)
	case s.size == 32:
		return m.in32(uint32(u))
	}
	return s.f.widen(uint32(u) & 0xffff)
}

// fromFloat is v in the format of d.
func (d scalar) fromFloat(m Mode, v float64) uint64 {
	if m.Round.integer() {
		v = integral(v, m.Round)
	}
	var u uint64
	switch {
	case d.size == 64:
		u = bits64(v)
		if m.Sat && !(v > 0) {
			u = 0
		} else if m.Sat && v > 1 {
			u = math.Float64bits(1)
		}
	case d.name == "f32":
		u = uint64(m.out32(v))
	default:
		w := Half{d.f}.out32(m, v)
		if d.name == "tf32" {
			if w == tfloat.nan {
				return NaN32
			}
			w <<= 13
		}
		u = uint64(w)
	}
	return u
}

// out32 is out with satfinite, without the flush, which in cvt is for f32 alone.
func (h Half) out32(m Mode, v float64) uint32 {
	m.FTZ = false
	u := h.f.round(v, m.Round.direction())
	if m.SatFinite && u&^h.f.sign() == h.f.inf() {
		u--
	}
	return h.finish(m, u)
}

// integral rounds v to an integer.
func integral(v float64, r Round) float64 {
	switch r.direction() {
	case RZ:
		return math.Trunc(v)
	case RM:
		return math.Floor(v)
	case RP:
		return math.Ceil(v)
	}
	return math.RoundToEven(v)
}

// fromReal is the integral v clamped to the range of d, or invalid.
func (d scalar) fromReal(v float64, invalid uint64) uint64 {
	bottom, top := 0.0, math.Ldexp(1, int(d.size)) // top is the first value beyond
	if d.signed {
		bottom, top = -top/2, top/2
	}
	switch {
	case v != v:
		return invalid
	case v < bottom:
		return d.extend(uint64(int64(bottom)))
	case v >= top && d.signed:
		return 1<<(d.size-1) - 1
	case v >= top:
		return 1<<(d.size-1)<<1 - 1
	case v < 1<<63:
		return uint64(int64(v))
	}
	return uint64(v)
}

// fromInteger is u, an extended value of type s, in the format of d.
func (d scalar) fromInteger(m Mode, s scalar, u uint64) uint64 {
	negative := s.signed && int64(u) < 0
	if negative {
		u = -u
	}
	if d.size == 64 {
		w := wide{negative: negative, exp: 126 - 64, hi: u}.normalize()
		if w.zero() {
			return 0
		}
		v := math.Float64frombits(w.round(m.Round.direction()))
		m.Round = Default
		return d.fromFloat(m, v)
	}
	// Rounded to odd: 53 bits, the last one saying that more were there.
	if n := bits.Len64(u); n > 53 {
		lost := u & (1<<(n-53) - 1)
		u -= lost
		if lost != 0 {
			u |= 1 << (n - 53)
		}
	}
	v := float64(u)
	if negative {
		v = -v
	}
	return d.fromFloat(m, v)
}

// CvtPack returns cvt.dst.f32 d, a, b for dst f16x2 or bf16x2: a goes to the upper half.
func CvtPack(dst string, m Mode) (func(a, b uint32) uint32, error) {
	name, ok := map[string]string{"f16x2": "f16", "bf16x2": "bf16"}[dst]
	if !ok {
		return nil, fmt.Errorf("cvt packs into f16x2 and bf16x2, not %s", dst)
	}
	if m.Sat || m.FTZ || m.Round != RN && m.Round != RZ {
		return nil, fmt.Errorf("cvt.%s.f32 takes rn or rz, relu and satfinite", dst)
	}
	f, err := Cvt(name, "f32", m)
	if err != nil {
		return nil, err
	}
	return func(a, b uint32) uint32 { return uint32(f(uint64(a)))<<16 | uint32(f(uint64(b))) }, nil
}
