package cpu

import "math"

// expV computes dst = exp(a), to 1 ulp over the whole range, subnormal results included; NaN stays NaN, overflow gives
// +Inf.
//
//	n = round(a·log₂e)            by adding and subtracting 1.5·2²³
//	r = a - n·ln2, |r| ≤ ½ln2     ln2 in two parts, of which n times the first is exact
//	eʳ = 1 + r + r²·p(r)          p of degree 5
//	eᵃ = eʳ · 2^⌊n/2⌋ · 2^⌈n/2⌉   two exact scalings, so that only the last one may round (to a subnormal) or overflow
//
// Outside [-104, 89] the result is 0 or +Inf; a is moved to that interval, so that n keeps to its range.
// The coefficients are those of S. Moshier, Cephes mathematical library, expf.c.
func expV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		x := a[i]
		if x > expMax {
			x = expMax
		}
		if x < expMin {
			x = expMin
		}
		t := float32(x*log2e) + roundMagic
		n := t - roundMagic
		r := x - float32(n*ln2Hi)
		r -= float32(n * ln2Lo)
		p := float32(expP0*r) + expP1
		p = float32(p*r) + expP2
		p = float32(p*r) + expP3
		p = float32(p*r) + expP4
		p = float32(p*r) + expP5
		p = float32(float32(p*r)*r) + r + 1
		k := int32(math.Float32bits(t)) - roundBits
		half := k >> 1
		dst[i] = p * pow2(half) * pow2(k-half)
	}
}

// pow2 is 2ᵏ for -126 ≤ k ≤ 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

const (
	expMax = 89   // e^89 > 2^128
	expMin = -104 // e^-104 < 2^-150

	log2e = 1.44269504088896341
	ln2Hi = 0.693359375    // 10 bits
	ln2Lo = -2.12194440e-4 // ln2 - ln2Hi

	roundMagic = 0x1.8p23   // x + roundMagic has the integer nearest to x in its low bits
	roundBits  = 0x4b400000 // the bits of roundMagic

	expP0 = 1.9875691500e-4
	expP1 = 1.3981999507e-3
	expP2 = 8.3334519073e-3
	expP3 = 4.1665795894e-2
	expP4 = 1.6666665459e-1
	expP5 = 5.0000001201e-1
)
