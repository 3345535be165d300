package arith_test

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
)

// A kind is a type of cvt as the oracle sees it.
type kind struct {
	name   string
	size   uint
	signed bool
	float  bool
	f      exact.Format
}

func kinds() []kind {
	return []kind{
		{name: "u8", size: 8}, {name: "u16", size: 16}, {name: "u32", size: 32}, {name: "u64", size: 64},
		{name: "s8", size: 8, signed: true}, {name: "s16", size: 16, signed: true},
		{name: "s32", size: 32, signed: true}, {name: "s64", size: 64, signed: true},
		{name: "f16", size: 16, float: true, f: exact.F16()}, {name: "bf16", size: 16, float: true, f: exact.BF16()},
		{name: "tf32", size: 32, float: true, f: exact.Format{Exp: 8, Frac: 10}},
		{name: "f32", size: 32, float: true, f: exact.F32()}, {name: "f64", size: 64, float: true, f: exact.F64()},
	}
}

func (k kind) limits() (low, high *big.Int) {
	one := big.NewInt(1)
	if k.signed {
		high = new(big.Int).Lsh(one, k.size-1)
		return new(big.Int).Neg(high), new(big.Int).Sub(high, one)
	}
	return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, k.size), one)
}

// integer is the number that the low bits of u mean.
func (k kind) integer(u uint64) *big.Int {
	n := new(big.Int).And(new(big.Int).SetUint64(u), new(big.Int).SetUint64(1<<(k.size-1)<<1-1))
	if k.signed && n.Bit(int(k.size-1)) == 1 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), k.size))
	}
	return n
}

// word is n modulo 2^64.
func word(n *big.Int) uint64 {
	return new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0))).Uint64()
}

// convert is the oracle of cvt.
func convert(d, s kind, m arith.Mode, u uint64) uint64 {
	low, high := d.limits()
	mode := m.Round.String()
	whole := len(mode) == 3 && mode != "rna" // rni …
	if whole {
		mode = mode[:2]
	}
	if mode == "" {
		mode = "rn"
	}
	if !s.float {
		n := s.integer(u)
		if d.float {
			return d.float64(m, mode, exact.Int(n))
		}
		if m.Sat && n.Cmp(low) < 0 {
			n = low
		}
		if m.Sat && n.Cmp(high) > 0 {
			n = high
		}
		return word(d.integer(word(n)))
	}
	v := s.f.Decode(u, m.FTZ && s.name == "f32")
	if whole {
		v = exact.Integral(v, mode)
	}
	if d.float {
		return d.float64(m, mode, v)
	}
	invalid := new(big.Int)
	if s.size == 64 || d.size == 64 {
		invalid = d.integer(1 << (d.size - 1))
	}
	return word(exact.ToInt(v, mode, low, high, invalid))
}

// float64 is v in the format of k, in a word.
func (k kind) float64(m arith.Mode, mode string, v exact.Value) uint64 {
	if v.NaN && k.name == "tf32" && !m.Sat {
		return 0x7fffffff
	}
	u := k.f.Encode(v, mode)
	if k.name == "f32" && m.FTZ {
		u = k.f.Flush(u)
	}
	if m.SatFinite && u&^k.f.Sign() == k.f.Inf() {
		u--
	}
	if m.Sat {
		u = k.f.Saturate(u)
	}
	if m.Relu && !v.NaN && u&k.f.Sign() != 0 {
		u = 0
	}
	if k.name == "tf32" {
		u <<= 13
	}
	return u
}

func TestCvtAgainstBigFloat(t *testing.T) {
	accepted := 0
	for _, s := range kinds() {
		inputs := exact.IntegerEdges()
		r := random()
		for range 300 {
			inputs = append(inputs, r.Uint64()>>r.IntN(64))
		}
		if s.float {
			inputs = exact.Edges(s.f)
			for _, n := range exact.IntegerEdges() { // the limits of the integer types and their neighbours
				for _, sign := range []bool{false, true} {
					v := exact.Int(new(big.Int).SetUint64(n))
					if sign {
						v = exact.Neg(v)
					}
					u := s.f.Encode(v, "rz")
					inputs = append(inputs, u, u+1, u-1)
				}
			}
			for range 500 {
				inputs = append(inputs, near(r, s.f))
			}
			if s.size == 16 && !testing.Short() {
				inputs = inputs[:0]
				for u := range uint64(1 << 16) {
					inputs = append(inputs, u)
				}
			}
		}
		for _, d := range kinds() {
			for round := arith.Default; round <= arith.RPI; round++ {
				for i := range 16 {
					m := arith.Mode{Round: round, FTZ: i&1 != 0, Sat: i&2 != 0, Relu: i&4 != 0, SatFinite: i&8 != 0}
					f, err := arith.Cvt(d.name, s.name, m)
					if err != nil {
						continue
					}
					accepted++
					step := 1
					if len(inputs) > 10000 { // every encoding once in the course of the modes
						step = 1 + 6*min(1, int(round))
					}
					for j := accepted % step; j < len(inputs); j += step {
						if want, got := convert(d, s, m, inputs[j]), f(inputs[j]); want != got {
							t.Fatalf("cvt.%s.%s %+v: %x gives %x, want %x", d.name, s.name, m, inputs[j], got, want)
						}
					}
				}
			}
		}
	}
	// The count that ptxas 13.0 accepts for sm_90, less f16 from bf16 and back without rounding.
	require.Equal(t, 810, accepted)
}

func TestCvtRefuses(t *testing.T) {
	for _, row := range []struct {
		d, s string
		m    arith.Mode
		want string
	}{
		{"s32", "f32", arith.Mode{}, "needs rni"},
		{"f32", "s32", arith.Mode{Round: arith.RNI}, "needs rn"},
		{"u32", "u16", arith.Mode{Sat: true}, "every value fits"},
		{"s32", "s16", arith.Mode{Round: arith.RN}, "does not round"},
		{"f16", "f32", arith.Mode{}, "loses precision"},
		{"f64", "f32", arith.Mode{Round: arith.RN}, "loses nothing"},
		{"f64", "s32", arith.Mode{Round: arith.RN, FTZ: true}, "ftz"},
		{"f32", "tf32", arith.Mode{}, "no conversion"},
		{"e4m3", "f32", arith.Mode{}, "no conversion"},
		{"tf32", "f32", arith.Mode{Round: arith.RM}, "rna"},
	} {
		_, err := arith.Cvt(row.d, row.s, row.m)
		require.ErrorContains(t, err, row.want, "%s %s", row.d, row.s)
	}
	_, err := arith.CvtPack("f16x4", arith.Mode{Round: arith.RN})
	require.ErrorContains(t, err, "f16x4")
	_, err = arith.CvtPack("f16x2", arith.Mode{Round: arith.RM})
	require.Error(t, err)
}

func TestCvtPack(t *testing.T) {
	for name, f := range map[string]exact.Format{"f16x2": exact.F16(), "bf16x2": exact.BF16()} {
		k := kind{name: name, float: true, f: f}
		for _, m := range []arith.Mode{{Round: arith.RN}, {Round: arith.RZ}, {Round: arith.RN, Relu: true},
			{Round: arith.RZ, SatFinite: true}} {
			pack, err := arith.CvtPack(name, m)
			require.NoError(t, err)
			list := exact.Edges(exact.F32())
			for i, a := range list {
				b := list[(i*7+3)%len(list)]
				upper := k.float64(m, m.Round.String(), exact.F32().Decode(a, false))
				lower := k.float64(m, m.Round.String(), exact.F32().Decode(b, false))
				require.Equal(t, uint32(upper<<16|lower), pack(uint32(a), uint32(b)), "%s %+v %x %x", name, m, a, b)
			}
		}
	}
}
