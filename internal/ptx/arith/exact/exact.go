// Package exact is an oracle for tests: floating-point formats of any size over math/big. It shares nothing with
// package arith and is slow on purpose: one rounding function, applied to exact values, defines every operation.
package exact

import (
	"math/big"
)

// Prec is the precision of intermediate values in bits. Sums, products and fused multiply-adds of binary64 numbers are
// exact in it; quotients, roots and functions are wrong by far less than their distance to any tie.
const Prec = 4600

// A Format is a binary interchange format: exponent bits, fraction bits and the encoding of NaN.
type Format struct {
	Exp, Frac uint
	NaN       uint64
}

// F16 is binary16.
func F16() Format { return Format{5, 10, 0x7fff} }

// BF16 is bfloat16.
func BF16() Format { return Format{8, 7, 0x7fff} }

// F32 is binary32.
func F32() Format { return Format{8, 23, 0x7fffffff} }

// F64 is binary64.
func F64() Format { return Format{11, 52, 0x7ff8000000000000} }

// Bits is the size of an encoding.
func (f Format) Bits() uint { return 1 + f.Exp + f.Frac }

func (f Format) bias() int { return 1<<(f.Exp-1) - 1 }

// Inf is the encoding of plus infinity.
func (f Format) Inf() uint64 { return (1<<f.Exp - 1) << f.Frac }

// Sign is the sign bit.
func (f Format) Sign() uint64 { return 1 << (f.Exp + f.Frac) }

// A Value is a real number, an infinity or NaN. Zeros have a sign, as *big.Float does.
type Value struct {
	NaN bool
	X   *big.Float
}

// Zero says whether v is a zero.
func (v Value) Zero() bool { return !v.NaN && v.X.Sign() == 0 }

// Inf says whether v is infinite.
func (v Value) Inf() bool { return !v.NaN && v.X.IsInf() }

// Neg says whether the sign of v is set.
func (v Value) Neg() bool { return !v.NaN && v.X.Signbit() }

// Float is x as a Value.
func Float(x float64) Value { return Value{X: New().SetFloat64(x)} }

// Int is x as a Value.
func Int(x *big.Int) Value { return Value{X: New().SetInt(x)} }

// New is a zero of Prec bits.
func New() *big.Float { return new(big.Float).SetPrec(Prec) }

// Decode is the value of an encoding; subnormal ones are zeros of their sign if flush is true.
func (f Format) Decode(u uint64, flush bool) Value {
	frac, field := u&(1<<f.Frac-1), int(u>>f.Frac&(1<<f.Exp-1))
	negative := u&f.Sign() != 0
	x := New()
	switch {
	case field == 1<<f.Exp-1 && frac != 0:
		return Value{NaN: true}
	case field == 1<<f.Exp-1:
		return Value{X: x.SetInf(negative)}
	case field == 0 && flush:
	case field == 0:
		x.SetMantExp(New().SetUint64(frac), 1-f.bias()-int(f.Frac))
	default:
		x.SetMantExp(New().SetUint64(frac|1<<f.Frac), field-f.bias()-int(f.Frac))
	}
	if negative {
		x.Neg(x)
	}
	return Value{X: x}
}

var modes = map[string]big.RoundingMode{
	"rn": big.ToNearestEven, "rz": big.ToZero, "rm": big.ToNegativeInf, "rp": big.ToPositiveInf,
	"rna": big.ToNearestAway,
}

// Encode rounds v by PTX's modifier mode (rn, rz, rm, rp or rna).
func (f Format) Encode(v Value, mode string) uint64 {
	if v.NaN {
		return f.NaN
	}
	var sign uint64
	if v.Neg() {
		sign = f.Sign()
	}
	if v.Inf() {
		return sign | f.Inf()
	}
	if v.Zero() {
		return sign
	}
	// The unit in the last place of the result: |v| in [2^(e-1), 2^e), or the smallest subnormal.
	e := v.X.MantExp(nil)
	unit := max(e-1, 1-f.bias()) - int(f.Frac)
	n := integer(New().SetMantExp(v.X, -unit), modes[mode])
	m := n.Uint64() // |v| / unit, at most 2^(frac+1)
	field := uint64(unit + int(f.Frac) + f.bias())
	u := m + (field-1)<<f.Frac // carries into the exponent as it must; a subnormal m leaves the field at 0
	if u >= f.Inf() {
		u = f.Inf()
		neg := sign != 0
		if mode == "rz" || mode == "rm" && !neg || mode == "rp" && neg {
			u--
		}
	}
	return sign | u
}

// integer is |x| rounded to an integer, directions being those of x.
func integer(x *big.Float, mode big.RoundingMode) *big.Int {
	n, accuracy := x.Int(nil) // toward zero
	n.Abs(n)
	if accuracy == big.Exact {
		return n
	}
	rest := New().Sub(New().Abs(x), New().SetInt(n))
	c := rest.Cmp(big.NewFloat(0.5))
	grow := false
	switch mode {
	case big.ToNearestEven:
		grow = c > 0 || c == 0 && n.Bit(0) == 1
	case big.ToNearestAway:
		grow = c >= 0
	case big.ToNegativeInf:
		grow = x.Signbit()
	case big.ToPositiveInf:
		grow = !x.Signbit()
	}
	if grow {
		n.Add(n, big.NewInt(1))
	}
	return n
}

// Integral is v rounded to an integer; zeros keep the sign of v.
func Integral(v Value, mode string) Value {
	if v.NaN || v.Inf() || v.Zero() {
		return v
	}
	x := New().SetInt(integer(v.X, modes[mode]))
	if v.Neg() {
		x.Neg(x)
	}
	return Value{X: x}
}

// ToInt is v rounded to an integer and clamped to [low, high]; NaN gives invalid.
func ToInt(v Value, mode string, low, high, invalid *big.Int) *big.Int {
	switch {
	case v.NaN:
		return invalid
	case v.Inf() && v.Neg():
		return low
	case v.Inf():
		return high
	}
	n, _ := Integral(v, mode).X.Int(nil)
	if n.Cmp(low) < 0 {
		return low
	}
	if n.Cmp(high) > 0 {
		return high
	}
	return n
}

// Flush makes a subnormal encoding a zero of its sign.
func (f Format) Flush(u uint64) uint64 {
	if u&f.Inf() == 0 {
		return u & f.Sign()
	}
	return u
}

// Saturate clamps an encoding to [0, 1]; NaN and -0 become +0.
func (f Format) Saturate(u uint64) uint64 {
	v := f.Decode(u, false)
	switch {
	case v.NaN || v.X.Sign() <= 0:
		return 0
	case v.X.Cmp(big.NewFloat(1)) > 0:
		return uint64(f.bias()) << f.Frac
	}
	return u
}
