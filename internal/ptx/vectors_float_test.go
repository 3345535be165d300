package ptx_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"

	"bilevel/internal/ptx/arith/exact"
)

// floatInputs are the edges of a format and numbers of close exponents; two in one register for packed types.
func floatInputs(f exact.Format, two bool, seed uint64) []uint64 {
	r := rand.New(rand.NewPCG(3, seed))
	list := exact.Edges(f)
	bias := uint64(1<<(f.Exp-1) - 1)
	for range 24 {
		u := r.Uint64()&(2*f.Sign()-1)&^f.Inf() | (bias-4+r.Uint64N(8))<<f.Frac
		list = append(list, u, u^f.Sign()^r.Uint64N(4))
	}
	if two {
		high := slices.Clone(list)
		r.Shuffle(len(high), func(i, j int) { high[i], high[j] = high[j], high[i] })
		for i := range list {
			list[i] |= high[i] << 16
		}
	}
	return list
}

// A floatOp is an instruction on numbers of a format: the value before rounding.
type floatOp func(mode string, x []exact.Value) exact.Value

// roundings is the rounding modifier among mods.
func roundings(mods []string) string {
	for _, m := range mods {
		if slices.Contains([]string{"rn", "rz", "rm", "rp"}, m) {
			return m
		}
	}
	return "rn"
}

// perNumber applies f to the numbers of packed registers, or to whole ones.
func perNumber(two bool, f func(x []uint64) uint64) func(x []uint64) (uint64, bool) {
	return func(x []uint64) (uint64, bool) {
		if !two {
			return f(x), true
		}
		low, high := make([]uint64, len(x)), make([]uint64, len(x))
		for i := range x {
			low[i], high[i] = x[i]&0xffff, x[i]>>16
		}
		return f(low) | f(high)<<16, true
	}
}

// rounded is a vector whose result is the value of g, rounded once, flushed and clamped as the words say.
func rounded(operands int, g floatOp) writer {
	return func(op string, mods []string) (*vector, bool) {
		f, two, ok := formatOf(last(mods))
		if !ok || has(mods, "approx") || has(mods, "full") {
			return nil, false
		}
		v := &vector{dst: registerClass(last(mods))}
		for i := range operands {
			v.src, v.in = append(v.src, v.dst), append(v.in, floatInputs(f, two, uint64(i)))
		}
		ftz := has(mods, "ftz")
		v.want = perNumber(two, func(x []uint64) uint64 {
			values := make([]exact.Value, operands)
			for i := range values {
				values[i] = f.Decode(x[i], ftz)
			}
			u := f.Encode(g(roundings(mods), values), roundings(mods))
			if ftz {
				u = f.Flush(u)
			}
			if has(mods, "sat") {
				u = f.Saturate(u)
			}
			if has(mods, "relu") && u&f.Sign() != 0 {
				u = 0
			}
			return u
		})
		return v, true
	}
}

// signs is abs, neg and copysign: bit operations, after the flush.
func signs(operands int, g func(f exact.Format, x []uint64) uint64) writer {
	return func(op string, mods []string) (*vector, bool) {
		f, two, ok := formatOf(last(mods))
		if !ok {
			return nil, false
		}
		v := &vector{dst: registerClass(last(mods))}
		for i := range operands {
			v.src, v.in = append(v.src, v.dst), append(v.in, floatInputs(f, two, uint64(i)))
		}
		v.want = perNumber(two, func(x []uint64) uint64 {
			if has(mods, "ftz") {
				for i := range x {
					x[i] = f.Flush(x[i])
				}
			}
			return g(f, x)
		})
		return v, true
	}
}

// extremes is min and max: PTX ISA 9.7.3.11.
func extremes(largest bool) writer {
	return func(op string, mods []string) (*vector, bool) {
		f, two, ok := formatOf(last(mods))
		if !ok {
			return nil, false
		}
		class := registerClass(last(mods))
		list := floatInputs(f, two, 1)
		v := &vector{dst: class, src: []string{class, class}, in: [][]uint64{list, floatInputs(f, two, 2)}}
		v.want = perNumber(two, func(x []uint64) uint64 {
			a, b := x[0], x[1]
			if has(mods, "ftz") {
				a, b = f.Flush(a), f.Flush(b)
			}
			sign := (a ^ b) & f.Sign()
			if has(mods, "abs") {
				a, b = a&^f.Sign(), b&^f.Sign()
			}
			p, q := f.Decode(a, false), f.Decode(b, false)
			z := b
			switch {
			case p.NaN && q.NaN, has(mods, "NaN") && (p.NaN || q.NaN):
				return f.NaN
			case p.NaN:
			case q.NaN:
				z = a
			case p.Zero() && q.Zero(): // -0 < +0
				if p.Neg() != largest {
					z = a
				}
			case p.X.Cmp(q.X) < 0 != largest:
				z = a
			}
			if has(mods, "xorsign") {
				z |= sign
			}
			return z
		})
		return v, true
	}
}

// A limit is the documented error of an approximation: PTX ISA 9.1, the notes of each instruction.
type limit struct {
	ulps, relative, absolute float64
}

// approximation is a vector of an instruction with an error bound; g is its exact value.
func approximation(operands int, g func(x []exact.Value) exact.Value, bound func(x exact.Value) limit) writer {
	return func(op string, mods []string) (*vector, bool) {
		f, two, ok := formatOf(last(mods))
		if !ok || !has(mods, "approx") && !has(mods, "full") || last(mods) == "f64" {
			return nil, false
		}
		v := &vector{dst: registerClass(last(mods)), inexact: true}
		for i := range operands {
			v.src, v.in = append(v.src, v.dst), append(v.in, append(floatInputs(f, two, uint64(i)), angles(f, two)...))
		}
		ftz := has(mods, "ftz")
		value := func(x []uint64) (exact.Value, exact.Value) {
			values := make([]exact.Value, operands)
			for i := range values {
				values[i] = f.Decode(x[i], ftz)
			}
			if op == "div" && has(mods, "approx") {
				if z, is := largeDivisor(values[0], values[1]); is {
					return z, values[0]
				}
			}
			return g(values), values[0]
		}
		encode := func(z exact.Value) uint64 {
			u := f.Encode(z, "rn")
			if ftz {
				u = f.Flush(u)
			}
			return u
		}
		v.want = perNumber(two, func(x []uint64) uint64 {
			z, _ := value(x)
			return encode(z)
		})
		within := func(x []uint64, got uint64) bool {
			z, a := value(x)
			right := encode(z)
			if got == right {
				return true
			}
			l := bound(a)
			if last(mods) == "f16" || last(mods) == "f16x2" {
				l = map[string]limit{"ex2": {relative: math.Exp2(-9.9)}, "tanh": {absolute: math.Exp2(-10.987)}}[op]
			}
			if strings.HasPrefix(last(mods), "bf16") {
				l = map[string]limit{"ex2": {relative: math.Exp2(-7)}, "tanh": {absolute: math.Exp2(-8)}}[op]
			}
			if ftz && got&^f.Sign() == 0 && right&^f.Sign() != 0 {
				got = right&f.Sign() | (1<<f.Frac - 1) // what is flushed may have been the largest subnormal number
			}
			p := f.Decode(got, false)
			if p.NaN || p.Inf() || z.NaN || z.Inf() {
				return false
			}
			if l.ulps > 0 {
				return math.Abs(float64(int64(got)-int64(right))) <= l.ulps
			}
			e := exact.New().Sub(p.X, z.X)
			if l.relative > 0 {
				e.Quo(e, z.X)
				l.absolute = l.relative
			}
			size, _ := e.Float64()
			return math.Abs(size) <= l.absolute
		}
		v.near = func(x []uint64, got uint64) bool {
			if !two {
				return within(x, got)
			}
			return within([]uint64{x[0] & 0xffff}, got&0xffff) && within([]uint64{x[0] >> 16}, got>>16)
		}
		return v, true
	}
}

// angles are arguments in the middle of the functions' range.
func angles(f exact.Format, two bool) (list []uint64) {
	for i := range 40 {
		u := f.Encode(exact.Float((float64(i)-17)*0.713), "rn")
		if two {
			u |= f.Encode(exact.Float(float64(i)*0.0313), "rn") << 16
		}
		list = append(list, u)
	}
	return list
}

// largeDivisor is what div.approx gives for 2^126 < |b| < 2^128.
func largeDivisor(a, b exact.Value) (exact.Value, bool) {
	if a.NaN || b.NaN || b.Inf() || exact.New().Abs(b.X).Cmp(exact.New().SetMantExp(big.NewFloat(1), 126)) <= 0 {
		return exact.Value{}, false
	}
	if a.Inf() {
		return exact.Value{NaN: true}, true
	}
	zero := exact.Float(0)
	if a.Neg() != b.Neg() {
		zero = exact.Neg(zero)
	}
	return zero, true
}

func constant(l limit) func(exact.Value) limit { return func(exact.Value) limit { return l } }

// circular is the bound of sin and cos.
func circular(x exact.Value) limit {
	if a, _ := x.X.Float64(); math.Abs(a) <= 2*math.Pi {
		return limit{absolute: math.Exp2(-20.5)}
	}
	return limit{absolute: math.Exp2(-14.7)}
}

func logarithm(x exact.Value) limit {
	if a, _ := x.X.Float64(); a > 0.5 && a < 2 {
		return limit{absolute: 0x1p-22}
	}
	return limit{relative: 0x1p-22}
}

// upperWords is rcp and rsqrt.approx.ftz.f64: the upper word of a number is one with 20 fraction bits.
func upperWords(g func(x exact.Value) exact.Value) writer {
	return func(op string, mods []string) (*vector, bool) {
		if last(mods) != "f64" || !has(mods, "approx") {
			return nil, false
		}
		v := &vector{dst: "b64", src: []string{"b64"}, in: [][]uint64{floatInputs(exact.F64(), false, 1)}}
		coarse := exact.Format{Exp: 11, Frac: 20, NaN: 0x7fffffff}
		v.want = func(x []uint64) (uint64, bool) {
			// rsqrt.approx.f64: no bound is documented; two units cover a rounded root and a quotient
			if !has(mods, "ftz") {
				return 0, false
			}
			return coarse.Flush(coarse.Encode(g(coarse.Decode(x[0]>>32, true)), "rn")) << 32, true
		}
		return v, true
	}
}

func floatWriters() map[string]writer {
	pi := exact.Pi()
	firstOf := func(g func(exact.Value) exact.Value) func(x []exact.Value) exact.Value {
		return func(x []exact.Value) exact.Value { return g(x[0]) }
	}
	reciprocal := func(x exact.Value) exact.Value { return exact.Div(exact.Float(1), x) }
	inverseRoot := func(x exact.Value) exact.Value { return reciprocal(exact.Sqrt(x)) }
	quotient := func(x []exact.Value) exact.Value { return exact.Div(x[0], x[1]) }
	either := func(ws ...writer) writer {
		return func(op string, mods []string) (*vector, bool) {
			for _, w := range ws {
				if v, ok := w(op, mods); ok {
					return v, ok
				}
			}
			return nil, false
		}
	}
	fma := rounded(3, func(mode string, x []exact.Value) exact.Value {
		return exact.Add(exact.Mul(x[0], x[1]), x[2], mode)
	})
	return map[string]writer{
		"add": rounded(2, func(mode string, x []exact.Value) exact.Value { return exact.Add(x[0], x[1], mode) }),
		"sub": rounded(2, func(mode string, x []exact.Value) exact.Value {
			return exact.Add(x[0], exact.Neg(x[1]), mode)
		}),
		"mul": rounded(2, func(_ string, x []exact.Value) exact.Value { return exact.Mul(x[0], x[1]) }),
		"fma": fma, "mad": fma,
		"div": either(rounded(2, func(_ string, x []exact.Value) exact.Value { return quotient(x) }),
			approximation(2, quotient, constant(limit{ulps: 2}))),
		"rcp": either(rounded(1, func(_ string, x []exact.Value) exact.Value { return reciprocal(x[0]) }),
			approximation(1, firstOf(reciprocal), constant(limit{ulps: 1})), upperWords(reciprocal)),
		"sqrt": either(rounded(1, func(_ string, x []exact.Value) exact.Value { return exact.Sqrt(x[0]) }),
			approximation(1, firstOf(exact.Sqrt), constant(limit{relative: 0x1p-23}))),
		"rsqrt": either(approximation(1, firstOf(inverseRoot), constant(limit{relative: math.Exp2(-22.9)})),
			upperWords(inverseRoot)),
		"ex2":      approximation(1, firstOf(exact.Exp2), constant(limit{ulps: 2})),
		"lg2":      approximation(1, firstOf(exact.Log2), logarithm),
		"tanh":     approximation(1, firstOf(exact.Tanh), constant(limit{relative: 0x1p-11})),
		"sin":      approximation(1, firstOf(func(x exact.Value) exact.Value { return exact.Sin(x, pi) }), circular),
		"cos":      approximation(1, firstOf(func(x exact.Value) exact.Value { return exact.Cos(x, pi) }), circular),
		"abs":      signs(1, func(f exact.Format, x []uint64) uint64 { return x[0] &^ f.Sign() }),
		"neg":      signs(1, func(f exact.Format, x []uint64) uint64 { return x[0] ^ f.Sign() }),
		"copysign": signs(2, func(f exact.Format, x []uint64) uint64 { return x[0]&f.Sign() | x[1]&^f.Sign() }),
		"min":      extremes(false),
		"max":      extremes(true),
	}
}
