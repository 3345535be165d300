package cpu

import (
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// evalReal is the definition of a Real function on float64.
func evalReal(f fn, a, b, c float64) float64 {
	switch f {
	case mulAdd:
		return float64(float32(a*b)) + c
	case subMul:
		return c - float64(float32(a*b))
	}
	return expr.Table[f].Eval(a, b, c)
}

// near says whether got is within ulps of want, at least correctly rounded; NaN matches NaN, and where the rounded
// value is infinite or an exact function's result zero, the bits must match.
func near(got float32, want, ulps float64) bool {
	rounded := float32(want)
	switch {
	case math.IsNaN(want):
		return got != got
	case math.Float32bits(got) == math.Float32bits(rounded):
		return true
	case ulps <= 0.5 || math.IsInf(want, 0):
		return false
	}
	limit := float64(math.MaxFloat32)
	if math.IsInf(float64(got), 0) { // overflow within the error
		got = float32(math.Copysign(limit, float64(got)))
	}
	return math.Abs(float64(got)-want) <= ulps*ulp(want)
}

var specials = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 3, -7.25, 1e-3, 88, -88, 104, 1e10, -1e10, float32(math.Inf(1)),
	float32(math.Inf(-1)), float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32,
	-0x1p-140, 0x1p-126, 16777217, 2147483648, -2147483648,
}

// mixed fills dst with normal numbers and a few special ones.
func mixed(r *rand.Rand, dst []float32) {
	for i := range dst {
		if dst[i] = float32(3 * r.NormFloat64()); r.IntN(3) == 0 {
			dst[i] = specials[r.IntN(len(specials))]
		}
	}
}

// guarded is a vector between guards: its memory, the vector, and a check that nothing around it changed.
type guarded struct {
	all []float32
	v   []float32
}

const guard = 0x7fc0dead // a NaN that no loop makes

func newGuarded(n, offset int) guarded {
	all := make([]float32, 4+offset+n+5)
	for i := range all {
		all[i] = math.Float32frombits(guard)
	}
	return guarded{all, all[4+offset:][:n]}
}

func (g guarded) intact() bool {
	from := len(g.all) - 5 - len(g.v)
	for i, v := range g.all {
		if (i < from || i >= from+len(g.v)) && math.Float32bits(v) != guard {
			return false
		}
	}
	return true
}

// kernelCalls lists the loops of a function as calls on three operand vectors, of which those named as scalars are
// constant.
func kernelCalls(k *realKernel) map[string]func(dst, a, b, c []float32) {
	calls := map[string]func(dst, a, b, c []float32){}
	if k.v != nil {
		calls["V"] = func(dst, a, _, _ []float32) { k.v(dst, a) }
	}
	if k.vv != nil {
		calls["VV"] = func(dst, a, b, _ []float32) { k.vv(dst, a, b) }
	}
	if k.vs != nil {
		calls["VS"] = func(dst, a, b, _ []float32) { k.vs(dst, a, b[0]) }
	}
	if k.sv != nil {
		calls["SV"] = func(dst, a, b, _ []float32) { k.sv(dst, a[0], b) }
	}
	if k.vvv != nil {
		calls["VVV"] = func(dst, a, b, c []float32) { k.vvv(dst, a, b, c) }
	}
	if k.vvs != nil {
		calls["VVS"] = func(dst, a, b, c []float32) { k.vvs(dst, a, b, c[0]) }
	}
	if k.vsv != nil {
		calls["VSV"] = func(dst, a, b, c []float32) { k.vsv(dst, a, b[0], c) }
	}
	if k.vss != nil {
		calls["VSS"] = func(dst, a, b, c []float32) { k.vss(dst, a, b[0], c[0]) }
	}
	return calls
}

// asInts shows the bits of reals as integers.
func asInts(a []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(a))), len(a))
}

// sweepStride is the distance of the floats in sweeps that BILEVEL_SWEEP asks for, 0 where it does not: 1 goes over all
// 2³² (some ten minutes).
func sweepStride() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("BILEVEL_SWEEP"), 10, 32)
	return n
}

// Every loop, every length 0…67, offsets, in place of each operand, guards on both sides.
func TestKernels(t *testing.T) {
	r := rng(1)
	tested := 0
	for f := range numFn {
		bound := 0.5
		if f < expr.NumFn {
			bound = Ulps[f]
		}
		for form, call := range kernelCalls(&realKernels[f]) {
			tested++
			for n := range 68 {
				for place := range 1 + len(form) { // dst apart, or in place of an operand
					args := [3]guarded{newGuarded(n, n%3), newGuarded(n, (n+1)%4), newGuarded(n, n%5)}
					var old [3][]float32
					for j := range args {
						mixed(r, args[j].v)
						if j < len(form) && form[j] == 'S' && n > 0 {
							fill(args[j].v, args[j].v[0])
						}
						old[j] = append([]float32(nil), args[j].v...)
					}
					dst := newGuarded(n, n%7)
					if place > 0 {
						if form[place-1] == 'S' {
							continue
						}
						dst = args[place-1]
					}
					if n > 0 || form == "V" || form == "VV" || form == "VVV" {
						call(dst.v, args[0].v, args[1].v, args[2].v)
					}
					for i := range n {
						want := evalReal(f, float64(old[0][i]), float64(old[1][i]), float64(old[2][i]))
						if !near(dst.v[i], want, bound) {
							t.Fatalf("%s %s of %v, %v, %v (length %d, in place of %d): got %v, want %v",
								name(f), form, old[0][i], old[1][i], old[2][i], n, place, dst.v[i], want)
						}
					}
					for j, a := range args {
						require.True(t, a.intact() && dst.intact(), "%s %s: wrote outside", name(f), form)
						if place != j+1 {
							for i, v := range a.v {
								require.Equal(
									t, math.Float32bits(old[j][i]), math.Float32bits(v), "%s %s changed an operand",
									name(f), form,
								)
							}
						}
					}
				}
			}
		}
	}
	require.Greater(t, tested, 40)
}

func name(f fn) string {
	switch f {
	case mulAdd:
		return "mulAdd"
	case subMul:
		return "subMul"
	}
	return f.String()
}

// Every function of the language has a loop, with a cost, and no other entry does.
func TestKernelTablesAreComplete(t *testing.T) {
	for f := range expr.NumFn {
		ik := intKernels[f]
		onInt := ik.toInt != nil || ik.toReal != nil || ik.cast != nil || ik.trunc != nil
		forms := len(kernelCalls(&realKernels[f]))
		if leaf := expr.Table[f].Arity == 0; leaf {
			require.False(t, onInt || forms > 0, f)
			continue
		}
		require.True(t, onInt != (forms > 0), f)
		if !onInt {
			require.Positive(t, realKernels[f].cost, f)
		}
	}
}

// The transcendental functions keep to Ulps over a dense sweep of all exponents and mantissas. The best level stands
// for all: TestLevelFunctionsEverywhere compares them.
func TestUlpsEverywhere(t *testing.T) {
	for _, f := range []fn{expr.Exp, expr.Sigmoid, expr.Log, expr.Sin, expr.Cos, expr.Tanh, expr.Softplus, expr.Sqrt} {
		t.Run(f.String(), func(t *testing.T) {
			loop := loopsOf(Detected()).real[f].v
			stride := uint64(1<<9 - 3) // about eight million arguments
			if f == expr.Sin || f == expr.Cos {
				stride = 1<<12 - 3 // there is only package math to test, and it is slow
			}
			if testing.Short() {
				stride = 1<<16 - 15
			}
			if n := sweepStride(); n > 0 {
				stride = n
			}
			a, dst := make([]float32, 0, 1024), make([]float32, 1024)
			worst, at := 0.0, float32(0)
			check := func() {
				loop(dst[:len(a)], a)
				for i, x := range a {
					want := expr.Table[f].Eval(float64(x), 0, 0)
					if !near(dst[i], want, Ulps[f]) {
						t.Fatalf("%s(%v) = %v, want %v", f, x, dst[i], want)
					}
					if e := math.Abs(float64(dst[i])-want) / ulp(want); e > worst && !math.IsInf(e, 0) {
						worst, at = e, x
					}
				}
				a = a[:0]
			}
			add := func(x float32) {
				if a = append(a, x); len(a) == cap(a) {
					check()
				}
			}
			for bits := uint64(0); bits < 1<<32; bits += stride {
				add(math.Float32frombits(uint32(bits)))
			}
			for x := float32(-110); x < 95; x += 0.0113 { // where exp lives
				add(x)
			}
			for _, x := range specials {
				add(x)
			}
			check()
			t.Logf("worst %.4f ulp at %v, stated %v", worst, at, Ulps[f])
		})
	}
}

func TestIntKernels(t *testing.T) {
	ints := []int32{0, 1, -1, 7, math.MaxInt32, math.MinInt32, 1 << 24, 1<<24 + 1}
	for _, a := range ints {
		for _, b := range ints {
			x, y, z, q := []int32{a}, []int32{b}, []int32{0}, []float32{0}
			iaddVV(z, x, y)
			require.Equal(t, a+b, z[0])
			isubVV(z, x, y)
			require.Equal(t, a-b, z[0])
			imulVV(z, x, y)
			require.Equal(t, a*b, z[0])
			iltVV(q, x, y)
			require.Equal(t, truth(a < b), q[0])
			ieqVV(q, x, y)
			require.Equal(t, truth(a == b), q[0])
		}
		q := []float32{0}
		toReal(q, []int32{a})
		require.Equal(t, float32(a), q[0])
	}
	for _, c := range []struct {
		x float32
		i int32
	}{
		{1.9, 1}, {-1.9, -1}, {float32(math.NaN()), 0}, {float32(math.Inf(1)), 0}, {float32(math.Inf(-1)), 0},
		{0x1p31, 0}, {-0x1p31, math.MinInt32}, {0x1p31 - 128, math.MaxInt32 - 127}, {-0x1.000002p31, 0}, {0, 0},
	} {
		z := []int32{7}
		toInt(z, []float32{c.x})
		require.Equal(t, c.i, z[0], c.x)
	}
}
