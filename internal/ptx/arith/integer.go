package arith

import (
	"math/bits"
	"unsafe"
)

// Integer is the set of integer types that registers hold.
type Integer interface {
	int16 | uint16 | int32 | uint32 | int64 | uint64
}

// Unsigned is the set of bit types of shifts and bit counts.
type Unsigned interface{ uint16 | uint32 | uint64 }

// Int compares integers; signedness is T's.
func Int[T int32 | uint32 | int64 | uint64](c Cmp, a, b T) bool { return c&order(a, b) != 0 }

// AddSat is a + b clamped to the range of int32: add.sat.s32, PTX ISA 9.7.1.
func AddSat(a, b int32) int32 { return clamp(int64(a) + int64(b)) }

// SubSat is a - b clamped to the range of int32: sub.sat.s32.
func SubSat(a, b int32) int32 { return clamp(int64(a) - int64(b)) }

// MadHiSat is the upper word of a · b plus c, clamped: mad.hi.sat.s32.
func MadHiSat(a, b, c int32) int32 { return clamp(int64(a)*int64(b)>>32 + int64(c)) }

func clamp(v int64) int32 { return int32(max(-1<<31, min(v, 1<<31-1))) }

// MulHiS32 is the upper word of the product: mul.hi.s32.
func MulHiS32(a, b int32) int32 { return int32(int64(a) * int64(b) >> 32) }

// MulHiU32 is the upper word of the product: mul.hi.u32.
func MulHiU32(a, b uint32) uint32 { return uint32(uint64(a) * uint64(b) >> 32) }

// MulHiU64 is the upper 64 bits of the product: mul.hi.u64.
func MulHiU64(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi
}

// MulHiS64 is the upper 64 bits of the product: mul.hi.s64.
func MulHiS64(a, b int64) int64 {
	return int64(MulHiU64(uint64(a), uint64(b)) - uint64(a>>63&b) - uint64(b>>63&a))
}

// Mul24U is the product of the lower 24 bits of a and b, 48 bits long: mul24.lo is its lower word, mul24.hi its bits 16
// to 47.
func Mul24U(a, b uint32) uint64 { return uint64(a&0xffffff) * uint64(b&0xffffff) }

// Mul24S is Mul24U for signed numbers of 24 bits.
func Mul24S(a, b int32) int64 { return int64(a<<8>>8) * int64(b<<8>>8) }

// Div is a / b truncated: div.{s,u}. Division by zero is unspecified in PTX; it gives all ones and zero is true.
// INT_MIN / -1 is INT_MIN.
func Div[T Integer](a, b T) (q T, zero bool) {
	if b == 0 {
		return ^T(0), true
	}
	return a / b, false
}

// Rem is the remainder of Div, with the sign of a: rem.{s,u}. A zero b gives all ones, and zero is true.
func Rem[T Integer](a, b T) (r T, zero bool) {
	if b == 0 {
		return ^T(0), true
	}
	return a % b, false
}

// Sad is c + |a - b|: sad.
func Sad[T Integer](a, b, c T) T {
	if a < b {
		return c + (b - a)
	}
	return c + (a - b)
}

// Shl is a << n, 0 for amounts beyond the width: shl.
func Shl[T Unsigned](a T, n uint32) T { return a << n }

// Shr is a >> n, filled with the sign of a signed T, for any n: shr.
func Shr[T Integer](a T, n uint32) T { return a >> n }

// ShfL is the upper word of hi:lo << n, n taken modulo 32 (wrap) or at most 32 (clamp): shf.l.
func ShfL(lo, hi, n uint32, wrap bool) uint32 {
	n = shfAmount(n, wrap)
	return hi<<n | lo>>(32-n)
}

// ShfR is the lower word of hi:lo >> n: shf.r.
func ShfR(lo, hi, n uint32, wrap bool) uint32 {
	n = shfAmount(n, wrap)
	return lo>>n | hi<<(32-n)
}

func shfAmount(n uint32, wrap bool) uint32 {
	if wrap {
		return n & 31
	}
	return min(n, 32)
}

// Bfe is the field of length bits from bit pos up, zero or sign extended: bfe. Only the lower 8 bits of pos and length
// count; bits beyond the width are those of the field's last bit inside it, or of the sign bit (PTX ISA 9.7.1).
func Bfe[T int32 | uint32 | int64 | uint64](a T, pos, length uint32) T {
	pos, length = pos&0xff, length&0xff
	if length == 0 {
		return 0
	}
	fill := a >> (pos + length - 1) & 1 // the sign, beyond the width
	if ^T(0) > 0 {
		fill = 0
	}
	return a>>pos&(1<<length-1) | -fill<<length
}

// Bfi is b with its bits from pos on replaced by the lower length bits of a: bfi. Only the lower 8 bits of pos and
// length count.
func Bfi[T uint32 | uint64](a, b T, pos, length uint32) T {
	pos, length = pos&0xff, length&0xff
	mask := (T(1)<<length - 1) << pos
	return b&^mask | a<<pos&mask
}

// Bfind is the position of the highest bit that differs from the sign (of a signed T, else the highest set bit), or all
// ones if there is none; shiftamt gives the shift that moves it to the top instead: bfind{.shiftamt}.
func Bfind[T int32 | uint32 | int64 | uint64](a T, shiftamt bool) uint32 {
	if a < 0 {
		a = ^a
	}
	n := bits.Len64(uint64(a))
	if n == 0 {
		return 1<<32 - 1
	}
	if shiftamt {
		return uint32(8*int(unsafe.Sizeof(a)) - n)
	}
	return uint32(n - 1)
}

// Fns is the position of the n-th set bit of mask, counted from base upwards (n > 0) or downwards (n < 0); n = 0 tests
// base itself. All ones if there is none: fns.b32.
func Fns(mask, base uint32, n int32) uint32 {
	step := int64(1)
	if n == 0 {
		n = 1
		mask &= 1 << base
	}
	count := int64(n)
	if n < 0 {
		step, count = -1, -count
	}
	for i := int64(base); i >= 0 && i < 32; i += step {
		if mask>>uint(i)&1 != 0 {
			if count--; count == 0 {
				return uint32(i)
			}
		}
	}
	return 1<<32 - 1
}

// Lop3 is the bitwise function of three inputs with truth table lut: lop3.b32.
func Lop3(a, b, c uint32, lut uint8) uint32 {
	var d uint32
	for i, m := range [8]uint32{^a & ^b & ^c, ^a & ^b & c, ^a & b & ^c, ^a & b & c, a & ^b & ^c, a & ^b & c, a & b & ^c,
		a & b & c} {
		if lut>>i&1 != 0 {
			d |= m
		}
	}
	return d
}

// A Prmt is a mode of prmt.
type Prmt uint8

// The modes: a selector per byte, or one of the fixed patterns chosen by the selector's low two bits.
const (
	PrmtDefault Prmt = iota
	F4E              // forward four bytes
	B4E              // backward four bytes
	RC8              // replicate a byte
	ECL              // edge clamp to the left
	ECR              // edge clamp to the right
	RC16             // replicate a half word
)

var prmtNames = [...]string{"", "f4e", "b4e", "rc8", "ecl", "ecr", "rc16"}

// ParsePrmt reads a mode of prmt.
func ParsePrmt(word string) (Prmt, bool) {
	for m, name := range prmtNames {
		if name == word {
			return Prmt(m), true
		}
	}
	return 0, false
}

// prmtPatterns are the selectors that the fixed modes stand for (PTX ISA 9.7.1, table of prmt).
var prmtPatterns = [...][4]uint32{
	F4E:  {0x3210, 0x4321, 0x5432, 0x6543},
	B4E:  {0x5670, 0x6701, 0x7012, 0x0123},
	RC8:  {0x0000, 0x1111, 0x2222, 0x3333},
	ECL:  {0x3210, 0x3211, 0x3222, 0x3333},
	ECR:  {0x0000, 0x1110, 0x2210, 0x3210},
	RC16: {0x1010, 0x3232, 0x1010, 0x3232},
}

// Permute picks four bytes of b:a by the nibbles of c, whose top bit asks for the byte's sign eight times: prmt.b32.
func (m Prmt) Permute(a, b, c uint32) uint32 {
	if m != PrmtDefault {
		c = prmtPatterns[m][c&3]
	}
	both := uint64(b)<<32 | uint64(a)
	var d uint32
	for i := range 4 {
		sel := c >> (4 * i)
		v := uint32(both >> (8 * (sel & 7)) & 0xff)
		if sel&8 != 0 {
			v = -(v >> 7) & 0xff
		}
		d |= v << (8 * i)
	}
	return d
}

// Szext is the lower n bits of a, sign or zero extended; n is taken modulo 32 (wrap) or at most 32 (clamp): szext.
func Szext(a, n uint32, signed, wrap bool) uint32 {
	if wrap {
		n &= 31
	}
	switch {
	case n == 0:
		return 0
	case n >= 32:
		return a
	case signed:
		return uint32(int32(a<<(32-n)) >> (32 - n))
	}
	return a & (1<<n - 1)
}

// Bmsk is a mask of n bits from bit pos up; both are taken modulo 32 (wrap) or at most 32 (clamp): bmsk.
func Bmsk(pos, n uint32, wrap bool) uint32 {
	if wrap {
		pos, n = pos&31, n&31
	}
	return (1<<n - 1) << pos
}

// Dp4a is c plus the dot product of the four bytes of a and b, each signed or not: dp4a.
func Dp4a(a, b, c uint32, signedA, signedB bool) uint32 {
	for i := range 4 {
		c += extend(a>>(8*i), 8, signedA) * extend(b>>(8*i), 8, signedB)
	}
	return c
}

// Dp2a is c plus the dot product of the two half words of a with the lower or upper two bytes of b: dp2a.
func Dp2a(a, b, c uint32, signedA, signedB, hi bool) uint32 {
	if hi {
		b >>= 16
	}
	for i := range 2 {
		c += extend(a>>(16*i), 16, signedA) * extend(b>>(8*i), 8, signedB)
	}
	return c
}

// extend widens the lower n bits of v.
func extend(v uint32, n uint, signed bool) uint32 {
	v <<= 32 - n
	if signed {
		return uint32(int32(v) >> (32 - n))
	}
	return v >> (32 - n)
}
