package arith

import (
	"math"
	"math/big"
)

// prec is the precision of the slow path in bits: three times what telling a binary32 result from a tie takes,
// and more than the cancellation in reducing the angle 2^128.
const prec = 400

func number(x float64) *big.Float { return new(big.Float).SetPrec(prec).SetFloat64(x) }

// slow is the result of a function of one argument, rounded to odd in binary64: for the arguments, about one in a
// million, where value lies too close to a tie to say on which side.
func (f Approx) slow(x float64) float64 {
	var z *big.Float
	switch f {
	case Ex2, Ex2F16, Ex2BF16:
		z = exp2(x)
	case Lg2:
		z = log2(x)
	case Sin:
		z, _ = sinCos(x)
	case Cos:
		_, z = sinCos(x)
	case Rsqrt:
		z = number(x)
		z.Quo(number(1), z.Sqrt(z))
	default: // tanh x = 1 - 2/(e^2x + 1)
		e := exp(new(big.Float).Mul(number(2), number(x)))
		e.Quo(number(2), e.Add(e, number(1)))
		z = e.Sub(number(1), e)
	}
	v, accuracy := z.Float64()
	return odd(v, -float64(accuracy))
}

// exp is e^x for |x| < 2^10: halved ten times, the series, squared ten times.
func exp(x *big.Float) *big.Float {
	const halvings = 16
	t := new(big.Float).SetMantExp(x, -halvings)
	sum, term := number(1), number(1)
	for n := 1; n < 60; n++ {
		term.Quo(term.Mul(term, t), number(float64(n)))
		sum.Add(sum, term)
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// exp2 is 2^x; exact for integers.
func exp2(x float64) *big.Float {
	whole := math.RoundToEven(x)
	e := exp(new(big.Float).Mul(number(x-whole), log(2)))
	return e.SetMantExp(e, int(whole))
}

// log is the natural logarithm of x near 1 to 2: 2 artanh((x-1)/(x+1)).
func log(x float64) *big.Float {
	t := new(big.Float).Quo(number(x-1), number(x+1))
	square := new(big.Float).Mul(t, t)
	sum := number(0)
	for n := 1; n < 300; n += 2 {
		sum.Add(sum, new(big.Float).Quo(t, number(float64(n))))
		t.Mul(t, square)
	}
	return sum.Mul(sum, number(2))
}

// log2 is the binary logarithm of x > 0.
func log2(x float64) *big.Float {
	frac, e := math.Frexp(x)
	l := log(frac * 2)
	return l.Add(l.Quo(l, log(2)), number(float64(e-1)))
}

// sinCos is the sine and cosine of x.
func sinCos(x float64) (sin, cos *big.Float) {
	// π by Machin's formula: 16 artan(1/5) - 4 artan(1/239).
	pi := artan(5)
	pi.Sub(pi.Mul(pi, number(16)), new(big.Float).Mul(number(4), artan(239)))
	quarter := new(big.Float).Quo(pi, number(2))
	turns, _ := new(big.Float).Add(new(big.Float).Quo(number(math.Abs(x)), quarter), number(0.5)).Int(nil)
	k := new(big.Float).SetPrec(prec).SetInt(turns)
	r := new(big.Float).Sub(number(math.Abs(x)), k.Mul(k, quarter))
	s, c := number(0), number(0)
	term := number(1)
	for n := 0; n < 100; n++ { // term = rⁿ/n!, with the signs of the series
		into := c
		if n&1 != 0 {
			into = s
		}
		if n&2 != 0 {
			into.Sub(into, term)
		} else {
			into.Add(into, term)
		}
		term.Quo(term.Mul(term, r), number(float64(n+1)))
	}
	switch new(big.Int).And(turns, big.NewInt(3)).Int64() {
	case 1:
		s, c = c, s.Neg(s)
	case 2:
		s.Neg(s)
		c.Neg(c)
	case 3:
		s, c = c.Neg(c), s
	}
	if x < 0 {
		s.Neg(s)
	}
	return s, c
}

// artan is the arc tangent of 1/n.
func artan(n float64) *big.Float {
	t := new(big.Float).Quo(number(1), number(n))
	square := new(big.Float).Mul(t, t)
	sum := number(0)
	for i := 1; i < 200; i += 2 {
		term := new(big.Float).Quo(t, number(float64(i)))
		if i&2 != 0 {
			term.Neg(term)
		}
		sum.Add(sum, term)
		t.Mul(t, square)
	}
	return sum
}
