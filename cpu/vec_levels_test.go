package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// forFastLevels runs a test for each level that has loops of its own; vector kernels never differ from the generic
// ones.
func forFastLevels(t *testing.T, f func(t *testing.T, l *loops)) {
	for _, level := range Levels()[1:] {
		if l := loopsOf(level); l != &genericLoops { // NEON has tapes and products alone
			t.Run(level.String(), func(t *testing.T) { f(t, l) })
		}
	}
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// compareLoops calls a loop and its twin on the same operands, of which form says whether they are vectors or scalars,
// for every length 0…99, every offset 0…15, apart and in place of each vector, between guards.
func compareLoops(t *testing.T, r *rand.Rand, form string, fast, twin func(dst, a, b, c []float32)) {
	for n := range 100 {
		for offset := range 16 {
			if testing.Short() && offset%5 != 0 {
				continue
			}
			place := r.IntN(1 + len(form)) // dst apart, or in place of an operand
			if place > 0 && form[place-1] == 'S' {
				place = 0
			}
			compareLoopsAt(t, r, form, n, offset, place, fast, twin)
		}
		for place := range 1 + len(form) {
			if place == 0 || form[place-1] == 'V' {
				compareLoopsAt(t, r, form, n, n%16, place, fast, twin)
			}
		}
	}
}

func compareLoopsAt(
	t *testing.T, r *rand.Rand, form string, n, offset, place int, fast, twin func(dst, a, b, c []float32),
) {
	if n == 0 && form != "V" && form != "VV" && form != "VVV" {
		return // no scalar to pass
	}
	var args [4]guarded // dst, a, b, c
	var old [4][]float32
	for j := range args {
		args[j] = newGuarded(n, (offset*(j+1)+3*j)%16)
		mixed(r, args[j].v)
		if j > 0 && j <= len(form) && form[j-1] == 'S' {
			fill(args[j].v, args[j].v[0])
		}
		old[j] = append([]float32(nil), args[j].v...)
	}
	want := append([]float32(nil), old[place]...)
	twin(want, old[1], old[2], old[3])
	fast(args[place].v, args[1].v, args[2].v, args[3].v)
	for i, v := range args[place].v {
		if !sameBits(v, want[i]) {
			t.Fatalf("%s of %v, %v, %v (length %d, offset %d, in place of %d): %v, the generic loop gives %v",
				form, old[1][i], old[2][i], old[3][i], n, offset, place, v, want[i])
		}
	}
	for j, a := range args {
		if !a.intact() {
			t.Fatalf("%s of length %d wrote outside", form, n)
		}
		if j != place {
			for i, v := range a.v {
				if !sameBits(old[j][i], v) {
					t.Fatalf("%s of length %d changed an operand", form, n)
				}
			}
		}
	}
}

// Every elementwise loop gives the bits of its generic twin.
func TestLevelKernels(t *testing.T) {
	forFastLevels(t, func(t *testing.T, l *loops) {
		r := rng(1)
		for f := range numFn {
			fast, twins := kernelCalls(&l.real[f]), kernelCalls(&realKernels[f])
			require.Len(t, fast, len(twins), "%s", name(f))
			require.Equal(t, realKernels[f].swaps, l.real[f].swaps, name(f))
			for form, twin := range twins {
				require.Contains(t, fast, form, name(f))
				t.Run(name(f)+form, func(t *testing.T) { compareLoops(t, r, form, fast[form], twin) })
			}
		}
	})
}

// Every loop on integers gives the bits of its generic twin; reals stand for integers by their bits.
func TestLevelIntKernels(t *testing.T) {
	forFastLevels(t, func(t *testing.T, l *loops) {
		r := rng(2)
		for f := range numFn {
			fast, twins := intCalls(&l.int[f]), intCalls(&intKernels[f])
			require.Len(t, fast, len(twins), "%s", name(f))
			for form, twin := range twins {
				require.Contains(t, fast, form, name(f))
				t.Run(name(f), func(t *testing.T) { compareLoops(t, r, form[1:], fast[form], twin) })
			}
		}
		t.Run("fill", func(t *testing.T) {
			compareLoops(
				t, r, "S", func(dst, a, _, _ []float32) { l.fill(dst, a[0]) },
				func(dst, a, _, _ []float32) { fill(dst, a[0]) },
			)
		})
	})
}

// intCalls lists the loop of a function, if any, as a call on vectors of the bits, by a name of its own and its form.
func intCalls(k *intKernel) map[string]func(dst, a, b, c []float32) {
	calls := map[string]func(dst, a, b, c []float32){}
	if k.toInt != nil {
		calls["iVV"] = func(dst, a, b, _ []float32) { k.toInt(asInts(dst), asInts(a), asInts(b)) }
	}
	if k.toReal != nil {
		calls["rVV"] = func(dst, a, b, _ []float32) { k.toReal(dst, asInts(a), asInts(b)) }
	}
	if k.cast != nil {
		calls["cV"] = func(dst, a, _, _ []float32) { k.cast(dst, asInts(a)) }
	}
	if k.trunc != nil {
		calls["tV"] = func(dst, a, _, _ []float32) { k.trunc(asInts(dst), a) }
	}
	return calls
}

// The functions that are more than an instruction give the generic bits over a sweep of all floats.
func TestLevelFunctionsEverywhere(t *testing.T) {
	stride := uint64(1<<10 - 3) // four million arguments
	if testing.Short() {
		stride = 1<<16 - 15
	}
	if n := sweepStride(); n > 0 {
		stride = n
	}
	a := make([]float32, 0, 1<<16)
	forFastLevels(t, func(t *testing.T, l *loops) {
		got, want := make([]float32, cap(a)), make([]float32, cap(a))
		check := func() {
			for f, k := range l.real {
				if k.v == nil || fn(f) == expr.Sin || fn(f) == expr.Cos { // the same loops at all levels
					continue
				}
				k.v(got[:len(a)], a)
				realKernels[f].v(want[:len(a)], a)
				for i, x := range a {
					if !sameBits(got[i], want[i]) {
						t.Fatalf("%s(%v) = %v, the generic loop gives %v", name(fn(f)), x, got[i], want[i])
					}
				}
			}
			a = a[:0]
		}
		for bits := uint64(0); bits < 1<<32; bits += stride {
			if a = append(a, math.Float32frombits(uint32(bits))); len(a) == cap(a) {
				check()
			}
		}
		check()
	})
}

// The loops over rows give the bits of their generic twins.
func TestLevelRows(t *testing.T) {
	forFastLevels(t, func(t *testing.T, l *loops) {
		r := rng(3)
		for n := range 300 {
			for _, rows := range []int{0, 1, 2, 5} {
				t.Run(fmt.Sprintf("%dx%d", rows, n), func(t *testing.T) { compareRows(t, r, l, rows, n) })
			}
		}
		for _, n := range []int{1023, 1024, 2048, 5000} {
			compareRows(t, r, l, 2, n)
		}
	})
}

func compareRows(t *testing.T, r *rand.Rand, l *loops, rows, n int) {
	for _, special := range []bool{false, true} {
		a, b := newGuarded(rows*n, r.IntN(16)), newGuarded(rows*n, r.IntN(16))
		copy(a.v, normals(r, rows*n))
		copy(b.v, normals(r, rows*n))
		if special {
			for i := range a.v {
				if r.IntN(1+n/2) == 0 {
					a.v[i] = specials[r.IntN(len(specials))]
				}
			}
		}
		number, row := newGuarded(rows, r.IntN(16)), newGuarded(n, r.IntN(16))
		mixed(r, number.v)
		mixed(r, row.v)
		dst := newGuarded(rows*n, r.IntN(16))
		g := &genericRows
		for _, c := range []struct {
			what       string
			dst        guarded
			fast, twin func(dst []float32)
		}{
			{"sums", number, func(d []float32) { l.sums(d, a.v, n) }, func(d []float32) { g.sums(d, a.v, n) }},
			{"maxima", number, func(d []float32) { l.maxima(d, a.v, n) }, func(d []float32) { g.maxima(d, a.v, n) }},
			{"dots", number, func(d []float32) { l.dots(d, a.v, b.v, n) },
				func(d []float32) { g.dots(d, a.v, b.v, n) }},
			{"addRows", row, func(d []float32) { l.addRows(d, a.v) }, func(d []float32) { g.addRows(d, a.v) }},
			{"maxRows", row, func(d []float32) { l.maxRows(d, a.v) }, func(d []float32) { g.maxRows(d, a.v) }},
			{"subNumber", dst, func(d []float32) { l.subNumber(d, a.v, number.v, n) },
				func(d []float32) { g.subNumber(d, a.v, number.v, n) }},
			{"byNumber", dst, func(d []float32) { l.byNumber(d, a.v, number.v, n) },
				func(d []float32) { g.byNumber(d, a.v, number.v, n) }},
			{"spread", dst, func(d []float32) { l.spread(d, number.v, n) },
				func(d []float32) { g.spread(d, number.v, n) }},
			{"subNumber in place", a, func(d []float32) { l.subNumber(d, d, number.v, n) },
				func(d []float32) { g.subNumber(d, d, number.v, n) }},
		} {
			want := append([]float32(nil), c.dst.v...)
			c.twin(want)
			c.fast(c.dst.v)
			for i, v := range c.dst.v {
				if !sameBits(v, want[i]) {
					t.Fatalf(
						"%s of %d rows of %d: element %d is %v, the generic loop gives %v", c.what, rows, n, i, v,
						want[i],
					)
				}
			}
			require.True(t, a.intact() && b.intact() && number.intact() && row.intact() && dst.intact(), c.what)
		}
	}
}

// The random numbers are those of package philox, bit for bit.
func TestLevelRandom(t *testing.T) {
	forFastLevels(t, func(t *testing.T, l *loops) {
		g := &genericRandom
		const seed, step, stream = 0x89abcdef01234567, 0xfedcba98, 77
		for n := range 100 {
			for _, block := range []uint64{0, 1<<32 - 5, 1<<40 + 3} {
				got, want := newGuarded(n, n%16), make([]float32, n)
				whole := n / bitsGroup * bitsGroup
				l.bits(asInts(got.v)[:whole], seed, step, stream, block)
				g.bits(asInts(want), seed, step, stream, block)
				require.Equal(t, asInts(want)[:whole], asInts(got.v)[:whole])
				copy(asInts(got.v)[whole:], asInts(want)[whole:])
				for _, below := range []uint32{1, 10, 20000, 1 << 31} {
					to, ref := newGuarded(n, n%13), make([]int32, n)
					l.integers(asInts(to.v), asInts(got.v), below)
					g.integers(ref, asInts(want), below)
					require.Equal(t, ref, asInts(to.v))
					require.True(t, to.intact())
				}
				u, z, ref := newGuarded(n, n%11), newGuarded(n, n%7), make([]float32, n)
				l.uniforms(u.v, asInts(got.v))
				g.uniforms(ref, asInts(want))
				require.Equal(t, ref, u.v)
				l.normals(z.v, asInts(got.v))
				g.normals(ref, asInts(want))
				require.Equal(t, ref, z.v)
				require.True(t, got.intact() && u.intact() && z.intact())
			}
		}
		bits, got, want := make([]int32, 1<<16), make([]float32, 1<<16), make([]float32, 1<<16)
		for high := range 1 << 7 { // all normals there are
			if testing.Short() && high%16 != 3 {
				continue
			}
			for i := range bits {
				bits[i] = int32((high<<16 + i) << 9)
			}
			l.normals(got, bits)
			g.normals(want, bits)
			require.Equal(t, want, got)
		}
	})
}

// Arrays so large that blocks are prefetched give the bits of the generic loops, to the last element.
func TestMapOfFarArrays(t *testing.T) {
	const n = 3_000_003
	r := rng(5)
	inputs := [3][]float32{normals(r, n), normals(r, n), normals(r, n)}
	var want []float32
	for _, level := range Levels() {
		p := newPoolAt(t, 2, level)
		var e build
		d := e.step(expr.Add, e.in(0), e.step(expr.Mul, e.c(0.01), e.step(expr.Sign, e.in(1))))
		d = e.step(expr.Add, e.step(expr.Clamp, d, e.c(-0.1), e.c(0.1)), e.in(2))
		e.outs(e.step(expr.Sub, e.step(expr.Clamp, d, e.c(0), e.c(1)), e.in(2)))
		var in []Array
		for _, v := range inputs {
			in = append(in, rowMajor(v, n))
		}
		out := rowMajor(make([]float32, n), n)
		m := NewMap(p, &e.Expr, []int{n}, in, []Array{out})
		require.Equal(t, loopsOf(level).prefetch != nil, m.prog.far)
		require.NoError(t, hold(p, m))
		if want == nil {
			want = out.Real
		}
		for i, v := range out.Real {
			if !sameBits(v, want[i]) {
				t.Fatalf("%s: element %d is %v, the generic loops give %v", level, i, v, want[i])
			}
		}
	}
}
