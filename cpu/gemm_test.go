package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// at is element (b, i, j) of a rank-3 array in float64.
func at(a *Array, b, i, j int) float64 {
	return float64(a.Real[a.Off+b*a.Strides[0]+i*a.Strides[1]+j*a.Strides[2]])
}

// checkGemm runs a product and compares it with float64 loops: |error| ≤ (k+2+masks)·u·Σ|a||b|. With an epilogue it is
// c·2 + extra, where the extra may be out itself.
func checkGemm(t *testing.T, p *Pool, out, a, b Array, maskA, maskB *Array, extra *Array) {
	t.Helper()
	batch, m, k, n := a.Shape[0], a.Shape[1], a.Shape[2], b.Shape[2]
	before := elements(out)
	var e *expr.Expr
	var extras []Array
	if extra != nil {
		before = elements(*extra)
		var bd build
		e = bd.outs(bd.step(expr.Add, bd.step(expr.Mul, bd.in(0), bd.c(2)), bd.in(1)))
		extras = []Array{*extra}
	}
	untouched := append([]float32(nil), out.Real...)
	require.NoError(t, hold(p, NewGemm(p, out, a, b, maskA, maskB, e, extras)))
	got := elements(out)
	c := float64(k + 2)
	if maskA != nil {
		c++
	}
	if maskB != nil {
		c++
	}
	for i := range got {
		bt, row, col := i/(m*n), i/n%m, i%n
		s, size := 0.0, 0.0
		for q := range k {
			x, y := at(&a, bt, row, q), at(&b, bt, q, col)
			if maskA != nil {
				x *= at(maskA, bt, row, q)
			}
			if maskB != nil {
				y *= at(maskB, bt, q, col)
			}
			s, size = s+x*y, size+math.Abs(x*y)
		}
		bound := c * u32 * size
		if extra != nil {
			s = 2*s + float64(before[i])
			bound = 2*bound + u32*(math.Abs(s)+bound)
		}
		if !(math.Abs(float64(got[i])-s) <= bound) {
			t.Fatalf("[%d,%d,%d]x[%d], strides %v %v %v, masks %v %v: element %d,%d,%d is %v, want %v ± %v",
				batch, m, k, n, a.Strides, b.Strides, out.Strides, maskA != nil, maskB != nil, bt, row, col, got[i], s, bound)
		}
		untouched[offsetOf(&out, i)] = got[i]
	}
	require.Equal(t, untouched, out.Real, "wrote outside")
}

// Every small shape, dense, with a different layout for each.
func TestGemmSmallShapes(t *testing.T) {
	p := newPool(t, 2)
	r := rng(1)
	for m := range 10 {
		for n := range 10 {
			for _, k := range []int{0, 1, 2, 3, 5, 8, 17} {
				how := func() string { return layouts[r.IntN(len(layouts))] }
				checkGemm(t, p, scattered(r, how(), 1, m, n), scattered(r, how(), 1, m, k), scattered(r, how(), 1, k, n), nil, nil, nil)
			}
		}
	}
}

// Random shapes around the sizes of tiles and panels, batches, layouts, broadcasts, masks, epilogues.
func TestGemmRandomShapes(t *testing.T) {
	p := newPool(t, 3)
	dims := []int{1, 2, 3, 4, 7, 10, 13, 16, 17, 31, 48, 63, 64, 65, 97, 130, 257}
	depths := []int{0, 1, 5, 31, 64, 100, 255, 256, 257, 300, 520}
	for seed := range uint64(250) {
		r := rng(seed)
		batch, m, n, k := 1, dims[r.IntN(len(dims))], dims[r.IntN(len(dims))], depths[r.IntN(len(depths))]
		if r.IntN(3) == 0 {
			batch = 1 + r.IntN(4)
		}
		for batch*m*n*k > 2_000_000 {
			m, n = (m+1)/2, (n+1)/2
		}
		operand := func(rows, cols int) Array {
			if r.IntN(4) == 0 {
				return repeated(r, []int{batch, rows, cols}, r.IntN(3))
			}
			return scattered(r, layouts[r.IntN(len(layouts))], batch, rows, cols)
		}
		mask := func(rows, cols int) *Array {
			if r.IntN(3) > 0 {
				return nil
			}
			a := operand(rows, cols)
			for i := range a.Real {
				if r.IntN(2) == 0 {
					a.Real[i] = float32(r.IntN(2))
				}
			}
			return &a
		}
		out := scattered(r, layouts[r.IntN(len(layouts))], batch, m, n)
		var extra *Array
		switch r.IntN(4) {
		case 0:
			extra = &out // accumulate
		case 1:
			x := repeated(r, []int{batch, m, n}, 0, 1) // a bias
			extra = &x
		}
		checkGemm(t, p, out, operand(m, k), operand(k, n), mask(m, k), mask(k, n), extra)
	}
}

// The shapes that the project lives on.
func TestGemmSkinny(t *testing.T) {
	p := newPool(t, 2)
	r := rng(2)
	dense := func(rows, cols int) Array { return scattered(r, "dense", 1, rows, cols) }
	flipped := func(rows, cols int) Array { return scattered(r, "reversed", 1, rows, cols) }
	checkGemm(t, p, dense(64, 10), dense(64, 784), dense(784, 10), nil, nil, nil)
	checkGemm(t, p, dense(784, 10), flipped(784, 64), dense(64, 10), nil, nil, nil)
	checkGemm(t, p, dense(64, 784), dense(64, 10), flipped(10, 784), nil, nil, nil)
	checkGemm(t, p, dense(10, 784), dense(10, 64), dense(64, 784), nil, nil, nil)
	checkGemm(t, p, dense(300, 1), dense(300, 784), dense(784, 1), nil, nil, nil)
	checkGemm(t, p, dense(1, 300), dense(1, 784), dense(784, 300), nil, nil, nil)
	checkGemm(t, p, dense(2500, 10), dense(2500, 30), dense(30, 10), nil, nil, nil)
}

// NaN and infinities come through: no term is skipped, whatever it is multiplied with.
func TestGemmNaN(t *testing.T) {
	p := newPool(t, 1)
	for _, n := range []int{1, 2, 5, 40} {
		a, b := rowMajor(make([]float32, n*n), 1, n, n), rowMajor(make([]float32, n*n), 1, n, n)
		a.Real[0] = float32(math.NaN())
		out := rowMajor(make([]float32, n*n), 1, n, n)
		require.NoError(t, hold(p, NewGemm(p, out, a, b, nil, nil, nil, nil)))
		for i, v := range out.Real {
			require.Equal(t, i < n, v != v, "element %d of %d", i, n*n)
		}
	}
}
