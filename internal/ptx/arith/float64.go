package arith

import (
	"math"
	"math/bits"
)

func f64(u uint64) float64 { return math.Float64frombits(u) }

// bits64 is the bits of f, canonical if it is not a number.
func bits64(f float64) uint64 {
	if f != f {
		return NaN64
	}
	return math.Float64bits(f)
}

// nearest says whether m rounds to nearest even, as the host does.
func (m Mode) nearest() bool { return m.Round.direction() == RN }

// AddF64 is a + b: add{.rnd}.f64, PTX ISA 9.7.3.
func (m Mode) AddF64(a, b uint64) uint64 {
	if m.nearest() {
		return bits64(f64(a) + f64(b))
	}
	return m.FmaF64(a, math.Float64bits(1), b)
}

// SubF64 is a - b: sub{.rnd}.f64.
func (m Mode) SubF64(a, b uint64) uint64 { return m.AddF64(a, b^1<<63) }

// MulF64 is a · b: mul{.rnd}.f64.
func (m Mode) MulF64(a, b uint64) uint64 {
	if m.nearest() {
		return bits64(float64(f64(a) * f64(b)))
	}
	return m.FmaF64(a, b, (a^b)&(1<<63)) // adding a zero of the product's sign changes nothing
}

// FmaF64 is a · b + c rounded once: fma.rnd.f64.
func (m Mode) FmaF64(a, b, c uint64) uint64 {
	v := math.FMA(f64(a), f64(b), f64(c))
	if m.nearest() || v != v || infinite(a) || infinite(b) || infinite(c) {
		return bits64(v)
	}
	p, s := product(a, b), term(c)
	if p.zero() && s.zero() {
		return zeroSum(p.negative, s.negative, m.Round)
	}
	sum := p.add(s)
	if sum.zero() {
		return zeroSum(true, false, m.Round)
	}
	return sum.round(m.Round.direction())
}

// zeroSum is the zero that two zeros, or two numbers that cancel, add up to.
func zeroSum(a, b bool, r Round) uint64 {
	if a && b || a != b && r == RM {
		return 1 << 63
	}
	return 0
}

func infinite(u uint64) bool { return u&(0x7ff<<52) == 0x7ff<<52 }

// DivF64 is a / b: div.rnd.f64.
func (m Mode) DivF64(a, b uint64) uint64 {
	v := f64(a) / f64(b)
	if m.nearest() || v != v || f64(a) == 0 || f64(b) == 0 || infinite(a) || infinite(b) {
		return bits64(v)
	}
	x, y := term(a), term(b) // both with the top bit at 126
	// The quotient of the tops is in (1/2, 2): 63 or 64 bits of it, and a sticky bit.
	q, rest := bits.Div64(x.hi>>1, x.hi<<63, y.hi)
	w := wide{negative: x.negative != y.negative, exp: x.exp - y.exp, hi: q >> 1, lo: q << 63}
	if rest != 0 {
		w.lo |= 1
	}
	return w.normalize().round(m.Round.direction())
}

// RcpF64 is 1 / a: rcp.rnd.f64.
func (m Mode) RcpF64(a uint64) uint64 { return m.DivF64(math.Float64bits(1), a) }

// SqrtF64 is the square root of a: sqrt.rnd.f64.
func (m Mode) SqrtF64(a uint64) uint64 {
	s := math.Sqrt(f64(a))
	if m.nearest() || s != s || s == 0 || infinite(a) {
		return bits64(s)
	}
	// Scaled by an even power of two, the remainder is exact and the root stays normal.
	frac, exp := math.Frexp(f64(a))
	if exp&1 != 0 {
		frac, exp = frac*2, exp-1
	}
	root := math.Sqrt(frac)
	rest := math.FMA(-root, root, frac)
	switch d := m.Round.direction(); {
	case rest < 0 && d != RP:
		root = math.Nextafter(root, 0)
	case rest > 0 && d == RP:
		root = math.Nextafter(root, 2)
	}
	return math.Float64bits(math.Ldexp(root, exp/2))
}

// A wide is a number of 127 bits: ±(hi·2⁶⁴+lo) · 2^(exp-126), the top bit at 126 when normalized; bit 0 is sticky.
type wide struct {
	negative bool
	exp      int
	hi, lo   uint64
}

func (w wide) zero() bool { return w.hi|w.lo == 0 }

func (w wide) normalize() wide {
	if w.zero() {
		return w
	}
	if w.hi == 0 {
		w.hi, w.lo, w.exp = w.lo, 0, w.exp-64
	}
	if n := bits.LeadingZeros64(w.hi); n == 0 { // a carry: one bit to the right
		w.lo = w.lo>>1 | w.hi<<63 | w.lo&1
		w.hi, w.exp = w.hi>>1, w.exp+1
	} else {
		n--
		w.hi = w.hi<<n | w.lo>>(64-n)
		w.lo, w.exp = w.lo<<n, w.exp-n
	}
	return w
}

// mantissa is the integer m and exponent e with u = ±m·2^e.
func mantissa(u uint64) (uint64, int) {
	m, e := u&fracMask, int(u>>52&0x7ff)
	if e == 0 {
		return m, -1074
	}
	return m | 1<<52, e - 1075
}

// term is a binary64 number as a wide.
func term(u uint64) wide {
	m, e := mantissa(u)
	return wide{u>>63 != 0, e + 126 - 64, m, 0}.normalize()
}

// product is a·b, exact.
func product(a, b uint64) wide {
	x, e := mantissa(a)
	y, f := mantissa(b)
	hi, lo := bits.Mul64(x, y)
	return wide{(a^b)>>63 != 0, e + f + 126, hi, lo}.normalize()
}

// add is w+v with the lost bits collected in the sticky bit.
func (w wide) add(v wide) wide {
	if w.zero() {
		return v
	}
	if v.zero() {
		return w
	}
	if w.exp < v.exp || w.exp == v.exp && (w.hi < v.hi || w.hi == v.hi && w.lo < v.lo) {
		w, v = v, w
	}
	v = v.shift(uint(w.exp - v.exp))
	var c uint64
	if w.negative == v.negative {
		w.lo, c = bits.Add64(w.lo, v.lo, 0)
		w.hi, _ = bits.Add64(w.hi, v.hi, c)
	} else {
		w.lo, c = bits.Sub64(w.lo, v.lo, 0)
		w.hi, _ = bits.Sub64(w.hi, v.hi, c)
	}
	return w.normalize()
}

// shift moves w to the right by n bits, what falls out into the sticky bit.
func (w wide) shift(n uint) wide {
	var lost uint64
	if n >= 64 {
		lost = w.lo
		w.hi, w.lo = 0, w.hi
		n = min(n-64, 64)
	}
	if n > 0 {
		lost |= w.lo << (64 - n)
		w.lo = w.lo>>n | w.hi<<(64-n)
		w.hi >>= n
	}
	if lost != 0 {
		w.lo |= 1
	}
	return w
}

// round is the binary64 number next to the normalized w in direction r.
func (w wide) round(r Round) uint64 {
	field := w.exp + 1023
	if field < 1 {
		w = w.shift(uint(min(1-field, 200)))
		field = 1
	}
	q := w.hi >> 10 // 53 bits
	rest := w.hi&(1<<10-1)<<1 | w.lo>>63
	if w.lo<<1 != 0 {
		rest = rest<<1 | 1
	} else {
		rest <<= 1
	}
	if up(r, w.negative, q&1 != 0, rest, 1<<11) {
		q++
	}
	u := uint64(max(field-1, 0))<<52 + q
	if field >= 0x7ff || u >= 0x7ff<<52 {
		u = 0x7ff << 52
		if r == RZ || r == RM && !w.negative || r == RP && w.negative {
			u--
		}
	}
	if w.negative {
		u |= 1 << 63
	}
	return u
}

// MinF64 is the smaller of a and b, -0 below +0; a NaN loses: min.f64. No modifier applies.
func (m Mode) MinF64(a, b uint64) uint64 { return pick64(a, b, less) }

// MaxF64 is the greater of a and b, like MinF64.
func (m Mode) MaxF64(a, b uint64) uint64 { return pick64(a, b, greater) }

func pick64(a, b uint64, want Cmp) uint64 {
	x, y := f64(a), f64(b)
	switch {
	case x != x && y != y:
		return NaN64
	case x != x:
		return b
	case y != y:
		return a
	case order(key64(b), key64(a)) == want:
		return b
	}
	return a
}

func key64(u uint64) int64 {
	if u>>63 != 0 {
		return -int64(u&^(1<<63)) - 1
	}
	return int64(u)
}

// AbsF64 clears the sign: abs.f64.
func AbsF64(a uint64) uint64 { return a &^ (1 << 63) }

// NegF64 turns the sign: neg.f64.
func NegF64(a uint64) uint64 { return a ^ 1<<63 }

// CopysignF64 is b with the sign of a: copysign.f64.
func CopysignF64(a, b uint64) uint64 { return a&(1<<63) | b&^(1<<63) }

// F64 compares double precision numbers.
func (c Cmp) F64(a, b uint64) bool { return c&order(f64(a), f64(b)) != 0 }

// upper keeps the upper word of a result of the .ftz.f64 approximations, which compute on it alone.
const upper = 0xffffffff00000000

// flush64 makes subnormal double precision numbers zeros of their sign.
func flush64(u uint64) uint64 {
	if u&(0x7ff<<52) == 0 {
		return u & (1 << 63)
	}
	return u
}

// RcpApproxF64 is rcp.approx.ftz.f64: the upper words of a and of the result count, the lower one of the result is zero
// (PTX ISA 9.7.3.14).
func RcpApproxF64(a uint64) uint64 {
	a = flush64(a & upper)
	return flush64(toUpper(1 / f64(a)))
}

// RsqrtApproxF64 is rsqrt.approx.ftz.f64, like RcpApproxF64.
func RsqrtApproxF64(a uint64) uint64 {
	a = flush64(a & upper)
	return flush64(toUpper(1 / math.Sqrt(f64(a))))
}

// toUpper rounds to the 20 fraction bits of the upper word, to nearest even; NaN is the one that the instructions give.
func toUpper(v float64) uint64 {
	u := math.Float64bits(v)
	switch {
	case v != v:
		return 0x7fffffff00000000
	case infinite(u):
		return u
	}
	u += 1<<31 - 1 + u>>32&1
	return u & upper
}
