package arith

import "math"

// A Dot is a model of the dot product c + Σ a[k]·b[k·stride] of a tensor core: of numbers of tf32, bfloat16 or binary16
// as float64, at most MaxDot of them. The zero Dot is exact: the sum of exact products and c, rounded once to nearest
// even, the least error a machine could have.
//
// With Block > 0 it cuts as tensor cores do: Block products at a time are aligned with the accumulator to the largest
// exponent, cut toward zero below 23+Extra fraction bits and added exactly, and the sum is cut to binary32, or rounded
// to nearest even for binary16. That tensor cores align and cut is the finding of M. Fasi, N. J. Higham, M. Mikaitis,
// S. Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7:e330, 2021; Block and Extra of each
// card are those of the models to F. A. Khattak, M. Mikaitis, "Accurate models of NVIDIA tensor cores",
// arXiv:2512.07004, which their authors publish (north-numerical-computing/MATLAB-tensor-core). Those models hold
// subnormal inputs at the smallest normal exponent, which this one does not: it cuts less there.
type Dot struct {
	Block int
	Extra int
}

// Ampere is the model of the A100: blocks of eight 16-bit products or four of tf32, one extra bit.
func Ampere(tf32 bool) Dot { return Dot{Block: 8 >> toInt(tf32), Extra: 1} }

// Hopper is the model of the H100: blocks of sixteen or eight, two extra bits.
func Hopper(tf32 bool) Dot { return Dot{Block: 16 >> toInt(tf32), Extra: 2} }

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// MaxDot is the largest length of a dot product.
const MaxDot = 32

// F32 is the dot product with a binary32 accumulator: c is a binary32 number, the result its bits.
func (d Dot) F32(c float64, a, b []float64, stride int) uint32 { return d.sum(single, c, a, b, stride) }

// F16 is the dot product with a binary16 accumulator.
func (d Dot) F16(c float64, a, b []float64, stride int) uint16 {
	return uint16(d.sum(half, c, a, b, stride))
}

func (d Dot) sum(acc format, c float64, a, b []float64, stride int) uint32 {
	if d.Block == 0 {
		return acc.round(exactSum(c, a, b, stride), RN)
	}
	u := acc.round(c, RN)
	for k := 0; k < len(a); k += d.Block {
		u = d.block(acc, acc.widen(u), a[k:min(k+d.Block, len(a))], b[k*stride:], stride)
	}
	return u
}

// exactSum is c + Σ a·b rounded to odd.
func exactSum(c float64, a, b []float64, stride int) float64 {
	s := c
	var lost uint64
	for k, x := range a {
		p := float64(x * b[k*stride])
		next := s + p
		u := next - s
		lost |= math.Float64bits((s - (next - u)) + (p - u))
		s = next
	}
	if lost<<1 != 0 { // some sum was not exact, or not finite
		return expand(c, a, b, stride)
	}
	return s
}

// expand is exactSum by a sum of several numbers that do not overlap: J. R. Shewchuk, "Adaptive precision
// floating-point arithmetic and fast robust geometric predicates", 1997.
func expand(c float64, a, b []float64, stride int) float64 {
	naive := c
	for k, x := range a {
		naive += float64(x * b[k*stride])
	}
	if naive-naive != 0 { // infinite or NaN: no finite sum of these formats overflows
		return naive
	}
	var parts [MaxDot + 1]float64
	parts[0] = c
	n := 1
	for k, x := range a {
		x *= b[k*stride]
		kept := 0
		for _, y := range parts[:n] {
			if math.Abs(x) < math.Abs(y) {
				x, y = y, x
			}
			hi := x + y
			if lo := y - (hi - x); lo != 0 {
				parts[kept] = lo
				kept++
			}
			x = hi
		}
		parts[kept] = x
		n = kept + 1
	}
	n--
	s := parts[n]
	for n > 0 {
		n--
		x, y := s, parts[n]
		s = x + y
		if lo := y - (s - x); lo != 0 {
			return odd(s, lo)
		}
	}
	return s
}

// block is one step of the truncating model.
func (d Dot) block(acc format, c float64, a, b []float64, stride int) uint32 {
	naive, top := c, exponent(c)
	for k, x := range a {
		y := b[k*stride]
		naive += float64(x * y)
		if x != 0 && y != 0 {
			top = max(top, exponent(x)+exponent(y)) // a product may be twice as large; the sum has room
		}
	}
	if naive-naive != 0 || top == math.MinInt {
		return acc.round(naive, RN)
	}
	scale := 23 + d.Extra - top // of the unit
	sum := math.Trunc(math.Ldexp(c, scale))
	for k, x := range a {
		sum += math.Trunc(math.Ldexp(x*b[k*stride], scale)) // below 2^28 each: exact
	}
	r := RZ
	if acc == half {
		r = RN
	}
	return acc.round(math.Ldexp(sum, -scale), r)
}

// exponent is e with 2^e ≤ |x| < 2^(e+1).
func exponent(x float64) int {
	if x == 0 {
		return math.MinInt
	}
	return math.Ilogb(x)
}
