package arith_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx/arith"
	"bilevel/internal/ptx/arith/exact"
	"bilevel/internal/testrun"
)

// approximations are the instructions with their definition over math/big.
func approximations() map[arith.Approx]struct {
	f exact.Format
	g func(x, y exact.Value) exact.Value
} {
	type row = struct {
		f exact.Format
		g func(x, y exact.Value) exact.Value
	}
	pi := exact.Pi()
	one := func(g func(exact.Value) exact.Value) func(x, y exact.Value) exact.Value {
		return func(x, _ exact.Value) exact.Value { return g(x) }
	}
	return map[arith.Approx]row{
		arith.Ex2:  {exact.F32(), one(exact.Exp2)},
		arith.Lg2:  {exact.F32(), one(exact.Log2)},
		arith.Sin:  {exact.F32(), one(func(x exact.Value) exact.Value { return exact.Sin(x, pi) })},
		arith.Cos:  {exact.F32(), one(func(x exact.Value) exact.Value { return exact.Cos(x, pi) })},
		arith.Tanh: {exact.F32(), one(exact.Tanh)},
		arith.Rcp:  {exact.F32(), one(func(x exact.Value) exact.Value { return exact.Div(exact.Float(1), x) })},
		arith.Sqrt: {exact.F32(), one(exact.Sqrt)},
		arith.Rsqrt: {exact.F32(), one(func(x exact.Value) exact.Value {
			return exact.Div(exact.Float(1), exact.Sqrt(x)) // -0: the root is -0, and so -Inf as PTX has it
		})},
		arith.DivFull: {exact.F32(), exact.Div},
		arith.DivApprox: {exact.F32(), func(x, y exact.Value) exact.Value {
			if !x.NaN && !y.NaN && !y.Inf() &&
				exact.New().Abs(y.X).Cmp(exact.New().SetMantExp(big.NewFloat(1), 126)) > 0 {
				if x.Inf() {
					return exact.Value{NaN: true}
				}
				return exact.Mul(exact.Mul(x, exact.Float(0)), y)
			}
			return exact.Div(x, y)
		}},
		arith.Ex2F16:   {exact.F16(), one(exact.Exp2)},
		arith.Ex2BF16:  {exact.BF16(), one(exact.Exp2)},
		arith.TanhF16:  {exact.F16(), one(exact.Tanh)},
		arith.TanhBF16: {exact.BF16(), one(exact.Tanh)},
	}
}

// arguments are the inputs of one instruction: edges, every 16-bit encoding, or single precision numbers spread over
// the range where the function is interesting.
func arguments(op arith.Approx, f exact.Format, count int) []uint64 {
	list := exact.Edges(f)
	r := random()
	if f.Bits() == 16 {
		for u := uint64(0); u < 1<<16; u += uint64(max(1, 1<<16/max(count, 1))) {
			list = append(list, u)
		}
		return list
	}
	for range count {
		switch r.IntN(3) {
		case 0:
			list = append(list, uint64(r.Uint32()))
		case 1:
			list = append(list, uint64(math.Float32bits(float32(r.NormFloat64()*20))))
		default:
			list = append(list, uint64(math.Float32bits(1+float32(r.NormFloat64())*0.01)))
		}
	}
	for i := range 32 { // multiples of π/2 and integers
		list = append(list, uint64(math.Float32bits(float32(i)*math.Pi/2)), uint64(math.Float32bits(float32(-5*i))),
			uint64(math.Float32bits(float32(i))+1))
	}
	return list
}

func TestApproximationsAreCorrectlyRounded(t *testing.T) {
	count := testrun.Size(300, 1000)
	if testing.Short() {
		count = 150
	}
	for op, row := range approximations() {
		list := arguments(op, row.f, count)
		n := 0
		for _, ftz := range []bool{false, true} {
			flush := ftz && row.f.Bits() == 32 && op != arith.Tanh || op == arith.Ex2BF16
			for i, a := range list {
				b := list[(i*31+n)%len(list)]
				n++
				want := row.f.Encode(row.g(row.f.Decode(a, flush), row.f.Decode(b, flush)), "rn")
				if flush {
					want = row.f.Flush(want)
				}
				got := uint64(op.Eval(uint32(a), uint32(b), ftz))
				require.Equalf(t, want, got, "%s ftz=%v %x, %x: %x, want %x", op, ftz, a, b, got, want)
			}
		}
	}
}

// Every 65,537th number: all exponents and signs, no pattern in the fraction. With -short every third of them.
func TestApproximationsAtAStride(t *testing.T) {
	stride := uint64(65537)
	if testing.Short() {
		stride *= 3
	}
	all := approximations()
	for _, op := range []arith.Approx{arith.Rcp, arith.Sqrt, arith.Rsqrt, arith.Tanh, arith.Sin, arith.Ex2, arith.Lg2} {
		row := all[op]
		step := stride
		if op <= arith.Tanh { // their oracle takes longer
			step *= 61
		}
		for u := uint64(0); u < 1<<32; u += step {
			want := row.f.Encode(row.g(row.f.Decode(u, false), exact.Float(1)), "rn")
			require.Equalf(t, want, uint64(op.Eval(uint32(u), 0, false)), "%s %x", op, u)
		}
	}
}

func TestPerturbStaysWithinTheBoundAndMoves(t *testing.T) {
	r := random()
	for op, row := range approximations() {
		moved, tried := 0, 0
		list := arguments(op, row.f, testrun.Size(80, 200))
		for i, a := range list {
			b := list[(i*31+7)%len(list)]
			right := uint64(op.Eval(uint32(a), uint32(b), false))
			bound := op.Bound(uint32(a))
			for range 4 {
				got := uint64(op.Perturb(uint32(a), uint32(b), false, r.Uint64()))
				tried++
				if got == right {
					continue
				}
				moved++
				flush := op == arith.Ex2BF16
				v := row.g(row.f.Decode(a, flush), row.f.Decode(b, flush))
				require.Falsef(t, v.NaN || v.Inf(), "%s moved the special value of %x", op, a)
				p := row.f.Decode(got, false)
				require.Falsef(t, p.NaN || p.Inf(), "%s %x", op, a)
				if bound.Kind == arith.ULP {
					require.LessOrEqualf(t, math.Abs(float64(int64(got)-int64(right))), bound.Max, "%s %x", op, a)
					continue
				}
				e := exact.New().Sub(p.X, v.X)
				if bound.Kind == arith.Relative {
					e.Quo(e, v.X)
				}
				size, _ := e.Float64()
				require.LessOrEqualf(t, math.Abs(size), bound.Max, "%s %x: %x is too far from %x", op, a, got, right)
			}
		}
		require.Greaterf(t, moved, tried/50, "%s hardly moves", op)
	}
}

// The table of errors is the PTX ISA's: the constants that are no binary fractions, from below.
func TestBounds(t *testing.T) {
	for _, row := range []struct {
		op   arith.Approx
		x    float32
		kind arith.BoundKind
		log  float64
	}{
		{arith.Sin, 1, arith.Absolute, -20.5}, {arith.Sin, 6.3, arith.Absolute, -14.7},
		{arith.Sin, -6.2, arith.Absolute, -20.5}, {arith.Cos, 100, arith.Absolute, -14.7},
		{arith.Rsqrt, 1, arith.Relative, -22.9},
		{arith.Lg2, 1.5, arith.Absolute, -22}, {arith.Lg2, 4, arith.Relative, -22},
		{arith.Tanh, 1, arith.Relative, -11},
		{arith.Sqrt, 1, arith.Relative, -23}, {arith.Ex2, 1, arith.ULP, 1}, {arith.Rcp, 1, arith.ULP, 0},
	} {
		b := row.op.Bound(math.Float32bits(row.x))
		require.Equal(t, row.kind, b.Kind)
		limit := math.Exp2(row.log)
		require.LessOrEqual(t, b.Max, limit)
		require.Greater(t, b.Max, limit*0.9999)
	}
	require.InEpsilon(t, math.Exp2(-9.9), arith.Ex2F16.Bound(0).Max, 1e-4)
	require.InEpsilon(t, math.Exp2(-10.987), arith.TanhF16.Bound(0).Max, 1e-4)
}

func TestApproxF64(t *testing.T) {
	coarse := exact.Format{Exp: 11, Frac: 20, NaN: 0x7fffffff}
	for _, a := range exact.Edges(exact.F64()) {
		v := coarse.Decode(a>>32, true)
		require.Equal(t, coarse.Flush(coarse.Encode(exact.Div(exact.Float(1), v), "rn"))<<32, arith.RcpApproxF64(a),
			"rcp %x", a)
		require.Equal(t, coarse.Flush(coarse.Encode(exact.Div(exact.Float(1), exact.Sqrt(v)), "rn"))<<32,
			arith.RsqrtApproxF64(a), "rsqrt %x", a)
	}
}
