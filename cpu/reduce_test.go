package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// sumError is the constant c of |error| ≤ c·u·Σ|terms|: as device.Info.SumError says.
func sumError(n int) float64 {
	c := float64(min(n, SumBlock)) + 1
	for m := 1; m < n; m *= 2 {
		c++
	}
	return c
}

const u32 = 0x1p-24

// Sum, dot and maximum of one row against float64.
func TestReduceKernels(t *testing.T) {
	r := rng(5)
	out := []float32{0}
	sum := func(a []float32) float32 { genericRows.sumLong(out, a, make([]float32, 2)); return out[0] }
	dot := func(a, b []float32) float32 { rowDots(out, a, b, len(a)); return out[0] }
	maximum := func(a []float32) float32 { rowMaxima(out, a, len(a)); return out[0] }
	for n := range 2200 {
		if n > 67 && n%41 != 0 {
			continue
		}
		a, b := newGuarded(n, n%4), newGuarded(n, n%3)
		copy(a.v, normals(r, n))
		copy(b.v, normals(r, n))
		var s, sAbs, d, dAbs float64
		m := math.Inf(-1)
		for i := range n {
			x, y := float64(a.v[i]), float64(b.v[i])
			s, sAbs = s+x, sAbs+math.Abs(x)
			d, dAbs = d+x*y, dAbs+math.Abs(x*y)
			m = max(m, x)
		}
		require.InDelta(t, s, sum(a.v), sumError(n)*u32*sAbs, "sum of %d", n)
		require.InDelta(t, d, dot(a.v, b.v), (sumError(n)+1)*u32*dAbs, "dot of %d", n)
		require.Equal(t, float32(m), maximum(a.v))
		for _, i := range []int{0, n / 2, n - 1} { // NaN wins wherever it is
			if n > 0 {
				old := a.v[i]
				a.v[i] = float32(math.NaN())
				require.True(t, maximum(a.v) != maximum(a.v))
				a.v[i] = old
			}
		}
	}
}

// All subsets of axes of spaces of all kinds, over fused expressions, strided inputs and outputs, with a stored result.
func TestReduceAxes(t *testing.T) {
	p := newPool(t, 3)
	for _, shape := range [][]int{
		{}, {1}, {9}, {3000}, {3, 5}, {200, 10}, {10, 200}, {300, 2}, {2, 5000}, {5000, 2}, {3, 1, 700}, {4, 5, 6},
		{20, 3, 50}, {130, 3, 7},
		{2, 3, 4, 5}, {2, 300, 2, 9}, {3, 2, 2, 2, 3}, {1, 1}, {2, 2100}, {150, 2100},
	} {
		for set := range 1 << len(shape) {
			var axes []int
			kept := append([]int(nil), shape...)
			for a := range shape {
				if set>>a&1 == 1 {
					axes = append(axes, a)
					kept[a] = 1
				}
			}
			for _, how := range layouts {
				if size(shape) > 10000 && how != "padded" {
					continue
				}
				testReduce(t, p, shape, axes, kept, how)
			}
		}
	}
}

func testReduce(t *testing.T, p *Pool, shape, axes, kept []int, how string) {
	t.Helper()
	r := rng(uint64(size(shape)))
	x, y := scattered(r, how, shape...), scattered(r, "dense", shape...)
	total, top := scattered(r, how, kept...), scattered(r, "dense", kept...)
	whole := scattered(r, how, shape...)
	var b build
	xy := b.step(expr.Mul, b.in(0), b.in(1))
	shifted := b.step(expr.Add, b.in(0), b.c(1))
	e := b.outs(xy, shifted, shifted)
	op := NewReduce(p, e, shape, axes, []kind.Reduce{kind.Sum, kind.Maximum}, []Array{x, y}, []Array{total, top, whole})
	plain := scattered(r, how, kept...)
	var bd build
	dots := NewReduce(p, bd.outs(bd.step(expr.Mul, bd.in(0), bd.in(1))), shape, axes, []kind.Reduce{kind.Sum},
		[]Array{x, y}, []Array{plain})
	require.NoError(t, hold(p, op))
	require.NoError(t, hold(p, dots))

	n := size(kept)
	s, sAbs, m := make([]float64, n), make([]float64, n), make([]float32, n)
	fill(m, negInf)
	xs, ys := elements(x), elements(y)
	ws := elements(whole)
	for i := range xs {
		o := 0
		idx := coordinates(shape, i)
		for a, d := range kept {
			o = o*d + min(idx[a], d-1)
		}
		v := float64(xs[i]) * float64(ys[i])
		s[o], sAbs[o] = s[o]+v, sAbs[o]+math.Abs(v)
		m[o] = max(m[o], xs[i]+1)
		if ws[i] != xs[i]+1 {
			t.Fatalf("%v over %v, %s: stored result %d is %v, want %v", shape, axes, how, i, ws[i], xs[i]+1)
		}
	}
	terms := 0
	if n > 0 {
		terms = size(shape) / n
	}
	sums, products := elements(total), elements(plain)
	for o := range sums {
		bound := (sumError(terms) + 1) * u32 * sAbs[o]
		if !(math.Abs(float64(sums[o])-s[o]) <= bound) || !(math.Abs(float64(products[o])-s[o]) <= bound) {
			t.Fatalf(
				"%v over %v, %s: sum %d is %v, as dot %v, want %v ± %v", shape, axes, how, o, sums[o], products[o],
				s[o], bound,
			)
		}
	}
	require.Equal(t, m, elements(top), "%v over %v, %s", shape, axes, how)
}

func TestReduceOfNothing(t *testing.T) {
	p := newPool(t, 2)
	for _, c := range []struct{ shape, axes, kept []int }{
		{[]int{0}, []int{0}, []int{1}},
		{[]int{3, 0}, []int{1}, []int{3, 1}},
		{[]int{0, 3}, []int{0}, []int{1, 3}},
		{[]int{3, 0}, []int{0}, []int{1, 0}},
		{[]int{0}, nil, []int{0}},
	} {
		n := size(c.kept)
		x := rowMajor(nil, c.shape...)
		s, m := rowMajor(normals(rng(1), n), c.kept...), rowMajor(normals(rng(1), n), c.kept...)
		var b build
		v := b.in(0)
		require.NoError(t,
			hold(p, NewReduce(p, b.outs(v, v), c.shape, c.axes, []kind.Reduce{kind.Sum, kind.Maximum}, []Array{x},
				[]Array{s, m})))
		for i := range n {
			require.Equal(t, float32(0), s.Real[i])
			require.Equal(t, negInf, m.Real[i])
		}
	}
}

// Terms that are the same everywhere, an input that is its own stored output, and a reduced output in an input's place.
func TestReduceAliases(t *testing.T) {
	p := newPool(t, 2)
	x := rowMajor([]float32{1, 2, 3, 4}, 1, 4)
	count, total := rowMajor(make([]float32, 1), 1, 1), rowMajor(make([]float32, 1), 1, 1)
	var b build
	in := b.in(0)
	e := b.outs(b.c(1), in, b.step(expr.Mul, in, b.c(10)))
	require.NoError(t,
		hold(p, NewReduce(p, e, []int{1, 4}, []int{0, 1}, []kind.Reduce{kind.Sum, kind.Sum}, []Array{x},
			[]Array{count, total, x})))
	require.Equal(t, []float32{4}, count.Real)
	require.Equal(t, []float32{10}, total.Real)
	require.Equal(t, []float32{10, 20, 30, 40}, x.Real)

	square := rowMajor(make([]float32, 4), 1, 4) // a product that is summed and stored
	var d build
	v := d.step(expr.Mul, d.in(0), d.in(0))
	require.NoError(t,
		hold(p, NewReduce(p, d.outs(v, v), []int{1, 4}, []int{0, 1}, []kind.Reduce{kind.Sum}, []Array{x},
			[]Array{total, square})))
	require.Equal(t, []float32{3000}, total.Real)
	require.Equal(t, []float32{100, 400, 900, 1600}, square.Real)

	var c build
	require.NoError(t,
		hold(p, NewReduce(p, c.outs(c.step(expr.Neg, c.in(0))), []int{1, 4}, []int{0}, []kind.Reduce{kind.Sum},
			[]Array{x}, []Array{x})))
	require.Equal(t, []float32{-10, -20, -30, -40}, x.Real)
}
