package cpu

import "math"

// The functions here are built on expV of a buffer on the stack, stackLen elements at a time, since dst may be a.
// They choose between two branches by bits, not by jumps: signs are as good as random, and jumps on them mispredicted.
const stackLen = 128

// sigmoidV computes dst = 1/(1 + exp(-a)): with e = exp(-|a|) it is 1/(1+e) or e/(1+e), so that nothing overflows and
// the left tail keeps its relative precision.
func sigmoidV(dst, a []float32) {
	var e [stackLen]float32
	for len(dst) > 0 {
		n := min(stackLen, len(dst))
		expMinusAbs(e[:n], a[:n], 1)
		out := dst[:n]
		for i, x := range a[:n] {
			out[i] = choose(signMask(x), e[i], 1) / (1 + e[i])
		}
		dst, a = dst[n:], a[n:]
	}
}

// tanhV computes dst = tanh a. With e = exp(-2|a|) it is ±(1-e)/(1+e) from |a| = 0.625 on; below, where that would
// cancel, a + a³·p(a²) with p of degree 4 (S. Moshier, Cephes mathematical library, tanhf.c).
func tanhV(dst, a []float32) {
	var e [stackLen]float32
	for len(dst) > 0 {
		n := min(stackLen, len(dst))
		expMinusAbs(e[:n], a[:n], 2)
		out := dst[:n]
		for i, x := range a[:n] {
			far := (1 - e[i]) / (1 + e[i])
			z := float32(x * x)
			p := float32(tanhP0*z) + tanhP1
			p = float32(p*z) + tanhP2
			p = float32(p*z) + tanhP3
			p = float32(p*z) + tanhP4
			near := float32(float32(p*z)*x) + x
			out[i] = choose(signMask(abs(x)-0.625), near, withSign(far, x))
		}
		dst, a = dst[n:], a[n:]
	}
}

// softplusV computes dst = log(1 + exp(a)) = max(a, 0) + log(1+e) with e = exp(-|a|) in [0, 1]. With s = e/(2+e) ≤ 1/3,
//
//	log(1+e) = 2 artanh s = 2s·(1 + s²/3 + s⁴/5 + …),
//
// which keeps the relative precision of the left tail; the terms from s¹⁶ on are below 2⁻²⁸.
func softplusV(dst, a []float32) {
	var e [stackLen]float32
	for len(dst) > 0 {
		n := min(stackLen, len(dst))
		expMinusAbs(e[:n], a[:n], 1)
		out := dst[:n]
		for i, x := range a[:n] {
			s := e[i] / (2 + e[i])
			z := float32(s * s)
			p := float32(1./15*z) + 1./13
			p = float32(p*z) + 1./11
			p = float32(p*z) + 1./9
			p = float32(p*z) + 1./7
			p = float32(p*z) + 1./5
			p = float32(p*z) + 1./3
			s += s
			out[i] = max(x, 0) + (s + float32(s*float32(p*z)))
		}
		dst, a = dst[n:], a[n:]
	}
}

const (
	tanhP0 = -5.70498872745e-3
	tanhP1 = 2.06390887954e-2
	tanhP2 = -5.37397155531e-2
	tanhP3 = 1.33314422036e-1
	tanhP4 = -3.33332819422e-1
)

// expMinusAbs computes e = exp(-scale·|a|).
func expMinusAbs(e, a []float32, scale float32) {
	a = a[:len(e)]
	for i := range e {
		e[i] = -scale * abs(a[i])
	}
	expV(e, e)
}

// signMask is all ones where x has its sign bit set, else zero.
func signMask(x float32) uint32 { return uint32(int32(math.Float32bits(x)) >> 31) }

// choose is a where mask is all ones, b where it is zero.
func choose(mask uint32, a, b float32) float32 {
	return math.Float32frombits(math.Float32bits(a)&mask | math.Float32bits(b)&^mask)
}

// withSign is x ≥ 0 with the sign of s.
func withSign(x, s float32) float32 {
	return math.Float32frombits(math.Float32bits(x) | math.Float32bits(s)&(1<<31))
}
