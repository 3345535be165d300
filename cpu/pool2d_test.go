package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
)

var poolKinds = []kind.Pool{
	kind.AveragePool, kind.AveragePoolAdjoint, kind.MaxPool, kind.MaxPoolTangent, kind.MaxPoolAdjoint,
}

// windowsOf calls do with every window, as the place of its result and those of its pixels in rows' order.
func windowsOf(s *PoolShape, do func(y int, pixels []int)) {
	p, q := s.Out()
	for i := range s.N * p * q * s.C {
		c, b, a, n := i%s.C, i/s.C%q, i/s.C/q%p, i/s.C/q/p
		var pixels []int
		for j := range s.R * s.S {
			h, w := a*s.StrideH-s.Top+j/s.S, b*s.StrideW-s.Left+j%s.S
			if h >= 0 && h < s.H && w >= 0 && w < s.W {
				pixels = append(pixels, ((n*s.H+h)*s.W+w)*s.C+c)
			}
		}
		do(i, pixels)
	}
}

// firstLargest is the first of pixels that holds the largest number, or the first that holds NaN.
func firstLargest(x []float32, pixels []int) int {
	best := pixels[0]
	for _, i := range pixels {
		if x[i] != x[i] {
			return i
		}
		if x[i] > x[best] {
			best = i
		}
	}
	return best
}

// checkPool compares a kind of pooling with its definition in float64. Maxima and their tangents are exact; an average
// or a sum of m numbers is off by at most m+1 roundings of the sum of their sizes. In x are many equal numbers, and a
// few NaN where nans is set.
func checkPool(t *testing.T, p *Pool, s PoolShape, k kind.Pool, seed uint64, nans bool) {
	t.Helper()
	r := rng(seed)
	a, b := s.Out()
	images, results := []int{s.N, s.H, s.W, s.C}, []int{s.N, a, b, s.C}
	in, out := []Array{inMemory(r, images...)}, inMemory(r, results...)
	switch k {
	case kind.AveragePoolAdjoint:
		in, out = []Array{inMemory(r, results...)}, inMemory(r, images...)
	case kind.MaxPoolTangent:
		in = append(in, inMemory(r, images...))
	case kind.MaxPoolAdjoint:
		in, out = append(in, inMemory(r, results...)), inMemory(r, images...)
	}
	if k >= kind.MaxPool {
		for i := range in[0].Real {
			if in[0].Real[i] = float32(r.IntN(5)); nans && r.IntN(9) == 0 {
				in[0].Real[i] = float32(math.NaN())
			}
		}
	}
	before := append([]float32(nil), out.Real...)
	require.NoError(t, hold(p, NewPool2D(p, k, s, out, in)))

	n := size(out.Shape)
	want, sizes, terms := make([]float64, n), make([]float64, n), make([]int, n)
	add := func(to int, v float64) {
		want[to], sizes[to], terms[to] = want[to]+v, sizes[to]+math.Abs(v), terms[to]+1
	}
	first, second := in[0].Real[in[0].Off:], in[len(in)-1].Real[in[len(in)-1].Off:]
	windowsOf(&s, func(y int, pixels []int) {
		d := float64(len(pixels))
		if s.CountPadding {
			d = float64(s.R * s.S)
		}
		switch k {
		case kind.AveragePool:
			for _, i := range pixels {
				add(y, float64(first[i])/d)
			}
		case kind.AveragePoolAdjoint:
			for _, i := range pixels {
				add(i, float64(first[y])/d)
			}
		case kind.MaxPool, kind.MaxPoolTangent:
			want[y] = float64(second[firstLargest(first, pixels)])
		case kind.MaxPoolAdjoint:
			add(firstLargest(first, pixels), float64(second[y]))
		}
	})
	for i, v := range elements(out) {
		before[out.Off+i] = v
		if got := float64(v); got != got && want[i] != want[i] && k == kind.MaxPool {
			continue
		} else if !(math.Abs(got-want[i]) <= float64(terms[i]+1)*u32*sizes[i]) {
			t.Fatalf("%v of %+v: element %d is %v, want %v", k, s, i, got, want[i])
		}
	}
	for i := range before {
		if math.Float32bits(before[i]) != math.Float32bits(out.Real[i]) {
			t.Fatalf("%v of %+v wrote outside", k, s)
		}
	}
}

// squarePool has square windows of size r over square images.
func squarePool(n, size, c, r, stride, padding int) PoolShape {
	return PoolShape{N: n, H: size, W: size, C: c, R: r, S: r, StrideH: stride, StrideW: stride, Top: padding,
		Bottom: padding, Left: padding, Right: padding, CountPadding: padding%2 == 1}
}

func randomPoolShape(r *rand.Rand) PoolShape {
	for {
		size := func(n int) int { return 1 + r.IntN(n) }
		s := PoolShape{N: r.IntN(4), H: size(13), W: size(13), C: size(40), R: size(4), S: size(4), StrideH: size(4),
			StrideW: size(4), CountPadding: r.IntN(2) == 0}
		s.Top, s.Bottom, s.Left, s.Right = r.IntN(s.R), r.IntN(s.R), r.IntN(s.S), r.IntN(s.S)
		if s.R <= s.H+s.Top+s.Bottom && s.S <= s.W+s.Left+s.Right {
			return s
		}
	}
}

func TestPool2DShapes(t *testing.T) {
	shapes := []PoolShape{
		squarePool(3, 8, 20, 2, 2, 0), squarePool(2, 9, 5, 3, 2, 1), squarePool(2, 7, 16, 3, 1, 1),
		squarePool(4, 4, 64, 4, 4, 0), squarePool(1, 5, 3, 1, 3, 0), squarePool(0, 5, 3, 2, 2, 0),
		squarePool(1, 1, 1, 1, 1, 0),
	}
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		for seed := range uint64(120) {
			s := randomPoolShape(rng(seed))
			if seed < uint64(len(shapes)) {
				s = shapes[seed]
			}
			for _, k := range poolKinds {
				checkPool(t, p, s, k, seed, k == kind.MaxPool || k == kind.MaxPoolTangent && seed%2 == 0)
			}
		}
	})
}

func FuzzPool2D(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		for _, l := range Levels() {
			p := NewPool(2, l)
			defer p.Close()
			for _, k := range poolKinds {
				checkPool(t, p, randomPoolShape(rng(seed)), k, seed, k == kind.MaxPool)
			}
		}
	})
}

// The tangent and the adjoint of a maximum are transposes of each other, NaN included: one number of 1 in t gives, in
// all results, what results of 1 give in that place.
func TestMaxPoolAdjointIsTheTranspose(t *testing.T) {
	p := newPool(t, 2)
	s := squarePool(2, 7, 3, 3, 2, 1)
	a, b := s.Out()
	r := rng(3)
	x, ones := inMemory(r, s.N, s.H, s.W, s.C), rowMajor(make([]float32, s.N*a*b*s.C), s.N, a, b, s.C)
	for i := range x.Real {
		if x.Real[i] = float32(r.IntN(3)); r.IntN(9) == 0 {
			x.Real[i] = float32(math.NaN())
		}
	}
	fill(ones.Real, 1)
	counts := rowMajor(make([]float32, size(x.Shape)), x.Shape...)
	require.NoError(t, hold(p, NewPool2D(p, kind.MaxPoolAdjoint, s, counts, []Array{x, ones})))
	for i := range counts.Real {
		one := rowMajor(make([]float32, size(x.Shape)), x.Shape...)
		y := rowMajor(make([]float32, len(ones.Real)), ones.Shape...)
		one.Real[i] = 1
		require.NoError(t, hold(p, NewPool2D(p, kind.MaxPoolTangent, s, y, []Array{x, one})))
		var sum float32
		for _, v := range y.Real {
			sum += v
		}
		require.Equal(t, sum, counts.Real[i], "pixel %d", i)
	}
}

// The same bits for any number of threads, and nothing is allocated.
func TestPool2DBits(t *testing.T) {
	s := squarePool(9, 13, 40, 3, 2, 1)
	a, b := s.Out()
	for _, k := range poolKinds {
		var want []float32
		for _, threads := range []int{1, 2, 3, 7} {
			r := rng(4)
			x, y := inMemory(r, s.N, s.H, s.W, s.C), inMemory(r, s.N, a, b, s.C)
			in, out := []Array{x, x}, y
			switch k {
			case kind.AveragePoolAdjoint:
				in, out = []Array{y}, x
			case kind.MaxPoolAdjoint:
				in, out = []Array{x, y}, inMemory(r, s.N, s.H, s.W, s.C)
			}
			p := newPool(t, threads)
			op := NewPool2D(p, k, s, out, in)
			require.NoError(t, hold(p, op))
			if want == nil {
				want = out.Real
			}
			require.Equal(t, want, out.Real, "%v, %d threads", k, threads)
			if threads == 1 { // and often, for the runtime allocates now and then, as when it collects garbage
				require.Zero(t, testing.AllocsPerRun(20, func() { hold(p, op) }), "%v", k)
			}
		}
	}
}
