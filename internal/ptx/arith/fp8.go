package arith

import (
	"fmt"
	"math"
)

// A mini is a floating-point format of 8 bits: 1 sign, then exponent and fraction bits.
type mini struct {
	name string
	frac int
	bias int
	max  float64 // the largest number
	inf  uint8   // its bits, 0: the format has none
}

var minis = []mini{
	{"e4m3x2", 3, 7, 448, 0},
	{"e5m2x2", 2, 15, 57344, 0x7c},
}

const miniNaN = 0x7f

func miniOf(name string) (mini, error) {
	for _, f := range minis {
		if f.name == name {
			return f, nil
		}
	}
	return mini{}, fmt.Errorf("cvt has no format %s", name)
}

// bits rounds v to the nearest number of the format, ties to even; what lies beyond becomes the largest one
// (satfinite).
func (f mini) bits(m Mode, v float64) uint8 {
	if v != v {
		return miniNaN
	}
	sign := uint8(0)
	if math.Signbit(v) {
		if sign = 0x80; m.Relu {
			return 0
		}
	}
	v = math.Abs(v)
	_, e := math.Frexp(v) // v = x·2^e with x in [½, 1)
	e = max(e-1, 1-f.bias)
	v = math.Min(math.Ldexp(math.RoundToEven(math.Ldexp(v, f.frac-e)), e-f.frac), f.max)
	if _, e = math.Frexp(v); v < math.Ldexp(1, 1-f.bias) {
		return sign | uint8(math.Ldexp(v, f.frac+f.bias-1)) // subnormal
	}
	fraction := math.Ldexp(v, f.frac-(e-1)) - math.Ldexp(1, f.frac)
	return sign | uint8(e-1+f.bias)<<f.frac | uint8(fraction)
}

// value is the number that bits stand for.
func (f mini) value(u uint8) float64 {
	sign := 1.0
	if u&0x80 != 0 {
		sign = -1
	}
	a := u & 0x7f
	switch {
	case f.inf != 0 && a == f.inf:
		return math.Inf(int(sign))
	case f.inf != 0 && a > f.inf || f.inf == 0 && a == miniNaN:
		return math.NaN()
	}
	e, fraction := int(a>>f.frac), float64(a&(1<<f.frac-1))
	if e == 0 {
		return sign * math.Ldexp(fraction, 1-f.bias-f.frac)
	}
	return sign * math.Ldexp(fraction+math.Ldexp(1, f.frac), e-f.bias-f.frac)
}

// CvtToMini returns cvt.rn.satfinite.dst.f32 d, a, b for dst e4m3x2 or e5m2x2: a goes to the upper byte.
func CvtToMini(dst string, m Mode) (func(a, b uint32) uint32, error) {
	f, err := miniOf(dst)
	if err != nil {
		return nil, err
	}
	one := func(u uint32) uint32 { return uint32(f.bits(m, float64(math.Float32frombits(u)))) }
	return func(a, b uint32) uint32 { return one(a)<<8 | one(b) }, nil
}

// CvtHalvesToMini returns cvt.rn.satfinite.dst.f16x2 d, a.
func CvtHalvesToMini(dst string, m Mode) (func(a uint32) uint32, error) {
	f, err := miniOf(dst)
	if err != nil {
		return nil, err
	}
	one := func(u uint32) uint32 { return uint32(f.bits(m, half.widen(u&0xffff))) }
	return func(a uint32) uint32 { return one(a>>16)<<8 | one(a) }, nil
}

// CvtMiniToHalves returns cvt.rn.f16x2.src d, a, which is exact.
func CvtMiniToHalves(src string, m Mode) (func(a uint32) uint32, error) {
	f, err := miniOf(src)
	if err != nil {
		return nil, err
	}
	to, err := Cvt("f16", "f64", Mode{Round: RN, Relu: false})
	if err != nil {
		return nil, err
	}
	one := func(u uint8) uint32 {
		v := f.value(u)
		switch {
		case v != v:
			return 0x7fff
		case m.Relu && math.Signbit(v):
			return 0
		}
		return uint32(to(math.Float64bits(v)))
	}
	return func(a uint32) uint32 { return one(uint8(a>>8))<<16 | one(uint8(a)) }, nil
}
