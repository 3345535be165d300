package exact

import "math/big"

// Add is a + b; mode decides the sign of an exact zero.
func Add(a, b Value, mode string) Value {
	switch {
	case a.NaN || b.NaN, a.Inf() && b.Inf() && a.Neg() != b.Neg():
		return Value{NaN: true}
	case a.Inf():
		return a
	case b.Inf():
		return b
	case a.Zero() && b.Zero() && a.Neg() == b.Neg():
		return a
	}
	x := New().Add(a.X, b.X)
	if x.Sign() == 0 {
		x = New()
		if mode == "rm" {
			x.Neg(x)
		}
	}
	return Value{X: x}
}

// Neg is -a.
func Neg(a Value) Value {
	if a.NaN {
		return a
	}
	return Value{X: New().Neg(a.X)}
}

// Mul is a · b.
func Mul(a, b Value) Value {
	if a.NaN || b.NaN || a.Zero() && b.Inf() || a.Inf() && b.Zero() {
		return Value{NaN: true}
	}
	return Value{X: New().Mul(a.X, b.X)}
}

// Div is a / b, wrong by less than its distance to any tie.
func Div(a, b Value) Value {
	if a.NaN || b.NaN || a.Zero() && b.Zero() || a.Inf() && b.Inf() {
		return Value{NaN: true}
	}
	return Value{X: shorter().Quo(a.X, b.X)}
}

// Sqrt is the square root of a, likewise.
func Sqrt(a Value) Value {
	if a.NaN || a.X.Sign() < 0 {
		return Value{NaN: true}
	}
	if a.Zero() || a.Inf() {
		return a
	}
	return Value{X: shorter().Sqrt(a.X)}
}

// Compare is -1, 0 or 1, and 2 if an operand is NaN.
func Compare(a, b Value) int {
	if a.NaN || b.NaN {
		return 2
	}
	return a.X.Cmp(b.X)
}

// functionPrec is the precision of the functions below: enough for arguments and results of binary32.
const functionPrec = 700

func shorter() *big.Float { return new(big.Float).SetPrec(functionPrec) }

func short(x float64) *big.Float { return shorter().SetFloat64(x) }

// Exp2 is 2^x for a binary32 x: the product of the roots 2^(2^-k) that the bits of x name.
func Exp2(v Value) Value {
	switch {
	case v.NaN:
		return v
	case v.Inf() && v.Neg():
		return Float(0)
	case v.Inf():
		return v
	}
	x := shorter().Set(v.X)
	if x.Cmp(big.NewFloat(2000)) > 0 {
		return Value{X: New().SetMantExp(big.NewFloat(1), 2000)}
	}
	if x.Cmp(big.NewFloat(-2000)) < 0 {
		return Value{X: New().SetMantExp(big.NewFloat(1), -2000)}
	}
	whole, _ := x.Int64()
	if x.Sign() < 0 {
		whole--
	}
	x.Sub(x, short(float64(whole))) // in [0, 1]
	z, root := short(1), short(2)
	for bit := short(1); x.Sign() != 0; bit.Quo(bit, short(2)) {
		if x.Cmp(bit) >= 0 {
			x.Sub(x, bit)
			z.Mul(z, root)
		}
		root = shorter().Sqrt(root)
	}
	return Value{X: z.SetMantExp(z, int(whole))}
}

// Log2 is the binary logarithm: its bits one by one, by squaring.
func Log2(v Value) Value {
	switch {
	case v.NaN:
		return v
	case v.Zero():
		return Value{X: New().SetInf(true)}
	case v.Neg():
		return Value{NaN: true}
	case v.Inf():
		return v
	}
	x := shorter()
	e := v.X.MantExp(x)
	x.SetPrec(functionPrec).Mul(x, short(2)) // in [1, 2)
	z := shorter().SetInt64(int64(e - 1))
	bit := short(1)
	for range 300 {
		bit.Quo(bit, short(2))
		x.Mul(x, x)
		if x.Cmp(big.NewFloat(2)) >= 0 {
			x.Quo(x, short(2))
			z.Add(z, bit)
		}
	}
	return Value{X: New().Set(z)}
}

// Tanh is the hyperbolic tangent, by Lambert's continued fraction.
func Tanh(v Value) Value {
	if v.NaN || v.Zero() {
		return v
	}
	if v.Inf() || New().Abs(v.X).Cmp(big.NewFloat(80)) > 0 {
		one := Value{X: New().Sub(big.NewFloat(1), New().SetMantExp(big.NewFloat(1), -200))}
		if v.Inf() {
			one = Float(1)
		}
		if v.Neg() {
			return Neg(one)
		}
		return one
	}
	square := shorter().Mul(v.X, v.X)
	z := short(801)
	for n := 799.0; n >= 1; n -= 2 {
		z.Add(short(n), shorter().Quo(square, z))
	}
	return Value{X: shorter().Quo(v.X, z)}
}

// Pi is π by the Gauss-Legendre iteration.
func Pi() *big.Float {
	a, b, t, p := short(1), shorter().Sqrt(short(0.5)), short(0.25), short(1)
	for range 10 {
		next := shorter().Add(a, b)
		next.Quo(next, short(2))
		b = shorter().Sqrt(shorter().Mul(a, b))
		d := shorter().Sub(a, next)
		t.Sub(t, d.Mul(d, d).Mul(d, p))
		p.Mul(p, short(2))
		a = next
	}
	a.Add(a, b)
	return a.Mul(a, a).Quo(a, t.Mul(t, short(4)))
}

// Sin is the sine of an angle in radians.
func Sin(v Value, pi *big.Float) Value {
	if v.NaN || v.Inf() {
		return Value{NaN: true}
	}
	if v.Zero() {
		return v
	}
	s, _ := angle(v.X, pi)
	return Value{X: s}
}

// Cos is the cosine of an angle in radians.
func Cos(v Value, pi *big.Float) Value {
	if v.NaN || v.Inf() {
		return Value{NaN: true}
	}
	_, c := angle(v.X, pi)
	return Value{X: c}
}

// angle is sine and cosine: the angle less whole turns, divided by 3^5, the series of the sine, and the rule for the
// triple angle for both.
func angle(x, pi *big.Float) (sin, cos *big.Float) {
	turn := shorter().Mul(pi, short(2))
	turns, _ := shorter().Quo(x, turn).Int(nil)
	r := shorter().Sub(shorter().Set(x), turn.Mul(turn, shorter().SetInt(turns)))
	triples := 5
	for range triples {
		r.Quo(r, short(3))
	}
	term := shorter().Set(r)
	square := shorter().Mul(r, r)
	sin = shorter().Set(r)
	for n := 2.0; n < 160; n += 2 {
		term.Mul(term, square).Quo(term, short(-n*(n+1)))
		sin.Add(sin, term)
	}
	cos = shorter().Sqrt(shorter().Sub(short(1), shorter().Mul(sin, sin))) // |r| < 0.03
	for range triples {
		s3 := shorter().Mul(shorter().Mul(sin, sin), sin)
		c3 := shorter().Mul(shorter().Mul(cos, cos), cos)
		sin = shorter().Sub(shorter().Mul(sin, short(3)), s3.Mul(s3, short(4)))
		cos = shorter().Sub(c3.Mul(c3, short(4)), shorter().Mul(cos, short(3)))
	}
	return sin, cos
}
