package ptx

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// edges are operands around which rounding, overflow and special values happen.
var edges = []uint32{0, 1 << 31, 1, 0x807fffff, 0x00800000, 0x3f800000, 0xbf800001, 0x7f7fffff, 0xff7fffff, 0x7f800000,
	0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0x33800000, 0x4b000001}

func randomBits(r *rand.Rand) uint32 {
	switch r.IntN(3) {
	case 0:
		return edges[r.IntN(len(edges))]
	case 1:
		return r.Uint32()
	}
	return math.Float32bits(float32(r.NormFloat64()))
}

// The lanes functions in use, assembly where there is one, give the bits of exact arithmetic rounded once.
func TestLanesAreRoundedOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	exact := func(f func(z *big.Float), special float32) uint32 {
		if special != special {
			return 0x7fffffff
		}
		if math.IsInf(float64(special), 0) {
			return math.Float32bits(special)
		}
		z := new(big.Float).SetPrec(1200)
		f(z)
		v, _ := z.Float32()
		if v == 0 && special == 0 {
			return math.Float32bits(special) // the sign of an exact zero
		}
		return math.Float32bits(v)
	}
	number := func(u uint32) *big.Float {
		return new(big.Float).SetPrec(1200).SetFloat64(float64(math.Float32frombits(u)))
	}
	finite := func(list ...uint32) bool {
		for _, u := range list {
			if u&0x7f800000 == 0x7f800000 {
				return false
			}
		}
		return true
	}
	for range 3000 {
		var a, b, c, sum, diff, prod, fma vec[uint32]
		for i := range a {
			a[i], b[i], c[i] = randomBits(r), randomBits(r), randomBits(r)
		}
		addLanes()(&sum, &a, &b)
		subLanes()(&diff, &a, &b)
		mulLanes()(&prod, &a, &b)
		fmaLanes()(&fma, &a, &b, &c)
		for i := range a {
			x, y := math.Float32frombits(a[i]), math.Float32frombits(b[i])
			if finite(a[i], b[i]) {
				p, q := number(a[i]), number(b[i])
				require.Equal(t, exact(func(v *big.Float) { v.Add(p, q) }, zeroSign(x, y)), sum[i], "%x + %x",
					a[i], b[i])
				require.Equal(t, exact(func(v *big.Float) { v.Sub(p, q) }, zeroSign(x, -y)), diff[i], "%x - %x",
					a[i], b[i])
				require.Equal(t, exact(func(v *big.Float) { v.Mul(p, q) }, 1), prod[i], "%x * %x", a[i], b[i])
				if finite(c[i]) && fma[i]&0x7fffffff != 0 {
					require.Equal(t, exact(func(v *big.Float) { v.Mul(p, q).Add(v, number(c[i])) }, 1), fma[i],
						"%x * %x + %x", a[i], b[i], c[i])
				}
			} else {
				require.Equal(t, exact(nil, x+y), sum[i])
				require.Equal(t, exact(nil, x-y), diff[i])
				require.Equal(t, exact(nil, x*y), prod[i])
			}
		}
	}
}

// zeroSign is a zero with the sign that x + y has when it vanishes.
func zeroSign(x, y float32) float32 {
	if math.Signbit(float64(x)) && math.Signbit(float64(y)) {
		return float32(math.Copysign(0, -1))
	}
	return 0
}

// The assembly gives what the loops in Go give, in place too, and writes nothing beside.
func TestAssemblyEqualsGo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		var a, b, c vec[uint32]
		for i := range a {
			a[i], b[i], c[i] = randomBits(r), randomBits(r), randomBits(r)
		}
		for name, f := range map[string][2]func(d *vec[uint32]){
			"add": {func(d *vec[uint32]) { addLanes()(d, &a, &b) }, func(d *vec[uint32]) { addGeneric(d, &a, &b) }},
			"sub": {func(d *vec[uint32]) { subLanes()(d, &a, &b) }, func(d *vec[uint32]) { subGeneric(d, &a, &b) }},
			"mul": {func(d *vec[uint32]) { mulLanes()(d, &a, &b) }, func(d *vec[uint32]) { mulGeneric(d, &a, &b) }},
			"fma": {func(d *vec[uint32]) { fmaLanes()(d, &a, &b, &c) },
				func(d *vec[uint32]) { fmaGeneric(d, &a, &b, &c) }},
		} {
			got, want := [3]vec[uint32]{{1}, {}, {2}}, [3]vec[uint32]{{1}, {}, {2}}
			f[0](&got[1])
			f[1](&want[1])
			require.Equal(t, want, got, name)
		}
		want := a
		fmaGeneric(&want, &want, &b, &want)
		fmaLanes()(&a, &a, &b, &a)
		require.Equal(t, want, a)

		memory := make([]uint32, 256)
		var rel vec[uint32]
		for i := range memory {
			memory[i] = r.Uint32()
		}
		for i := range rel {
			rel[i] = uint32(4*r.IntN(120)) - 240
		}
		var got, exp [4]vec[uint32]
		at := unsafe.Pointer(&memory[100])
		gather4(at, &rel, &got[0], &got[1], &got[2], &got[3])
		gather4Generic(at, &rel, &exp[0], &exp[1], &exp[2], &exp[3])
		require.Equal(t, exp, got)

		var x, offsets vec[uint32]
		var y, offsets64 vec[uint64]
		for i := range x {
			offsets[i], offsets64[i] = r.Uint32(), r.Uint64()
		}
		offsets[0], offsets64[0] = 0, 0
		for i := range x {
			x[i], y[i] = 77+offsets[i], 99+offsets64[i]
		}
		require.True(t, sameOffsets32(&x, &offsets) && sameOffsets64(&y, &offsets64))
		k := r.IntN(32)
		x[k] ^= 1 << r.IntN(32)
		y[k] ^= 1 << r.IntN(64)
		require.False(t, sameOffsets32(&x, &offsets) || sameOffsets64(&y, &offsets64))
	}
}

// Wavefronts of shared memory by hand: 32 banks, phases of half and quarter warps for 8 and 16 bytes.
func TestBankWaves(t *testing.T) {
	for _, c := range []struct {
		name         string
		stride       uint32
		bytes        int
		mask         uint32
		waves, extra uint16
	}{
		{"one word for all", 0, 4, fullMask, 1, 0},
		{"consecutive words", 4, 4, fullMask, 1, 0},
		{"every second word", 8, 4, fullMask, 2, 1},
		{"a column of a row of 32", 128, 4, fullMask, 32, 31},
		{"a padded column", 132, 4, fullMask, 1, 0},
		{"bytes", 1, 1, fullMask, 1, 0},
		{"pairs", 8, 8, fullMask, 2, 0},
		{"quads", 16, 16, fullMask, 4, 0},
		{"quads of a padded row", 20 * 4, 16, fullMask, 4, 0},
		{"quads, one bank", 128, 16, fullMask, 32, 28},
		{"quads of the first quarter", 16, 16, 0xff, 1, 0},
		{"one quad for all", 0, 16, fullMask, 4, 0},
	} {
		var a vec[uint32]
		for i := range a {
			a[i] = uint32(i) * c.stride
		}
		waves, extra := bankWaves(&a, c.mask, c.bytes)
		require.Equal(t, [2]uint16{c.waves, c.extra}, [2]uint16{waves, extra}, c.name)
	}
}
