package cpu

import "math"

// logV computes dst = log a; NaN of what is negative, -Inf of ±0, +Inf of +Inf.
//
//	a = m·2ᵏ, √½ ≤ m < √2            a subnormal a first times 2²³
//	f = m - 1                        exact
//	log(1+f) = f - f²/2 + f³·p(f)    p of degree 8
//	log a = log(1+f) + k·ln2         ln2 in two parts, of which k times the first is exact
//
// The coefficients are those of S. Moshier, Cephes mathematical library, logf.c.
func logV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = log(a[i])
	}
}

func log(x float32) float32 {
	if !(x > 0 && x <= math.MaxFloat32) {
		return logOfSpecial(x)
	}
	var k int32
	if x < 0x1p-126 {
		x *= 0x1p23
		k = -23
	}
	bits := math.Float32bits(x)
	e := int32(bits-sqrtHalf) >> 23
	k += e
	f := math.Float32frombits(bits-uint32(e)<<23) - 1
	n := float32(k)
	z := float32(f * f)
	p := float32(logP0*f) + logP1
	p = float32(p*f) + logP2
	p = float32(p*f) + logP3
	p = float32(p*f) + logP4
	p = float32(p*f) + logP5
	p = float32(p*f) + logP6
	p = float32(p*f) + logP7
	p = float32(p*f) + logP8
	y := float32(float32(p*f) * z)
	y += float32(n * ln2Lo)
	y -= float32(0.5 * z)
	return (f + y) + float32(n*ln2Hi)
}

// logOfSpecial is the logarithm of 0, +Inf, NaN and negative numbers.
func logOfSpecial(x float32) float32 {
	switch {
	case x == 0:
		return negInf
	case x > 0:
		return x
	}
	return float32(math.NaN())
}

const (
	sqrtHalf = 0x3f3504f3 // the bits of √½

	logP0 = 7.0376836292e-2
	logP1 = -1.1514610310e-1
	logP2 = 1.1676998740e-1
	logP3 = -1.2420140846e-1
	logP4 = 1.4249322787e-1
	logP5 = -1.6668057665e-1
	logP6 = 2.0000714765e-1
	logP7 = -2.4999993993e-1
	logP8 = 3.3333331174e-1
)
