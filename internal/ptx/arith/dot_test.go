package arith_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
)

// A product is a pair of formats of a tensor core.
type product struct {
	name    string
	in, acc exact.Format
}

func products() []product {
	tf32 := exact.Format{Exp: 8, Frac: 10}
	return []product{
		{"tf32", tf32, exact.F32()}, {"f16", exact.F16(), exact.F32()}, {"bf16", exact.BF16(), exact.F32()},
		{"f16acc", exact.F16(), exact.F16()},
	}
}

// dot calls the code under test on bits; the second factor is strided.
func (p product) dot(d arith.Dot, c uint64, a, b []uint64) uint64 {
	const stride = 3
	x, y := make([]float64, len(a)), make([]float64, stride*len(a))
	for i := range a {
		x[i], y[stride*i] = number(p.in, a[i]), number(p.in, b[i])
	}
	if p.acc.Frac == 10 {
		return uint64(d.F16(number(p.acc, c), x, y, stride))
	}
	return uint64(d.F32(number(p.acc, c), x, y, stride))
}

// number is an encoding as a float64.
func number(f exact.Format, u uint64) float64 {
	v := f.Decode(u, false)
	if v.NaN {
		return math.NaN()
	}
	x, _ := v.X.Float64()
	return x
}

// operands draws a dot product: from edges, from all exponents, or with close exponents.
func (p product) operands(r *rand.Rand, k int) (c uint64, a, b []uint64) {
	special := r.IntN(8) == 0
	draw := func(f exact.Format) uint64 {
		if special && r.IntN(k) == 0 {
			list := exact.Edges(f)
			return list[r.IntN(len(list))]
		}
		if special || r.IntN(3) > 0 {
			return near(r, f)
		}
		return r.Uint64() & (2*f.Sign() - 1) &^ (1 << (f.Exp + f.Frac - 1)) // below 2
	}
	for range k {
		a = append(a, draw(p.in))
		b = append(b, draw(p.in))
	}
	return draw(p.acc), a, b
}

func (p product) value(u uint64) exact.Value { return p.in.Decode(u, false) }

func TestDotIsTheExactSumRoundedOnce(t *testing.T) {
	r := random()
	for _, p := range products() {
		for range 4000 {
			c, a, b := p.operands(r, 1+r.IntN(16))
			v := p.acc.Decode(c, false)
			for i := range a {
				v = exact.Add(v, exact.Mul(p.value(a[i]), p.value(b[i])), "rn")
			}
			require.Equalf(t, p.acc.Encode(v, "rn"), p.dot(arith.Dot{}, c, a, b), "%s %x %x %x", p.name, c, a, b)
		}
	}
}

// A cancelling sum: what is left lies far below the first terms.
func TestDotKeepsWhatCancellationLeaves(t *testing.T) {
	a := []float64{0x1p60, 0x1p-60, -0x1p60}
	b := []float64{0x1p60, 0x1p-60, 0x1p60}
	require.Equal(t, math.Float32bits(0x1p-120), arith.Dot{}.F32(0, a, b, 1))
	require.Equal(t, math.Float32bits(1), arith.Dot{}.F32(1, a, b, 1))
	require.Equal(t, uint32(0), arith.Hopper(true).F32(1, a, b, 1), "the model loses the small terms of a block")
	require.Equal(t, arith.Dot{Block: 4, Extra: 1}, arith.Ampere(true))
	require.Equal(t, arith.Dot{Block: 16, Extra: 2}, arith.Hopper(false))
}

func TestTruncatingDot(t *testing.T) {
	r := random()
	for _, d := range []arith.Dot{{Block: 4}, arith.Ampere(false), arith.Hopper(true), {Block: 3, Extra: 5}} {
		for _, p := range products() {
			for range 2000 {
				c, a, b := p.operands(r, 1+r.IntN(16))
				require.Equalf(t, p.truncating(d, c, a, b), p.dot(d, c, a, b), "%+v %s %x %x %x", d, p.name, c, a, b)
			}
		}
	}
}

// truncating is the model of Dot's documentation on big integers.
func (p product) truncating(d arith.Dot, c uint64, a, b []uint64) uint64 {
	exponent := func(v exact.Value) int { return v.X.MantExp(nil) - 1 }
	for start := 0; start < len(a); start += d.Block {
		terms := []exact.Value{p.acc.Decode(c, false)}
		naive, top := terms[0], -10000
		if !naive.NaN && !naive.Inf() && !naive.Zero() {
			top = exponent(naive)
		}
		for i := start; i < min(start+d.Block, len(a)); i++ {
			x, y := p.value(a[i]), p.value(b[i])
			term := exact.Mul(x, y)
			terms = append(terms, term)
			naive = exact.Add(naive, term, "rn")
			if !term.NaN && !term.Inf() && !term.Zero() {
				top = max(top, exponent(x)+exponent(y))
			}
		}
		if naive.NaN || naive.Inf() || top == -10000 {
			c = p.acc.Encode(naive, "rn")
			continue
		}
		scale := 23 + d.Extra - top
		sum := new(big.Int)
		for _, v := range terms {
			n, _ := exact.New().SetMantExp(v.X, scale).Int(nil)
			sum.Add(sum, n)
		}
		x := exact.New().SetMantExp(exact.New().SetInt(sum), -scale)
		if x.Sign() == 0 {
			x = exact.New()
		}
		mode := "rz"
		if p.acc.Frac == 10 {
			mode = "rn"
		}
		c = p.acc.Encode(exact.Value{X: x}, mode)
	}
	return c
}
