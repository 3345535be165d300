package arith

import "math"

// An Approx is an instruction that PTX defines only up to an error.
type Approx uint8

const (
	Ex2       Approx = iota // ex2.approx.f32
	Lg2                     // lg2.approx.f32
	Sin                     // sin.approx.f32
	Cos                     // cos.approx.f32
	Tanh                    // tanh.approx.f32
	Rcp                     // rcp.approx.f32
	Rsqrt                   // rsqrt.approx.f32
	Sqrt                    // sqrt.approx.f32
	DivApprox               // div.approx.f32
	DivFull                 // div.full.f32
	Ex2F16                  // ex2.approx.f16
	Ex2BF16                 // ex2.approx.ftz.bf16
	TanhF16                 // tanh.approx.f16
	TanhBF16                // tanh.approx.bf16
)

// A BoundKind says how an error bound is counted.
type BoundKind uint8

const (
	ULP      BoundKind = iota // steps from the correctly rounded result
	Relative                  // |result - exact| / |exact|
	Absolute                  // |result - exact|
)

// A Bound is the maximum error of an instruction.
type Bound struct {
	Kind BoundKind
	Max  float64
}

// bounds are the errors that PTX ISA 9.1 states, sections 9.7.3.8, .13, .15, .16, .18 to .22, 9.7.4.9 and 9.7.4.10.
// Those of lg2, sin and cos depend on the argument, see Bound.
var bounds = [...]struct {
	name string
	f    format
	Bound
}{
	Ex2:       {"ex2.approx.f32", single, Bound{ULP, 2}},
	Lg2:       {"lg2.approx.f32", single, Bound{Relative, 0x1p-22}},
	Sin:       {"sin.approx.f32", single, Bound{Absolute, exp2m20_5}},
	Cos:       {"cos.approx.f32", single, Bound{Absolute, exp2m20_5}},
	Tanh:      {"tanh.approx.f32", single, Bound{Relative, 0x1p-11}},
	Rcp:       {"rcp.approx.f32", single, Bound{ULP, 1}},
	Rsqrt:     {"rsqrt.approx.f32", single, Bound{Relative, exp2m22_9}},
	Sqrt:      {"sqrt.approx.f32", single, Bound{Relative, 0x1p-23}},
	DivApprox: {"div.approx.f32", single, Bound{ULP, 2}},
	DivFull:   {"div.full.f32", single, Bound{ULP, 2}},
	Ex2F16:    {"ex2.approx.f16", half, Bound{Relative, exp2m9_9}},
	Ex2BF16:   {"ex2.approx.ftz.bf16", bfloat, Bound{Relative, 0x1p-7}},
	TanhF16:   {"tanh.approx.f16", half, Bound{Absolute, exp2m10_987}},
	TanhBF16:  {"tanh.approx.bf16", bfloat, Bound{Absolute, 0x1p-8}},
}

// Powers of two that are no binary fractions, rounded down.
const (
	exp2m9_9    = 0.0010467
	exp2m10_987 = 0.00049271
	exp2m14_7   = 3.75715e-05
	exp2m20_5   = 6.7434e-07
	exp2m22_9   = 1.2776e-07
)

// String is the instruction.
func (f Approx) String() string { return bounds[f].name }

// Bound is the maximum error at the argument a. Beyond 100π PTX promises nothing for sin and cos; the bound up to
// there stands for it.
func (f Approx) Bound(a uint32) Bound {
	b := bounds[f].Bound
	switch x := math.Abs(bounds[f].f.widen(a)); {
	case (f == Sin || f == Cos) && x > 2*math.Pi:
		b.Max = exp2m14_7
	case f == Lg2 && x > 0.5 && x < 2:
		b.Kind = Absolute
	}
	return b
}

// Eval is the correctly rounded result with the special values of PTX: the exact mode. Unary instructions ignore b.
// ftz flushes subnormal arguments and results; it does nothing to f16, and Ex2BF16 always flushes.
func (f Approx) Eval(a, b uint32, ftz bool) uint32 {
	form := bounds[f].f
	ftz = f.flushes(ftz)
	if ftz {
		a, b = form.flush(a), form.flush(b)
	}
	u, fixed := f.special(a, b)
	if !fixed {
		v := f.value(form.widen(a), form.widen(b))
		const slack = 0x1p-46 // covers the error of value, a few units of 2⁻⁵³
		u = form.round(v*(1-slack), RN)
		if u != form.round(v*(1+slack), RN) {
			u = form.round(f.slow(form.widen(a)), RN)
		}
	}
	if ftz {
		u = form.flush(u)
	}
	return u
}

func (f Approx) flushes(ftz bool) bool {
	switch f {
	case Ex2F16, TanhF16, TanhBF16, Tanh:
		return false
	case Ex2BF16:
		return true
	}
	return ftz
}

// special gives the results that need no rounding of a transcendental number.
func (f Approx) special(a, b uint32) (uint32, bool) {
	form := bounds[f].f
	x, y := form.widen(a), form.widen(b)
	switch f {
	case Rcp:
		return form.round(1/x, RN), true
	case DivApprox:
		if m := math.Abs(y); m > 0x1p126 && !math.IsInf(y, 0) && x == x {
			if math.IsInf(x, 0) {
				return form.nan, true
			}
			return (a ^ b) & form.sign(), true
		}
		return form.round(x/y, RN), true
	case DivFull:
		return form.round(x/y, RN), true
	case Sqrt:
		return form.round(math.Sqrt(x), RN), true
	}
	if v := f.value(x, y); x == 0 || v != v || math.IsInf(x, 0) {
		return form.round(v, RN), true
	}
	return 0, false
}

// value is the result in binary64, wrong by a few units in the last place.
func (f Approx) value(x, y float64) float64 {
	switch f {
	case Ex2, Ex2F16, Ex2BF16:
		return math.Exp2(x)
	case Lg2:
		if math.Abs(x-1) < 0.25 {
			return math.Log1p(x-1) * math.Log2E
		}
		return math.Log2(x)
	case Sin:
		return math.Sin(x)
	case Cos:
		return math.Cos(x)
	case Tanh, TanhF16, TanhBF16:
		return math.Tanh(x)
	case Rcp:
		return 1 / x
	case Rsqrt:
		return 1 / math.Sqrt(x)
	case Sqrt:
		return math.Sqrt(x)
	}
	return x / y
}

// Perturb is the pessimistic mode: a result within the bound around the exact one, chosen by the random word r.
// Results that PTX gives as special values (of zeros, infinities and NaN) stay.
func (f Approx) Perturb(a, b uint32, ftz bool, r uint64) uint32 {
	u := f.Eval(a, b, ftz)
	form := bounds[f].f
	if ftz = f.flushes(ftz); ftz {
		a, b = form.flush(a), form.flush(b)
	}
	x, exact := form.widen(a), form.widen(u)
	bound := f.Bound(a)
	switch {
	case x == 0 && f != DivApprox && f != DivFull, math.IsInf(x, 0), exact != exact, math.IsInf(exact, 0):
		return u
	case exact == 0 && f != Lg2, f == Tanh && math.Abs(x) < 0x1p-126:
		return u
	}
	if bound.Kind == ULP {
		steps := int64(bound.Max)
		m := int64(u&^form.sign()) + int64(r%uint64(2*steps+1)) - steps
		u = u&form.sign() | uint32(min(max(m, 0), int64(form.inf())-1))
	} else {
		v := f.value(x, form.widen(b))
		room := bound.Max * (1 - 0x1p-20)
		if bound.Kind == Relative {
			room *= math.Abs(v)
		}
		// Uniform in value, then rounded to nearest, or inwards where that would leave the bound; among subnormals
		// neither may fit, and the exact result stays.
		w := v + room*(float64(r>>11)*0x1p-52-1)
		toward := RM
		if w < v {
			toward = RP
		}
		for _, r := range [2]Round{RN, toward} {
			if near := form.round(w, r); math.Abs(form.widen(near)-v) <= room {
				u = near
				break
			}
		}
	}
	if ftz {
		u = form.flush(u)
	}
	return u
}
