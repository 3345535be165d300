package arith_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
)

// A family is one format and the operations under test, on bits in words.
type family struct {
	name                          string
	f                             exact.Format
	add, sub, mul, div, min, max  func(m arith.Mode, a, b uint64) uint64
	fma                           func(m arith.Mode, a, b, c uint64) uint64
	rcp, sqrt, abs, neg           func(m arith.Mode, a uint64) uint64
	rounds, flushes, clamps, relu bool
}

type two = func(m arith.Mode, a, b uint32) uint32

func wide2(f two) func(m arith.Mode, a, b uint64) uint64 {
	return func(m arith.Mode, a, b uint64) uint64 { return uint64(f(m, uint32(a), uint32(b))) }
}

func wide1(f func(m arith.Mode, a uint32) uint32) func(m arith.Mode, a uint64) uint64 {
	return func(m arith.Mode, a uint64) uint64 { return uint64(f(m, uint32(a))) }
}

func halfFamily(name string, f exact.Format, h arith.Half) family {
	w := func(g func(m arith.Mode, a, b uint16) uint16) func(m arith.Mode, a, b uint64) uint64 {
		return func(m arith.Mode, a, b uint64) uint64 { return uint64(g(m, uint16(a), uint16(b))) }
	}
	one := func(g func(m arith.Mode, a uint16) uint16) func(m arith.Mode, a uint64) uint64 {
		return func(m arith.Mode, a uint64) uint64 { return uint64(g(m, uint16(a))) }
	}
	return family{
		name: name, f: f, add: w(h.Add), sub: w(h.Sub), mul: w(h.Mul), min: w(h.Min), max: w(h.Max), abs: one(h.Abs),
		neg:    one(h.Neg),
		fma:    func(m arith.Mode, a, b, c uint64) uint64 { return uint64(h.Fma(m, uint16(a), uint16(b), uint16(c))) },
		rounds: true, flushes: true, clamps: true, relu: true,
	}
}

func families() []family {
	return []family{
		{
			name: "f32", f: exact.F32(), rounds: true, flushes: true, clamps: true,
			add: wide2(arith.Mode.AddF32), sub: wide2(arith.Mode.SubF32), mul: wide2(arith.Mode.MulF32),
			div: wide2(arith.Mode.DivF32),
			min: wide2(arith.Mode.MinF32), max: wide2(arith.Mode.MaxF32),
			fma: func(m arith.Mode, a, b, c uint64) uint64 { return uint64(m.FmaF32(uint32(a), uint32(b), uint32(c))) },
			rcp: wide1(arith.Mode.RcpF32), sqrt: wide1(arith.Mode.SqrtF32), abs: wide1(arith.Mode.AbsF32),
			neg: wide1(arith.Mode.NegF32),
		},
		{
			name: "f64", f: exact.F64(), rounds: true,
			add: arith.Mode.AddF64, sub: arith.Mode.SubF64, mul: arith.Mode.MulF64, div: arith.Mode.DivF64,
			fma: arith.Mode.FmaF64,
			min: arith.Mode.MinF64, max: arith.Mode.MaxF64,
			rcp: arith.Mode.RcpF64, sqrt: arith.Mode.SqrtF64,
			abs: func(_ arith.Mode, a uint64) uint64 { return arith.AbsF64(a) },
			neg: func(_ arith.Mode, a uint64) uint64 { return arith.NegF64(a) },
		},
		halfFamily("f16", exact.F16(), arith.F16()),
		halfFamily("bf16", exact.BF16(), arith.BF16()),
	}
}

// modes are the combinations of modifiers worth crossing for a family.
func (fam family) modes() []arith.Mode {
	var all []arith.Mode
	for _, r := range directions {
		all = append(all, arith.Mode{Round: r})
		if fam.flushes {
			all = append(all, arith.Mode{Round: r, FTZ: true}, arith.Mode{Round: r, FTZ: true, Sat: true})
		}
	}
	if fam.relu {
		all = append(all, arith.Mode{Relu: true})
	}
	return all
}

// finish is the definition of a result: round, flush, clamp.
func finish(f exact.Format, m arith.Mode, v exact.Value) uint64 {
	r := m.Round
	if r == arith.Default {
		r = arith.RN
	}
	u := f.Encode(v, r.String())
	if m.FTZ {
		u = f.Flush(u)
	}
	if m.Sat {
		u = f.Saturate(u)
	}
	if m.Relu && u&f.Sign() != 0 {
		u = 0
	}
	return u
}

func TestUnaryAgainstBigFloat(t *testing.T) {
	for _, fam := range families() {
		f := fam.f
		inputs := exact.Edges(f)
		r := random()
		for range 3000 {
			inputs = append(inputs, r.Uint64()&(2*f.Sign()-1))
		}
		if f.Bits() == 16 {
			inputs = inputs[:0]
			for u := range uint64(1 << 16) {
				inputs = append(inputs, u)
			}
		}
		for _, m := range fam.modes() {
			for _, a := range inputs {
				v := f.Decode(a, m.FTZ)
				if fam.rcp != nil {
					require.Equalf(t, finish(f, m, exact.Div(exact.Float(1), v)), fam.rcp(m, a), "%s rcp %+v %x",
						fam.name, m, a)
					require.Equalf(t, finish(f, m, exact.Sqrt(v)), fam.sqrt(m, a), "%s sqrt %+v %x", fam.name, m, a)
				}
				if m.Round == arith.RN && !m.Sat {
					bits := a
					if m.FTZ {
						bits = f.Flush(a)
					}
					if fam.abs(m, a) != bits&^f.Sign() || fam.neg(m, a) != bits^f.Sign() {
						t.Fatalf("%s abs or neg %+v %x", fam.name, m, a)
					}
				}
			}
		}
	}
}

func (fam family) binary(t *testing.T, m arith.Mode, a, b uint64) {
	f := fam.f
	x, y := f.Decode(a, m.FTZ), f.Decode(b, m.FTZ)
	mode := m.Round.String()
	check := func(op string, want exact.Value, got uint64) {
		if w := finish(f, m, want); w != got {
			t.Fatalf("%s %s %+v: %x, %x gives %x, want %x", fam.name, op, m, a, b, got, w)
		}
	}
	check("add", exact.Add(x, y, mode), fam.add(m, a, b))
	check("sub", exact.Add(x, exact.Neg(y), mode), fam.sub(m, a, b))
	check("mul", exact.Mul(x, y), fam.mul(m, a, b))
	if fam.div != nil {
		check("div", exact.Div(x, y), fam.div(m, a, b))
	}
}

func TestBinaryAgainstBigFloat(t *testing.T) {
	for _, fam := range families() {
		for _, m := range fam.modes() {
			list := exact.Edges(fam.f)
			for _, a := range list {
				for _, b := range list {
					fam.binary(t, m, a, b)
				}
			}
			r := random()
			for range 4000 {
				fam.binary(t, m, near(r, fam.f), near(r, fam.f))
			}
		}
	}
}

func (fam family) ternary(t *testing.T, m arith.Mode, a, b, c uint64) {
	f := fam.f
	v := exact.Add(exact.Mul(f.Decode(a, m.FTZ), f.Decode(b, m.FTZ)), f.Decode(c, m.FTZ), m.Round.String())
	if w, got := finish(f, m, v), fam.fma(m, a, b, c); w != got {
		t.Fatalf("%s fma %+v: %x, %x, %x gives %x, want %x", fam.name, m, a, b, c, got, w)
	}
}

func TestFmaAgainstBigFloat(t *testing.T) {
	for _, fam := range families() {
		list := exact.Edges(fam.f)
		all := fam.modes()
		r := random()
		stride := 7
		if testing.Short() {
			stride = 71
		}
		n := 0
		for _, a := range list {
			for _, b := range list {
				for _, c := range list {
					if n++; n%stride == 0 {
						fam.ternary(t, all[r.IntN(len(all))], a, b, c)
					}
				}
			}
		}
		for range 30000 {
			a, b := near(r, fam.f), near(r, fam.f)
			c := near(r, fam.f)
			if r.IntN(2) == 0 { // the product's neighbourhood: cancellation
				c = fam.mul(arith.Mode{}, a, b) ^ fam.f.Sign() ^ r.Uint64N(4)
			}
			fam.ternary(t, all[r.IntN(len(all))], a, b, c)
		}
	}
}

// Ties and near-ties of the sum in binary64 are where a product in binary64 alone rounds twice.
func TestFmaRNAtTies(t *testing.T) {
	f := exact.F32()
	r := random()
	check := func(a, b, c uint32) {
		v := exact.Add(exact.Mul(f.Decode(uint64(a), false), f.Decode(uint64(b), false)),
			f.Decode(uint64(c), false), "rn")
		if want, got := uint32(f.Encode(v, "rn")), arith.FmaRN(a, b, c); want != got {
			t.Fatalf("fma %x, %x, %x gives %x, want %x", a, b, c, got, want)
		}
	}
	list := exact.Edges(f)
	for _, a := range list {
		for _, b := range list {
			x, y := uint32(a), uint32(b)
			require.Equal(t, arith.Mode{}.AddF32(x, y), arith.AddRN(x, y))
			require.Equal(t, arith.Mode{}.SubF32(x, y), arith.SubRN(x, y))
			require.Equal(t, arith.Mode{}.MulF32(x, y), arith.MulRN(x, y))
			check(x, y, uint32(list[r.IntN(len(list))]))
		}
	}
	for range 100000 {
		// a·b has 48 bits; c some 24 to 60 places above or below.
		e := uint32(100 + r.IntN(50))
		a := r.Uint32()&0x807fffff | e<<23
		b := r.Uint32()&0x807fffff | (250-e)<<23
		if r.IntN(2) == 0 {
			a &= 0xfffff000
		}
		if r.IntN(2) == 0 {
			b &= 0xfffff800
		}
		c := r.Uint32()&0x807fffff | uint32(60+r.IntN(130))<<23
		if r.IntN(3) == 0 {
			c &= 0xff800000
		}
		check(a, b, c)
		check(a, b&^(0x40<<23), c&0x80ffffff) // towards the subnormal range
	}
}

func TestMinMax(t *testing.T) {
	for _, fam := range families() {
		f := fam.f
		list := exact.Edges(f)
		modes := []arith.Mode{{}}
		if fam.flushes {
			modes = append(modes, arith.Mode{FTZ: true}, arith.Mode{NaN: true}, arith.Mode{XorSign: true},
				arith.Mode{NaN: true, XorSign: true, FTZ: true})
		}
		for _, m := range modes {
			for _, a := range list {
				for _, b := range list {
					for _, largest := range []bool{false, true} {
						got, op := fam.min(m, a, b), "min"
						if largest {
							got, op = fam.max(m, a, b), "max"
						}
						if want := choose(f, m, a, b, largest); got != want {
							t.Fatalf("%s %s %+v: %x, %x gives %x, want %x", fam.name, op, m, a, b, got, want)
						}
					}
				}
			}
		}
	}
}

// choose is the text of PTX ISA 9.7.3.11.
func choose(f exact.Format, m arith.Mode, a, b uint64, largest bool) uint64 {
	if m.FTZ {
		a, b = f.Flush(a), f.Flush(b)
	}
	sign := (a ^ b) & f.Sign()
	if m.XorSign {
		a, b = a&^f.Sign(), b&^f.Sign()
	}
	x, y := f.Decode(a, false), f.Decode(b, false)
	d := a
	switch {
	case x.NaN && y.NaN || m.NaN && (x.NaN || y.NaN):
		return f.NaN
	case x.NaN:
		d = b
	case y.NaN:
	default:
		c := x.X.Cmp(y.X)
		if c == 0 && x.Zero() && x.Neg() != y.Neg() {
			c = 1
			if x.Neg() {
				c = -1
			}
		}
		if largest {
			c = -c
		}
		if c > 0 {
			d = b
		}
	}
	if m.XorSign {
		d |= sign
	}
	return d
}

func TestComparisons(t *testing.T) {
	holds := map[string]func(c int) bool{
		"eq": func(c int) bool { return c == 0 }, "ne": func(c int) bool { return c == 1 || c == -1 },
		"lt": func(c int) bool { return c == -1 }, "le": func(c int) bool { return c == -1 || c == 0 },
		"gt": func(c int) bool { return c == 1 }, "ge": func(c int) bool { return c == 1 || c == 0 },
		"lo": func(c int) bool { return c == -1 }, "ls": func(c int) bool { return c == -1 || c == 0 },
		"hi": func(c int) bool { return c == 1 }, "hs": func(c int) bool { return c == 1 || c == 0 },
		"equ": func(c int) bool { return c == 0 || c == 2 }, "neu": func(c int) bool { return c != 0 },
		"ltu": func(c int) bool { return c == -1 || c == 2 }, "leu": func(c int) bool { return c != 1 },
		"gtu": func(c int) bool { return c >= 1 }, "geu": func(c int) bool { return c >= 0 },
		"num": func(c int) bool { return c != 2 }, "nan": func(c int) bool { return c == 2 },
	}
	for word, want := range holds {
		c, ok := arith.ParseCmp(word)
		require.True(t, ok, word)
		list := exact.Edges(exact.F32())
		for _, a := range list {
			for _, b := range list {
				x, y := exact.F32().Decode(a, false), exact.F32().Decode(b, false)
				require.Equal(t, want(exact.Compare(x, y)), c.F32(uint32(a), uint32(b)), "%s %x %x", word, a, b)
				x, y = exact.F32().Decode(a, true), exact.F32().Decode(b, true)
				require.Equal(t, want(exact.Compare(x, y)), c.F32FTZ(uint32(a), uint32(b)), "%s.ftz %x %x", word, a, b)
			}
		}
		list = exact.Edges(exact.F64())
		for _, a := range list {
			for _, b := range list {
				x, y := exact.F64().Decode(a, false), exact.F64().Decode(b, false)
				require.Equal(t, want(exact.Compare(x, y)), c.F64(a, b), "%s %x %x", word, a, b)
			}
		}
		list = exact.Edges(exact.F16())
		for _, a := range list {
			for _, b := range list {
				for _, ftz := range []bool{false, true} {
					m := arith.Mode{FTZ: ftz}
					x, y := exact.F16().Decode(a, ftz), exact.F16().Decode(b, ftz)
					require.Equal(t, want(exact.Compare(x, y)), arith.F16().Holds(m, c, uint16(a), uint16(b)),
						"%s %x %x", word, a, b)
				}
			}
		}
	}
	_, ok := arith.ParseCmp("lth")
	require.False(t, ok)
}

func TestClasses(t *testing.T) {
	want := map[string]func(f exact.Format, u uint64) bool{
		"finite":     func(f exact.Format, u uint64) bool { return u&f.Inf() != f.Inf() },
		"infinite":   func(f exact.Format, u uint64) bool { return u&^f.Sign() == f.Inf() },
		"number":     func(f exact.Format, u uint64) bool { return u&^f.Sign() <= f.Inf() },
		"notanumber": func(f exact.Format, u uint64) bool { return u&^f.Sign() > f.Inf() },
		"normal": func(f exact.Format, u uint64) bool {
			e := u & f.Inf()
			return u&^f.Sign() == 0 || e != 0 && e != f.Inf()
		},
		"subnormal": func(f exact.Format, u uint64) bool { return u&f.Inf() == 0 && u&^f.Sign() != 0 },
	}
	for word, is := range want {
		c, ok := arith.ParseClass(word)
		require.True(t, ok)
		for _, u := range exact.Edges(exact.F32()) {
			require.Equal(t, is(exact.F32(), u), c.F32(uint32(u)), "%s %x", word, u)
		}
		for _, u := range exact.Edges(exact.F64()) {
			require.Equal(t, is(exact.F64(), u), c.F64(u), "%s %x", word, u)
		}
	}
}
