package cpu

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// bf16x3Product is a product that is checked against float64.
type bf16x3Product struct {
	out, a, b    Array
	maskA, maskB *Array
	extra        *Array
	wild         bool // some numbers are NaN or infinite: blocks without pieces are computed term by term
}

// in64 is the elements of an operand, or their products with its mask in float32, row by row, and with turned column by
// column.
func in64(a, mask *Array, turned bool) []float64 {
	rows, cols := a.Shape[1], a.Shape[2]
	x := make([]float64, size(a.Shape))
	for i := range x {
		b, row, col := i/(rows*cols), i/cols%rows, i%cols
		v := at(a, b, row, col)
		if mask != nil {
			v = float64(float32(v * at(mask, b, row, col)))
		}
		if turned {
			i = b*rows*cols + col*rows + row
		}
		x[i] = v
	}
	return x
}

// check runs the product at level AMX on some numbers of threads, whose results must agree bit by bit, and compares
// them with float64: NaN and infinities where they belong, the error within its bound elsewhere. It says whether it
// went in pieces.
func (x *bf16x3Product) check(t *testing.T, pools []*Pool) (inBF16x3 bool) {
	t.Helper()
	batch, m, k, n := x.a.Shape[0], x.a.Shape[1], x.a.Shape[2], x.b.Shape[2]
	var e *expr.Expr
	var extras []Array
	before := elements(x.out)
	if x.extra != nil {
		var bd build
		e = bd.outs(bd.step(expr.Add, bd.step(expr.Mul, bd.in(0), bd.c(2)), bd.in(1)))
		extras, before = []Array{*x.extra}, elements(*x.extra)
	}
	memory := slices.Clone(x.out.Real)
	var got []float32
	for i, p := range pools {
		copy(x.out.Real, memory)
		g := newBF16x3Gemm(p, x.out, x.a, x.b, x.maskA, x.maskB, e, extras)
		require.NoError(t, hold(p, g))
		now := elements(x.out)
		if i == 0 {
			got, inBF16x3 = now, takesBF16x3(g)
		}
		sameWords(t, got, now, "[%d,%d,%d]x[%d], %d threads", batch, m, k, n, p.Threads())
		for i := range now {
			x.out.Real[offsetOf(&x.out, i)] = memory[offsetOf(&x.out, i)]
		}
		sameWords(t, memory, x.out.Real, "[%d,%d,%d]x[%d] wrote outside", batch, m, k, n)
	}

	c := float64(k + 2)
	if inBF16x3 {
		if c = bf16x3Bound(k); x.wild {
			c += float64(k)
		}
	}
	as, bs := in64(&x.a, x.maskA, false), in64(&x.b, x.maskB, true)
	lostA, lostB := sizes(as, k), sizes(bs, k)
	for i := range got {
		row, col := i/n, i/(m*n)*n+i%n
		s, size, infinite := terms(as[row*k:][:k], bs[col*k:][:k])
		bound := c*u32*size + tiny(lostA[row], lostB[col], k)
		if x.extra != nil {
			s = 2*s + float64(before[i])
			bound, size = 2*bound+u32*(math.Abs(s)+bound), 2*size+math.Abs(float64(before[i]))
		}
		g := float64(got[i])
		right := math.Abs(g-s) <= bound
		switch {
		case math.IsNaN(s):
			right = math.IsNaN(g)
		case (1+0x1p-6)*size > math.MaxFloat32: // some sum on the way may be infinite
			right = math.IsInf(g, 0) || math.IsNaN(g) || right && !infinite
		case infinite:
			right = g == s
		}
		if !right {
			t.Fatalf(
				"[%d,%d,%d]x[%d], strides %v %v %v, masks %v %v, extra %v, pieces %v: element %d is %v, want %v ± %v",
				batch, m, k, n, x.a.Strides, x.b.Strides, x.out.Strides, x.maskA != nil, x.maskB != nil, x.extra != nil,
				inBF16x3, i, g, s, bound,
			)
		}
	}
	return inBF16x3
}

// terms sums the terms of a product, and the sizes of those that are finite, and says whether one is infinite.
func terms(a, b []float64) (s, size float64, infinite bool) {
	for q, v := range a {
		term := v * b[q]
		s, size = s+term, size+math.Abs(term)
	}
	if math.IsInf(size, 0) {
		infinite, size = true, 0
		for q, v := range a {
			if term := math.Abs(v * b[q]); !math.IsInf(term, 0) {
				size += term
			}
		}
	}
	return s, size, infinite
}

// sizes sums |x| over each run of k numbers.
func sizes(x []float64, k int) []float64 {
	sums := make([]float64, len(x)/k)
	for i, v := range x {
		sums[i/k] += math.Abs(v)
	}
	return sums
}

// poolsAMX are pools of level AMX.
func poolsAMX(t *testing.T, threads ...int) (pools []*Pool) {
	needBF16x3(t)
	for _, n := range threads {
		pools = append(pools, newPoolAt(t, n, AMX))
	}
	return pools
}

// randomPieceProduct has any layout, masks, epilogues, batches, and numbers of one of several kinds.
func randomPieceProduct(r *rand.Rand) *bf16x3Product {
	batch, m, n, k := 1, 60+r.IntN(200), 60+r.IntN(200), bf16x3Least+r.IntN(300)
	if r.IntN(4) == 0 {
		batch = 2 + r.IntN(2)
	}
	for batch*m*n*k > 3_000_000 {
		m, n, k = max(64, m*3/4), max(64, n*3/4), max(bf16x3Least, k*3/4)
	}
	operand := func(rows, cols int) Array {
		if r.IntN(6) == 0 {
			return repeated(r, []int{batch, rows, cols}, 0)
		}
		return scattered(r, layouts[r.IntN(len(layouts))], batch, rows, cols)
	}
	mask := func(rows, cols int) *Array {
		if r.IntN(4) > 0 {
			return nil
		}
		return asMask(r, operand(rows, cols))
	}
	x := &bf16x3Product{
		out: scattered(r, layouts[r.IntN(len(layouts))], batch, m, n),
		a:   operand(m, k), b: operand(k, n), maskA: mask(m, k), maskB: mask(k, n),
	}
	switch r.IntN(4) {
	case 0:
		x.extra = &x.out // accumulate
	case 1:
		bias := repeated(r, []int{batch, m, n}, 0, 1)
		x.extra = &bias
	}
	sprinkle := func(a *Array) {
		for range 1 + r.IntN(6) {
			a.Real[a.Off+r.IntN(len(a.Real)-a.Off)] = math.Float32frombits(wild[r.IntN(len(wild))])
		}
		x.wild = true
	}
	switch r.IntN(6) {
	case 0:
		sprinkle(&x.a)
	case 1:
		sprinkle(&x.b)
	case 2:
		sprinkle(&x.a)
		sprinkle(&x.b)
	case 3: // the largest numbers, beside others that keep the sums finite
		for i := range x.a.Real {
			x.a.Real[i] *= []float32{1, 0x1p100, 0x1p120, 0x1p-100}[r.IntN(4)]
		}
		for i := range x.b.Real {
			x.b.Real[i] *= 0x1p-20
		}
	}
	return x
}

// Whole products: every kind of operand, and the same bits for any number of threads.
func TestPieceProducts(t *testing.T) {
	pools := poolsAMX(t, 1, 2, 3, 7)
	cases, chosen := 100, 0
	if testing.Short() {
		cases = 12
	}
	for seed := range cases {
		if randomPieceProduct(rng(uint64(seed))).check(t, pools) {
			chosen++
		}
	}
	require.Greater(t, 3*chosen, 2*cases, "so few bf16x3 products test nothing")
}

// NaN and infinities at every place of a panel's corners: what they meet becomes NaN or infinite, and nothing else.
func TestPieceProductsNaN(t *testing.T) {
	pools := poolsAMX(t, 2)
	r := rng(11)
	const m, k, n = 97, 161, 83
	for _, bits := range wild {
		x := &bf16x3Product{
			out: scattered(r, "dense", 1, m, n), a: scattered(r, "dense", 1, m, k), b: scattered(r, "dense", 1, k, n),
			wild: true,
		}
		edge := func(n int) int { return []int{0, 31, 32, n - 1}[r.IntN(4)] }
		into := &x.a
		if r.IntN(2) == 0 {
			into = &x.b
		}
		into.Real[into.Off+edge(into.Shape[1])*into.Shape[2]+edge(into.Shape[2])] = math.Float32frombits(bits)
		for q := range k { // 0·∞ is NaN
			x.a.Real[x.a.Off+5*k+q], x.b.Real[x.b.Off+q*n+5] = 0, 0
		}
		require.True(t, x.check(t, pools))
	}
}

// Products larger than a tile and a block of B, whose pieces of A are used again.
func TestPieceProductsLarge(t *testing.T) {
	pools := poolsAMX(t, 1, 3)
	kept, tiled := false, false
	for seed, s := range [][3]int{{70, 55, 2200}, {1100, 60, 70}, {66, 200, 1100}} {
		r := rng(uint64(seed))
		m, k, n := s[0], s[1], s[2]
		x := &bf16x3Product{
			out: scattered(r, "dense", 1, m, n), a: scattered(r, "dense", 1, m, k), b: scattered(r, "dense", 1, k, n),
		}
		require.True(t, x.check(t, pools))
		g := newBF16x3Gemm(pools[0], x.out, x.a, x.b, nil, nil, nil, nil)
		kept, tiled = kept || g.strategy.(*bf16x3Strategy).keepA(), tiled || g.rowTiles > 1
		x.a.Real[x.a.Off+33*k+3], x.b.Real[x.b.Off+7*n+n-1], x.wild = float32(math.NaN()), float32(math.Inf(1)), true
		require.True(t, x.check(t, pools))
	}
	require.True(
		t, kept && tiled, "these shapes are for pieces of A that are used again, and for several tiles of rows",
	)
}

// The bits of a product do not depend on how its terms are cut.
func TestPieceProductsWhereverCut(t *testing.T) {
	p := poolsAMX(t, 2)[0]
	r := rng(12)
	const m, k, n = 150, 500, 170
	out, a, b := scattered(r, "dense", 1, m, n), scattered(r, "dense", 1, m, k), scattered(r, "dense", 1, k, n)
	var want []float32
	for _, kc := range []int{bf16x3Kc, 32, 64, 96, 160, 512} {
		g := newBF16x3Gemm(p, out, a, b, nil, nil, nil, nil)
		require.True(t, takesBF16x3(g))
		g.kc = kc
		g.strategy.(*bf16x3Strategy).cutTiles()
		g.place()
		require.NoError(t, hold(p, g))
		if want == nil {
			want = elements(out)
		}
		sameWords(t, want, elements(out), "kc %d", kc)
	}
}

// Numbers whose pieces or products underflow: the error stays within what rounding and underflow allow.
func TestPieceProductsUnderflow(t *testing.T) {
	pools := poolsAMX(t, 2)
	r := rng(13)
	const m, k, n = 96, 128, 96
	for _, c := range []struct {
		name         string
		lowA, spanA  int // exponents
		lowB, spanB  int
		subnormalToo bool
	}{
		{"subnormal times huge", -149, 24, 100, 20, false},
		{"huge times subnormal", 100, 20, -149, 24, false},
		{"products underflow", -66, 8, -66, 8, false},
		{"all underflow", -149, 60, -149, 60, false},
		{"everything", -149, 200, -149, 200, true},
		{"subnormal beside one", 0, 1, 0, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &bf16x3Product{
				out: scattered(r, "dense", 1, m, n), a: scattered(r, "dense", 1, m, k),
				b: scattered(r, "dense", 1, k, n),
			}
			fill := func(v []float32, low, span int) {
				for i := range v {
					v[i] = float32(math.Ldexp(r.Float64()*2-1, low+r.IntN(span)))
					if c.subnormalToo && r.IntN(3) == 0 {
						v[i] = math.Float32frombits(r.Uint32() & 0x807fffff)
					}
				}
			}
			fill(x.a.Real, c.lowA, c.spanA)
			fill(x.b.Real, c.lowB, c.spanB)
			require.True(t, x.check(t, pools))
		})
	}
	// Products of first and second pieces below 2⁻¹²⁶, all of one sign, while those of first pieces cancel up to less:
	// 2.2·2⁻¹²⁶ a term.
	x := &bf16x3Product{
		out: scattered(r, "dense", 1, m, n), a: scattered(r, "dense", 1, m, k), b: scattered(r, "dense", 1, k, n),
	}
	const second = 0x1.bp-9
	for i := range m * k {
		x.a.Real[x.a.Off+i] = []float32{1 + 8./128 + second, 1 + 1./128 - second}[i/2%2] * 0x1p-59
	}
	for i := range k * n {
		x.b.Real[x.b.Off+i] = []float32{1 + 9./128 + second, -1 - 16./128 + second}[i/n/2%2] * 0x1p-59
	}
	require.True(t, x.check(t, pools))
	require.NoError(t, hold(pools[0], newBF16x3Gemm(pools[0], x.out, x.a, x.b, nil, nil, nil, nil)))
	s, _, _ := terms(in64(&x.a, nil, false)[:k], in64(&x.b, nil, true)[:k])
	lost := math.Abs(s-at(&x.out, 0, 0, 0)) * 0x1p126 / k
	require.True(t, 2 < lost && lost < 3, "%v", lost)
}

// accuracyOf is the root mean square of the error of products at a level over that of |A||B| u.
func accuracyOf(t *testing.T, level Level, a, b Array, want, size []float64) float64 {
	p := newPoolAt(t, 2, level)
	out := rowMajor(make([]float32, len(want)), 1, a.Shape[1], b.Shape[2])
	g := newBF16x3Gemm(p, out, a, b, nil, nil, nil, nil)
	require.Equal(t, level == AMX, takesBF16x3(g))
	require.NoError(t, hold(p, g))
	errors, sizes := 0.0, 0.0
	for i, v := range out.Real {
		e := float64(v) - want[i]
		errors, sizes = errors+e*e, sizes+size[i]*size[i]
	}
	return math.Sqrt(errors/sizes) / u32
}

// bf16x3 products are as accurate as those of float32 numbers: their errors are at most twice as large in the root
// mean square.
func TestPieceProductsAccuracy(t *testing.T) {
	needBF16x3(t)
	m, k, n := 300, 700, 300
	if testing.Short() {
		m, n = 100, 100
	}
	for _, c := range []struct {
		name   string
		number func(r *rand.Rand) float64
	}{
		{"normal", func(r *rand.Rand) float64 { return r.NormFloat64() }},
		{"positive", func(r *rand.Rand) float64 { return r.Float64() }},
		{"spread", func(r *rand.Rand) float64 { return math.Ldexp(r.NormFloat64(), r.IntN(41)-20) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rng(14)
			a, b := rowMajor(make([]float32, m*k), 1, m, k), rowMajor(make([]float32, k*n), 1, k, n)
			for _, x := range [][]float32{a.Real, b.Real} {
				for i := range x {
					x[i] = float32(c.number(r))
				}
			}
			as, bs := in64(&a, nil, false), in64(&b, nil, true)
			want, size := make([]float64, m*n), make([]float64, m*n)
			for i := range want {
				want[i], size[i], _ = terms(as[i/n*k:][:k], bs[i%n*k:][:k])
			}
			pieces, vectors := accuracyOf(t, AMX, a, b, want, size), accuracyOf(t, AVX512, a, b, want, size)
			t.Logf("error over u|A||B|, root mean square: %.4f in pieces, %.4f in float32", pieces, vectors)
			require.Less(t, pieces, 2*vectors)
		})
	}
}

// The tile registers of a thread are its own, whatever the scheduler and the garbage collector do meanwhile.
func TestPieceProductsOfManyPools(t *testing.T) {
	needBF16x3(t)
	const goroutines = 8
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	type job struct {
		g         *Gemm
		out, want []float32 // want is what it gives undisturbed
	}
	var jobs [goroutines]job
	for i := range jobs { // shapes that need tiles of different sizes
		r, p := rng(uint64(i)), newPoolAt(t, 1+i%3, AMX)
		m, k, n := 96+23*i, 300+7*i, 200-11*i
		out, a, b := scattered(r, "dense", 1, m, n), scattered(r, "dense", 1, m, k), scattered(r, "dense", 1, k, n)
		g := newBF16x3Gemm(p, out, a, b, nil, nil, nil, nil)
		require.True(t, takesBF16x3(g))
		require.NoError(t, hold(p, g))
		jobs[i] = job{g, out.Real, slices.Clone(out.Real)}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	done := make(chan struct{})
	var disturber, workers sync.WaitGroup
	disturber.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				runtime.GC()
				runtime.GOMAXPROCS(1 + i%4)
			}
		}
	})
	var wrong [goroutines]int
	for i := range jobs {
		workers.Go(func() {
			j := &jobs[i]
			for range rounds {
				clear(j.out[j.g.out.off:][:j.g.m*j.g.n])
				if hold(j.g.pool, j.g) != nil || !slices.Equal(j.out, j.want) {
					wrong[i]++
				}
			}
		})
	}
	workers.Wait()
	close(done)
	disturber.Wait()
	require.Zero(t, wrong)
}

// newBF16x3Gemm is NewGemm with bf16x3 products of any size, where the level has them.
func newBF16x3Gemm(p *Pool, out, a, b Array, maskA, maskB *Array, e *expr.Expr, extras []Array) *Gemm {
	k := *kernelsOf(p.level)
	if k.bf16x3 != nil {
		some := *k.bf16x3
		some.least = 0
		k.bf16x3 = &some
	}
	return newGemm(p, &k, out, a, b, maskA, maskB, e, extras)
}

// takesBF16x3 says whether a product is computed as bf16x3.
func takesBF16x3(g *Gemm) bool {
	_, ok := g.strategy.(*bf16x3Strategy)
	return ok
}
