package arith

import "math"

// A format is a binary floating-point format narrower than binary64: exp exponent bits, frac fraction bits.
// Its numbers live in the low 1+exp+frac bits of a word, except tf32's (see cvt.go).
type format struct {
	exp, frac uint
	nan       uint32
}

var (
	half     = format{5, 10, NaN16}
	bfloat   = format{8, 7, NaNBF16}
	tfloat   = format{8, 10, NaN32 >> 13}
	single   = format{8, 23, NaN32}
	fracMask = uint64(1)<<52 - 1
)

// sign is the position of the sign bit as a mask.
func (f format) sign() uint32 { return 1 << (f.exp + f.frac) }

// inf is plus infinity.
func (f format) inf() uint32 { return (1<<f.exp - 1) << f.frac }

// flush makes subnormal numbers zeros of their sign.
func (f format) flush(u uint32) uint32 {
	if u&f.inf() == 0 {
		return u & f.sign()
	}
	return u
}

func (f format) isNaN(u uint32) bool { return u&^f.sign() > f.inf() }

// widen is the value of u; exact.
func (f format) widen(u uint32) float64 {
	if f.frac == 10 && f.exp == 5 {
		return widenHalf(u)
	}
	return float64(math.Float32frombits(u << (23 - f.frac)))
}

// widenHalf is the value of a binary16 number.
func widenHalf(u uint32) float64 {
	// The fraction moved under binary64's exponent field scales by 2^(15-1023); one exact product undoes it for
	// normal and subnormal numbers alike.
	v := math.Float64frombits(uint64(u&0x7fff)<<42) * 0x1p1008
	if u&0x7c00 == 0x7c00 {
		v = math.Inf(1)
		if u&0x3ff != 0 {
			v = math.NaN()
		}
	}
	if u&0x8000 != 0 {
		return -v
	}
	return v
}

// round is the number of format f next to v in direction r; RNA is understood too. NaN becomes the canonical one.
// A v that was rounded to odd gives the rounding of the number it stands for, since 53 ≥ 1+frac+2.
func (f format) round(v float64, r Round) uint32 {
	bits := math.Float64bits(v)
	sign := uint32(bits>>63) << (f.exp + f.frac)
	bits &^= 1 << 63
	switch {
	case bits > 0x7ff<<52:
		return f.nan
	case bits == 0x7ff<<52:
		return sign | f.inf()
	case bits == 0:
		return sign
	}
	// v = m · 2^(e-52), keep the bits from 2^(e-frac) up, or from the smallest subnormal's up.
	e := int(bits>>52) - 1023
	m := bits & fracMask
	if e == -1023 {
		e = -1022
	} else {
		m |= 1 << 52
	}
	bias := 1<<(f.exp-1) - 1
	drop := 52 - f.frac
	field := e + bias
	if field < 1 { // subnormal in f
		drop += uint(1 - field)
		field = 1
	}
	q, rest := uint64(0), m
	var half uint64
	if drop < 64 {
		q, rest, half = m>>drop, m&(1<<drop-1), 1<<(drop-1)
	} else {
		half = math.MaxUint64
	}
	if up(r, sign != 0, q&1 != 0, rest, half) {
		q++
	}
	// The hidden bit of q adds one to the field, and a carry out of the fraction one more.
	u := uint32(field-1)<<f.frac + uint32(q)
	if field-1 >= 1<<f.exp || u >= f.inf() {
		u = f.overflow(r, sign != 0)
	}
	return sign | u
}

// overflow is the magnitude that stands for a number beyond the largest.
func (f format) overflow(r Round, negative bool) uint32 {
	if r == RZ || r == RM && !negative || r == RP && negative {
		return f.inf() - 1
	}
	return f.inf()
}

// up says whether a magnitude whose dropped part is rest, half a unit being half, grows by a unit in direction r.
func up(r Round, negative, odd bool, rest, half uint64) bool {
	if rest == 0 {
		return false
	}
	switch r {
	case RZ:
		return false
	case RM:
		return negative
	case RP:
		return !negative
	case RNA:
		return rest >= half
	}
	return rest > half || rest == half && odd
}

// odd rounds to odd: given v, a sum rounded to nearest, and rest, whose sign is that of the exact result
// minus v, it returns the neighbour of the exact result whose last bit is set (v itself when rest is 0).
// S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Trans. Computers 57(4), 2008.
func odd(v, rest float64) float64 {
	bits := math.Float64bits(v)
	if rest == 0 || bits&1 != 0 || rest != rest {
		return v
	}
	if (rest > 0) == (v > 0) {
		return math.Float64frombits(bits + 1)
	}
	return math.Float64frombits(bits - 1)
}

// sumOdd is a+b rounded to odd. The operands come from formats so narrow that the sum does not overflow.
func sumOdd(a, b float64) float64 {
	s := a + b
	t := s - a
	return odd(s, (a-(s-t))+(b-t))
}
