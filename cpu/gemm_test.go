package cpu

import (
	"math"
	"math/rand/v2"
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
			t.Fatalf(
				"[%d,%d,%d]x[%d], strides %v %v %v, masks %v %v: element %d,%d,%d is %v, want %v ± %v", batch, m, k, n,
				a.Strides, b.Strides, out.Strides, maskA != nil, maskB != nil, bt, row, col, got[i], s, bound,
			)
		}
		untouched[offsetOf(&out, i)] = got[i]
	}
	require.Equal(t, untouched, out.Real, "wrote outside")
}

// forLevels runs a test at every level that there is.
func forLevels(t *testing.T, threads int, f func(t *testing.T, p *Pool)) {
	for _, l := range Levels() {
		t.Run(l.String(), func(t *testing.T) { f(t, newPoolAt(t, threads, l)) })
	}
}

// Small shapes around the sizes of vectors and tiles, with a different layout for each.
func TestGemmSmallShapes(t *testing.T) {
	sizes := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 20, 28, 29, 31, 32, 33, 35}
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		r := rng(1)
		how := func() string { return layouts[r.IntN(len(layouts))] }
		for _, m := range sizes {
			for _, n := range sizes {
				for _, k := range []int{0, 1, 2, 3, 4, 5, 8, 17, 35} {
					if testing.Short() && r.IntN(8) > 0 {
						continue
					}
					checkGemm(
						t, p, scattered(r, how(), 1, m, n), scattered(r, how(), 1, m, k), scattered(r, how(), 1, k, n),
						nil, nil, nil,
					)
				}
			}
		}
	})
}

// randomGemm checks a product of random shape around the sizes of tiles and panels: batches, layouts, broadcasts,
// masks, epilogues.
func randomGemm(t *testing.T, p *Pool, r *rand.Rand) {
	t.Helper()
	dims := []int{1, 2, 3, 4, 7, 10, 13, 16, 17, 31, 48, 63, 64, 65, 97, 130, 257}
	depths := []int{0, 1, 5, 31, 64, 100, 255, 256, 257, 300, 511, 512, 513, 520, 800}
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
		return asMask(r, operand(rows, cols))
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

// asMask makes about half of the numbers of an array 0 or 1.
func asMask(r *rand.Rand, a Array) *Array {
	for i := range a.Real {
		if r.IntN(2) == 0 {
			a.Real[i] = float32(r.IntN(2))
		}
	}
	return &a
}

func TestGemmRandomShapes(t *testing.T) {
	seeds := uint64(250)
	if testing.Short() {
		seeds = 60
	}
	forLevels(t, 3, func(t *testing.T, p *Pool) {
		for seed := range seeds {
			randomGemm(t, p, rng(seed))
		}
	})
}

func FuzzGemm(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		for _, l := range Levels() {
			p := NewPool(2, l)
			defer p.Close()
			randomGemm(t, p, rng(seed))
		}
	})
}

// Rows a multiple of a page apart are copied first, and sums of a deep product are kept in scratch memory.
func TestGemmConflictingRows(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		r := rng(4)
		page := func(rows, cols int) Array {
			a := scattered(r, "dense", 1, rows, 2048)
			a.Shape[2] = cols
			return a
		}
		checkGemm(t, p, page(150, 140), page(150, 70), page(70, 140), nil, nil, nil)
		checkGemm(t, p, page(20, 133), page(20, 1100), page(1100, 133), nil, nil, nil)
	})
}

// The shapes that the project lives on.
func TestGemmSkinny(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		r := rng(2)
		dense := func(rows, cols int) Array { return scattered(r, "dense", 1, rows, cols) }
		flipped := func(rows, cols int) Array { return scattered(r, "reversed", 1, rows, cols) }
		const k = 785
		checkGemm(t, p, dense(64, 10), dense(64, k), dense(k, 10), nil, nil, nil)
		checkGemm(t, p, dense(k, 10), flipped(k, 64), dense(64, 10), nil, nil, nil)
		checkGemm(t, p, dense(64, k), dense(64, 10), flipped(10, k), nil, nil, nil)
		checkGemm(t, p, dense(10, k), dense(10, 64), dense(64, k), nil, nil, nil)
		checkGemm(t, p, dense(300, 1), dense(300, k), dense(k, 1), nil, nil, nil)
		checkGemm(t, p, dense(k, 1), flipped(k, 300), dense(300, 1), nil, nil, nil)
		checkGemm(t, p, dense(1, 300), dense(1, k), dense(k, 300), nil, nil, nil)
		checkGemm(t, p, dense(k, 10), flipped(k, 600), dense(600, 10), nil, nil, nil)
		checkGemm(t, p, dense(1200, 10), dense(1200, 30), dense(30, 10), nil, nil, nil)
	})
}

// Epilogues over results of either side of maxTileEpilogue, in each place for the sums: out, scratch because an extra
// is out itself, and scratch because out lies transposed.
func TestGemmEpilogues(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		r := rng(5)
		for _, rows := range []int{40, 190} {
			const cols, k = 180, 9
			a, b := scattered(r, "dense", 1, rows, k), scattered(r, "dense", 1, k, cols)
			extra := scattered(r, "dense", 1, rows, cols)
			out := scattered(r, "dense", 1, rows, cols)
			checkGemm(t, p, out, a, b, nil, nil, &extra)
			checkGemm(t, p, out, a, b, nil, nil, &out)
			checkGemm(t, p, scattered(r, "reversed", 1, rows, cols), a, b, nil, nil, &extra)
		}
		// The sums are read again after a later step: swish of a product, by its definition.
		const rows, cols = 190, 180
		a, b, out := scattered(r, "dense", 1, rows, 1), scattered(r, "dense", 1, 1, cols), scattered(
			r, "dense", 1, rows, cols,
		)
		var bd build
		e := bd.outs(bd.step(expr.Mul, bd.step(expr.Sigmoid, bd.in(0)), bd.in(0)))
		require.NoError(t, hold(p, NewGemm(p, out, a, b, nil, nil, e, nil)))
		for i := range rows {
			for j := range cols {
				y := float64(float32(at(&a, 0, i, 0) * at(&b, 0, 0, j)))
				want := y / (1 + math.Exp(-y))
				require.InDelta(t, want, at(&out, 0, i, j), 8*u32*math.Abs(want), "%d,%d", i, j)
			}
		}
	})
}

// NaN and infinities come through: no term is skipped, whatever it is multiplied with.
func TestGemmNaN(t *testing.T) {
	forLevels(t, 1, func(t *testing.T, p *Pool) {
		for _, n := range []int{1, 2, 5, 40} {
			a, b := rowMajor(make([]float32, n*n), 1, n, n), rowMajor(make([]float32, n*n), 1, n, n)
			a.Real[0] = float32(math.NaN())
			out := rowMajor(make([]float32, n*n), 1, n, n)
			require.NoError(t, hold(p, NewGemm(p, out, a, b, nil, nil, nil, nil)))
			for i, v := range out.Real {
				require.Equal(t, i < n, v != v, "element %d of %d", i, n*n)
			}
		}
	})
}

// Bits depend on the level alone: not on threads, nor on how the tiles fall.
func TestGemmBits(t *testing.T) {
	for _, l := range Levels() {
		for _, s := range []product{{300, 800, 100, false, false}, {785, 1000, 10, true, false},
			{64, 784, 10, false, false}, {90, 500, 700, false, true}} {
			var want []float32
			for _, threads := range []int{1, 2, 3, 7} {
				g := s.gemm(newPoolAt(t, threads, l))
				require.NoError(t, hold(g.pool, g))
				if want == nil {
					want = g.out.data
				}
				require.Equal(t, want, g.out.data, "%v, %d threads", l, threads)
			}
		}
	}
}

func TestGemmAllocatesNothing(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		for _, s := range []product{{300, 800, 100, false, false}, {64, 784, 10, false, false},
			{90, 500, 700, false, true}} {
			g := s.gemm(p)
			require.Zero(t, testing.AllocsPerRun(3, func() { hold(p, g) }))
		}
	})
}
