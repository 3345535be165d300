package philox

import "math"

// Normal computes z = √2 · erfinv(x), the inverse normal distribution function at the middle of one of 2²³ equal cells,
// chosen by the upper 23 bits of b: x = 2u - 1 with u = ((b >> 9) + ½) · 2⁻²³.
//
// It is a fixed sequence of integer operations and of float32 +, ×, √, each rounded to nearest even: no division, no
// fused multiply-add, no library function, so that Go, assembly and CUDA (with __fadd_rn, __fmul_rn, __fsqrt_rn) give
// the same bits. Every step is rounded as written, from the left; horner(c, v) is p = c[0], then p = p·v + c[i] for i =
// 1, 2, …
//
//	k = 2·int(b >> 9) + 1 - 2²³         odd, |k| < 2²³
//	x = float(k) · 2⁻²³                 exact
//	t = (1 - x) · (1 + x)               both factors exact; 2⁻²² < t ≤ 1
//
//	e = int(bits(t) - 0x3f2aaaab) >> 23 arithmetic shift: t = m·2ᵉ with ⅔ ≤ m < 4/3
//	m = float with bits(t) - (e << 23)
//	f = m - 1                           exact
//	s = f · f
//	q = horner(logOdd, s)·f + horner(logEven, s)
//	q = q·f + 0.333331972
//	q = q·f - 0.5
//	l = float(e)·ln2 + (q·s + f)        log t = e·ln 2 + log(1+f)
//
//	w = -l
//	w < 5:  p = horner(centre, w - 2.5)
//	else:   p = horner(tail, √w - 3)
//	z = (p · x) · √2
//
// The two polynomials of erfinv(x)/x in w = -log(1-x²) are M. Giles, "Approximating the erfinv function" (GPU Computing
// Gems, Jade edition, 2011), table 5, single precision; the logarithm's is N. Juffa's (public domain), |f| ≤ ⅓.
//
// Over all 2²³ values |z - √2 erfinv(x)| ≤ 1.15e-6, the relative error is ≤ 3e-7, z(-x) = -z(x) exactly, z grows with
// x, |z| ≤ 5.2947, and mean, variance and fourth moment are 0, 1 - 1.9e-7 and 3 - 1.1e-5 (the tests measure all of
// these).
func Normal(b uint32) float32 {
	x := float32(int32(b>>9)*2+1-1<<23) * 0x1p-23
	w := -log(float32((1 - x) * (1 + x)))
	var p float32
	if w < 5 {
		w -= 2.5
		p = centre0
		p = float32(p*w) + centre1
		p = float32(p*w) + centre2
		p = float32(p*w) + centre3
		p = float32(p*w) + centre4
		p = float32(p*w) + centre5
		p = float32(p*w) + centre6
		p = float32(p*w) + centre7
		p = float32(p*w) + centre8
	} else {
		w = sqrt(w) - 3
		p = tail0
		p = float32(p*w) + tail1
		p = float32(p*w) + tail2
		p = float32(p*w) + tail3
		p = float32(p*w) + tail4
		p = float32(p*w) + tail5
		p = float32(p*w) + tail6
		p = float32(p*w) + tail7
		p = float32(p*w) + tail8
	}
	return float32(float32(p*x) * sqrt2)
}

// The coefficients of Normal, highest power first; a constant is rounded to float32 once.
const (
	sqrt2 = 1.41421356
	ln2   = 0.693147182

	centre0 = 2.81022636e-08
	centre1 = 3.43273939e-07
	centre2 = -3.5233877e-06
	centre3 = -4.39150654e-06
	centre4 = 0.00021858087
	centre5 = -0.00125372503
	centre6 = -0.00417768164
	centre7 = 0.246640727
	centre8 = 1.50140941

	tail0 = -0.000200214257
	tail1 = 0.000100950558
	tail2 = 0.00134934322
	tail3 = -0.00367342844
	tail4 = 0.00573950773
	tail5 = -0.0076224613
	tail6 = 0.00943887047
	tail7 = 1.00167406
	tail8 = 2.83297682

	logOdd0 = 0.140869141
	logOdd1 = 0.139814854
	logOdd2 = 0.200120345

	logEven0 = -0.130310059
	logEven1 = -0.121483512
	logEven2 = -0.166846126
	logEven3 = -0.249996200

	logTop3 = 0.333331972 // the coefficients of f³ and f²
	logTop2 = -0.5

	twoThirds = 0x3f2aaaab // the bits of ⅔ in float32
)

// log computes the natural logarithm of a positive normal t by the steps given at Normal. For t in [2⁻²⁴, 1] its error
// is at most 1.2e-7 · max(1, |log t|).
func log(t float32) float32 {
	e := int32(math.Float32bits(t)-twoThirds) >> 23
	f := math.Float32frombits(math.Float32bits(t)-uint32(e)<<23) - 1
	s := float32(f * f)
	odd := float32(logOdd0)
	odd = float32(odd*s) + logOdd1
	odd = float32(odd*s) + logOdd2
	even := float32(logEven0)
	even = float32(even*s) + logEven1
	even = float32(even*s) + logEven2
	even = float32(even*s) + logEven3
	q := float32(odd*f) + even
	q = float32(q*f) + logTop3
	q = float32(q*f) + logTop2
	return float32(float32(e)*ln2) + (float32(q*s) + f)
}

// sqrt computes √w rounded to float32. Rounding the float64 root once more is innocuous, because 53 ≥ 2·24 + 2 bits
// (S. Figueroa, "When is double rounding innocuous?", 1995); the compiler turns it into one single-precision
// instruction.
func sqrt(w float32) float32 { return float32(math.Sqrt(float64(w))) }
