package emit

import (
	"fmt"
	"math"
)

// The functions of one number. Each is a sequence of correctly rounded operations; their largest errors, against
// float64 over the whole range, stand in TestErrors. Polynomials are those of S. Moshier, Cephes mathematical library
// (expf, logf, tanhf, sinf, cosf).

// number writes a float32 constant.
func number(c float64) string { return fmt.Sprintf("0f%08X", math.Float32bits(float32(c))) }

func integer(n int) string { return fmt.Sprint(n) }

// fma is a·b + c with one rounding.
func (w *writer) fma(a, b, c string) string { return w.f("fma.rn.f32", a, b, c) }
func (w *writer) add(a, b string) string    { return w.f("add.rn.f32", a, b) }
func (w *writer) mul(a, b string) string    { return w.f("mul.rn.f32", a, b) }

// horner evaluates a polynomial, the highest coefficient first.
func (w *writer) horner(x string, coefficients ...float64) string {
	p := w.fma(x, number(coefficients[0]), number(coefficients[1]))
	for _, c := range coefficients[2:] {
		p = w.fma(p, x, number(c))
	}
	return p
}

const (
	magic     = 0x1.8p23   // x + magic has the integer nearest to x in its low bits
	magicBits = 0x4b400000 // the bits of magic
)

// nearest gives the integer nearest to x·c as a float and as an integer; it must be below 2²².
func (w *writer) nearest(x string, c float64) (real, whole string) {
	t := w.fma(x, number(c), number(magic))
	return w.add(t, number(-magic)), w.r("sub.s32", w.bits(t), integer(magicBits))
}

func (w *writer) bits(f string) string { return w.r("mov.b32", f) }

// exp: n = round(x·log₂e), r = x - n·ln2, eˣ = (1 + r + r²·p(r))·2^⌊n/2⌋·2^⌈n/2⌉, so that only the last scaling may
// round or overflow. Outside [-104, 89] the result is 0 or infinite.
func exp(w *writer, a string) string {
	x := w.f("min.NaN.f32", a, number(89))
	x = w.f("max.NaN.f32", x, number(-104))
	n, k := w.nearest(x, math.Log2E)
	const ln2Hi = 0x1.62e4p-1 // 15 bits: n times it is exact
	r := w.fma(n, number(-ln2Hi), x)
	r = w.fma(n, number(ln2Hi-math.Ln2), r)
	p := w.horner(
		r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
	)
	y := w.add(w.fma(p, w.mul(r, r), r), number(1))
	half := w.r("shr.s32", k, "1")
	y = w.mul(y, w.pow2(half))
	return w.mul(y, w.pow2(w.r("sub.s32", k, half)))
}

// pow2 is 2ᵏ for normal results.
func (w *writer) pow2(k string) string {
	return w.f("mov.b32", w.r("shl.b32", w.r("add.s32", k, "127"), "23"))
}

// log: a = m·2ᵏ with √½ ≤ m < √2, f = m - 1, log a = f - f²/2 + f³·p(f) + k·ln2. A subnormal a first times 2²³.
func log(w *writer, a string) string {
	small := w.p("setp.lt.f32", a, number(0x1p-126))
	x := w.f("selp.f32", w.mul(a, number(0x1p23)), a, small)
	scale := w.r("selp.b32", "-23", "0", small)
	b := w.bits(x)
	e := w.r("shr.s32", w.r("sub.s32", b, "0x3f3504f3"), "23") // the bits of √½
	m := w.f("mov.b32", w.r("sub.s32", b, w.r("shl.b32", e, "23")))
	k := w.f("cvt.rn.f32.s32", w.r("add.s32", e, scale))
	f := w.add(m, number(-1))
	z := w.mul(f, f)
	p := w.horner(
		f, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
		2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
	)
	const ln2Hi = 0.693359375 // 10 bits: k times it is exact
	y := w.mul(w.mul(p, f), z)
	y = w.fma(k, number(math.Ln2-ln2Hi), y)
	y = w.fma(z, number(-0.5), y)
	y = w.fma(k, number(ln2Hi), w.add(f, y))
	// 0, +Inf, NaN and what is negative.
	y = w.f("selp.f32", number(math.Inf(-1)), y, w.p("setp.eq.f32", a, number(0)))
	y = w.f("selp.f32", a, y, w.p("setp.gtu.f32", a, number(math.MaxFloat32)))
	return w.f("selp.f32", number(math.NaN()), y, w.p("setp.lt.f32", a, number(0)))
}

// expMinusAbs is exp(-scale·|a|).
func (w *writer) expMinusAbs(a string, scale float64) string {
	return exp(w, w.mul(w.f("abs.f32", a), number(-scale)))
}

// sigmoid: with e = exp(-|a|) it is 1/(1+e) or e/(1+e), so that nothing overflows and the left tail keeps its
// precision.
func sigmoid(w *writer, a string) string {
	e := w.expMinusAbs(a, 1)
	top := w.f("selp.f32", e, number(1), w.p("setp.lt.f32", a, number(0)))
	return w.f("div.rn.f32", top, w.add(e, number(1)))
}

// tanh: with e = exp(-2|a|) it is ±(1-e)/(1+e) from |a| = 0.625 on, below a + a³·p(a²).
func tanh(w *writer, a string) string {
	e := w.expMinusAbs(a, 2)
	far := w.f("div.rn.f32", w.f("sub.rn.f32", number(1), e), w.add(e, number(1)))
	far = w.f("copysign.f32", a, far)
	z := w.mul(a, a)
	p := w.horner(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
	near := w.fma(w.mul(p, z), a, a)
	return w.f("selp.f32", near, far, w.p("setp.lt.f32", w.f("abs.f32", a), number(0.625)))
}

// softplus: max(a, 0) + log(1+e) with e = exp(-|a|) and log(1+e) = 2 artanh s, s = e/(2+e) ≤ 1/3, whose series keeps
// the relative precision of the left tail; terms from s¹⁶ on are below 2⁻²⁸.
func softplus(w *writer, a string) string {
	e := w.expMinusAbs(a, 1)
	s := w.f("div.rn.f32", e, w.add(e, number(2)))
	z := w.mul(s, s)
	p := w.mul(w.horner(z, 1./15, 1./13, 1./11, 1./9, 1./7, 1./5, 1./3), z)
	s = w.add(s, s)
	return w.add(w.f("max.NaN.f32", a, number(0)), w.fma(s, p, s))
}

func sin(w *writer, a string) string { return w.sine(a, "0") }
func cos(w *writer, a string) string { return w.sine(a, "1") }

// maxPlain is how far the reduction by three products of n and a part of π/2 keeps its precision.
const maxPlain = 105615

// sine is sin(a + turns·π/2): a = n·π/2 + r with |r| ≤ π/4, and a polynomial of sine or cosine by n modulo 4.
func (w *writer) sine(a, turns string) string {
	// π/2 in three parts, of which n times each of the first two has few bits enough to be subtracted exactly.
	n, q := w.nearest(a, 2/math.Pi)
	r := w.fma(n, number(-piHalf[0]), a)
	r = w.fma(n, number(-piHalf[1]), r)
	r = w.fma(n, number(-piHalf[2]), r)
	r, q = w.largeAngle(a, r, q)
	q = w.r("add.s32", q, turns)

	z := w.mul(r, r)
	s := w.horner(z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
	s = w.fma(w.mul(s, z), r, r)
	c := w.horner(z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
	c = w.fma(w.mul(c, z), z, w.fma(z, number(-0.5), number(1)))
	odd := w.p("setp.ne.s32", w.r("and.b32", q, "1"), "0")
	y := w.bits(w.f("selp.f32", c, s, odd))
	sign := w.r("shl.b32", w.r("and.b32", q, "2"), "30")
	return w.f("mov.b32", w.r("xor.b32", y, sign))
}

// piHalf is π/2 in three float32 parts of 21, 21 and 24 bits.
var piHalf = func() (parts [3]float64) {
	// π/2 - float64(π/2), of which the third part needs the beginning.
	const hi, rest = math.Pi / 2, 6.123233995736766e-17
	parts[0] = truncate(hi, 20)
	parts[1] = truncate(hi-parts[0], 42)
	parts[2] = hi - parts[0] - parts[1] + rest
	return parts
}()

// truncate keeps the bits of x down to 2⁻ⁿ.
func truncate(x float64, n int) float64 { return math.Ldexp(math.Trunc(math.Ldexp(x, n)), -n) }

// digits is a zero word and the first 224 binary digits of 2/π (as in fdlibm, e_rem_pio2.c).
const digits = ".const .align 4 .b32 digits[8] = {0, 0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, " +
	"0x3C439041, 0xFE5163AB};\n\n"

// largeAngle puts the exact reduction of M. Payne and R. Hanek (SIGNUM Newsletter 18, 1983) in place of r and q where
// |a| is large. With |a| = m·2ᵉ, m an integer of 24 bits, those digits of 2/π count whose weight in 2ᵉ·2/π is at most
// 2: 96 of them, times m, modulo 2⁹⁶, are |a|·2/π modulo 4 in units of 2⁻⁹⁴.
func (w *writer) largeAngle(a, r, q string) (newR, newQ string) {
	w.table = true
	newR, newQ = w.f("mov.f32", r), w.r("mov.b32", q)
	small := fmt.Sprintf("SMALL%d", w.count['f'])
	w.when(w.p("setp.le.f32", w.f("abs.f32", a), number(maxPlain)), "bra", small)
	w.when(w.p("testp.notanumber.f32", r), "bra", small) // NaN and infinities

	b := w.bits(a)
	m := w.r("or.b32", w.r("and.b32", b, "0x7fffff"), "0x800000")
	// of the first digit: e - 1, after 31 zeros before it
	at := w.r("sub.u32", w.r("bfe.u32", b, "23", "8"), integer(150-30))
	base := w.op('d', "mov.u64", "digits")
	base = w.op('d', "mad.wide.u32", w.r("shr.u32", at, "5"), "4", base)
	var word [4]string
	for i := range word {
		word[i] = w.r("ld.const.u32", fmt.Sprintf("[%s+%d]", base, 4*i))
	}
	for i := range 3 {
		word[i] = w.r("shf.l.wrap.b32", word[i+1], word[i], at)
	}
	low := w.op('d', "mul.wide.u32", word[2], m)
	mid := w.op('d', "mul.wide.u32", word[1], m)
	mid = w.op('d', "add.u64", mid, w.op('d', "shr.u64", low, "32"))
	high := w.op('d', "mad.wide.u32", word[0], m, w.op('d', "shr.u64", mid, "32"))
	// The upper 64 of the 96 bits: two of the quadrant, 62 of the fraction.
	top := w.op('d', "or.b64", w.op('d', "shl.b64", high, "32"), w.op('d', "and.b64", mid, "0xffffffff"))
	quadrant := w.r("cvt.u32.u64", w.op('d', "shr.u64", top, "62"))
	fraction := w.op('d', "shl.b64", top, "2")
	// a fraction from ½ on counts down from the next quadrant
	up := w.r("cvt.u32.u64", w.op('d', "shr.u64", fraction, "63"))
	quadrant = w.r("add.s32", quadrant, up)
	v := w.op('d', "cvt.rn.f64.s64", fraction)
	v = w.op('d', "mul.rn.f64", v, fmt.Sprintf("0d%016X", math.Float64bits(math.Pi/2*0x1p-64)))
	w.into("cvt.rn.f32.f64", newR, v)
	w.into("mov.b32", newQ, quadrant)
	negative := w.p("setp.lt.s32", b, "0")
	w.when(negative, "neg.f32", newR, newR)
	w.when(negative, "neg.s32", newQ, newQ)
	w.label(small)
	return newR, newQ
}
