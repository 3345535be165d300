package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

var convKinds = []kind.Conv{kind.ConvForward, kind.ConvInputGradient, kind.ConvWeightGradient}

// shapesOf are those of x, w and y.
func shapesOf(s *ConvShape) (x, w, y []int) {
	p, q := s.Out()
	return []int{s.N, s.H, s.W, s.C}, []int{s.R, s.S, s.C / s.Groups, s.K}, []int{s.N, p, q, s.K}
}

// termsOf calls do with the places in x, w and y of every product of the form Σ y·x·w.
func termsOf(s *ConvShape, do func(x, w, y int)) {
	p, q := s.Out()
	in, out := s.C/s.Groups, s.K/s.Groups
	for i := range s.N * p * q * s.R * s.S {
		t, r, b, a, n := i%s.S, i/s.S%s.R, i/s.S/s.R%q, i/s.S/s.R/q%p, i/s.S/s.R/q/p
		h, w := a*s.StrideH+r*s.DilationH-s.Top, b*s.StrideW+t*s.DilationW-s.Left
		if h < 0 || h >= s.H || w < 0 || w >= s.W {
			continue
		}
		for k := range s.K {
			for c := range in {
				do(((n*s.H+h)*s.W+w)*s.C+k/out*in+c, ((r*s.S+t)*in+c)*s.K+k, ((n*p+a)*q+b)*s.K+k)
			}
		}
	}
}

// convCase is a convolution of random numbers.
type convCase struct {
	shape  ConvShape
	kind   kind.Conv
	out    Array
	in     [2]Array
	extra  *Array
	conv   *Conv
	before []float32 // of the whole memory of out
}

// inMemory makes a dense array of random numbers somewhere in a larger memory.
func inMemory(r *rand.Rand, shape ...int) Array {
	a := rowMajor(nil, shape...)
	a.Off = r.IntN(20)
	a.Real = normals(r, a.Off+size(shape)+r.IntN(20))
	return a
}

// newConvCase makes one. Its epilogue is none, or 2·sums + extra with an extra of its own, a bias, or out itself.
func newConvCase(p *Pool, s ConvShape, k kind.Conv, epilogue int, seed uint64) *convCase {
	r := rng(seed)
	xs, ws, ys := shapesOf(&s)
	shapes := [3][]int{xs, ws, ys}
	switch k {
	case kind.ConvInputGradient:
		shapes = [3][]int{ys, ws, xs}
	case kind.ConvWeightGradient:
		shapes = [3][]int{xs, ys, ws}
	}
	c := &convCase{shape: s, kind: k, in: [2]Array{inMemory(r, shapes[0]...), inMemory(r, shapes[1]...)},
		out: inMemory(r, shapes[2]...)}
	switch epilogue {
	case 1:
		x := scattered(r, layouts[r.IntN(len(layouts))], c.out.Shape...)
		c.extra = &x
	case 2:
		x := repeated(r, c.out.Shape, 0, 1, 2)
		c.extra = &x
	case 3:
		c.extra = &c.out
	}
	var e *expr.Expr
	var extras []Array
	if c.extra != nil {
		var b build
		e, extras = b.outs(b.step(expr.Add, b.step(expr.Mul, b.in(0), b.c(2)), b.in(1))), []Array{*c.extra}
	}
	c.before = append(c.before, c.out.Real...)
	c.conv = NewConv(p, k, s, c.out, c.in[0], c.in[1], e, extras)
	return c
}

// check runs the convolution and compares it with float64 loops: |error| ≤ (terms + 2) u Σ|terms|, and nothing outside
// of out is written.
func (c *convCase) check(t *testing.T, p *Pool) {
	t.Helper()
	want, bounds := c.sums()
	c.compare(t, p, want, bounds)
}

// sums are the results before the epilogue, and what sums may be off by.
func (c *convCase) sums() (want, bounds []float64) {
	n := size(c.out.Shape)
	want, sizes, terms := make([]float64, n), make([]float64, n), make([]int, n)
	a, b := c.in[0].Real[c.in[0].Off:], c.in[1].Real[c.in[1].Off:]
	termsOf(&c.shape, func(x, w, y int) {
		to, i, j := y, x, w
		switch c.kind {
		case kind.ConvInputGradient:
			to, i, j = x, y, w
		case kind.ConvWeightGradient:
			to, i, j = w, x, y
		}
		v := float64(a[i]) * float64(b[j])
		want[to], sizes[to], terms[to] = want[to]+v, sizes[to]+math.Abs(v), terms[to]+1
	})
	for i := range sizes {
		sizes[i] *= float64(terms[i]+2) * u32
	}
	return want, sizes
}

// compare runs the convolution, whose sums should be want within bounds.
func (c *convCase) compare(t *testing.T, p *Pool, want, bounds []float64) {
	t.Helper()
	extra := make([]float32, size(c.out.Shape))
	if c.extra != nil {
		extra = elements(*c.extra)
	}
	require.NoError(t, hold(p, c.conv))
	got := elements(c.out)
	for i := range got {
		bound, value := bounds[i], want[i]
		if c.extra != nil {
			value = 2*value + float64(extra[i])
			bound = 2*bound + u32*(math.Abs(value)+2*bound)
		}
		if !(math.Abs(float64(got[i])-value) <= bound) {
			t.Fatalf("%v of %+v: element %d is %v, want %v ± %v", c.kind, c.shape, i, got[i], value, bound)
		}
		c.before[c.out.Off+i] = got[i]
	}
	require.Equal(t, c.before, c.out.Real, "wrote outside")
}

// square is a convolution with a square kernel of size r over square images.
func square(n, size, c, k, r, stride, padding int) ConvShape {
	return ConvShape{N: n, H: size, W: size, C: c, K: k, R: r, S: r, StrideH: stride, StrideW: stride, DilationH: 1,
		DilationW: 1, Top: padding, Bottom: padding, Left: padding, Right: padding, Groups: 1}
}

// grouped is s with so many groups.
func grouped(s ConvShape, groups int) ConvShape {
	s.Groups = groups
	return s
}

// convShapes are the kinds of layers of networks, small, and what borders on them.
var convShapes = []ConvShape{
	square(2, 9, 3, 20, 3, 1, 1),
	square(1, 8, 17, 33, 3, 1, 1),
	square(3, 4, 40, 50, 3, 1, 1),
	square(2, 15, 5, 18, 3, 2, 1),
	square(2, 16, 6, 34, 1, 2, 0),
	square(2, 6, 10, 12, 1, 1, 0),
	square(1, 12, 1, 8, 5, 1, 2),
	square(1, 14, 3, 16, 7, 2, 3),
	square(2, 11, 4, 6, 3, 3, 0),
	square(1, 1, 7, 9, 3, 1, 1),
	square(5, 1, 7, 9, 1, 1, 0),
	square(0, 5, 3, 4, 3, 1, 1),
	square(1, 4, 150, 140, 3, 1, 1), // more channels than a block
	square(1, 5, 90, 140, 3, 2, 1),
	square(20, 2, 80, 20, 3, 1, 1), // several images at a time
	square(1, 4, 700, 30, 1, 2, 0),
	square(1, 3, 20, 40, 2, 2, 3), // taps that lie outside the images alone
	grouped(square(2, 9, 12, 12, 3, 1, 1), 12),
	grouped(square(2, 9, 12, 24, 3, 2, 1), 12),
	grouped(square(2, 7, 12, 20, 3, 1, 1), 4),
	{N: 2, H: 7, W: 11, C: 3, K: 5, R: 2, S: 4, StrideH: 2, StrideW: 1, DilationH: 3, DilationW: 2, Top: 0, Bottom: 3,
		Left: 4, Right: 1, Groups: 1},
	{N: 2, H: 5, W: 3, C: 4, K: 6, R: 1, S: 3, StrideH: 3, StrideW: 2, DilationH: 1, DilationW: 1, Top: 2, Bottom: 2,
		Left: 0, Right: 5, Groups: 2},
}

func TestConvShapes(t *testing.T) {
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		for i, s := range convShapes {
			for _, k := range convKinds {
				newConvCase(p, s, k, i%4, uint64(i)).check(t, p)
			}
		}
	})
}

// randomConvShape is a small geometry of any kind.
func randomConvShape(r *rand.Rand) ConvShape {
	for {
		groups := 1
		if r.IntN(3) == 0 {
			groups = 1 + r.IntN(5)
		}
		size := func(n int) int { return 1 + r.IntN(n) }
		s := ConvShape{
			N: r.IntN(4), H: size(13), W: size(13), C: groups * size(20), K: groups * size(36), R: size(4), S: size(4),
			StrideH: size(3), StrideW: size(3), DilationH: size(2), DilationW: size(2),
			Top: r.IntN(4), Bottom: r.IntN(4), Left: r.IntN(4), Right: r.IntN(4), Groups: groups,
		}
		if r.IntN(4) == 0 {
			s.C = s.Groups
		}
		room := s.DilationH*(s.R-1) < s.H+s.Top+s.Bottom && s.DilationW*(s.S-1) < s.W+s.Left+s.Right
		if p, q := s.Out(); room && max(1, s.N)*p*q*s.K*s.C/s.Groups*s.R*s.S < 500_000 {
			return s
		}
	}
}

func randomConv(t *testing.T, p *Pool, seed uint64) {
	r := rng(seed)
	s := randomConvShape(r)
	newConvCase(p, s, convKinds[r.IntN(3)], r.IntN(4), seed).check(t, p)
}

func TestConvRandomShapes(t *testing.T) {
	forLevels(t, 3, func(t *testing.T, p *Pool) {
		for seed := range uint64(150) {
			randomConv(t, p, seed)
		}
	})
}

func FuzzConv(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		for _, l := range Levels() {
			p := NewPool(2, l)
			defer p.Close()
			randomConv(t, p, seed)
		}
	})
}

// Bits depend on the level alone, not on threads.
func TestConvBits(t *testing.T) {
	shapes := append(winogradShapes[:4:4], convShapes...)
	shapes = append(shapes, square(5, 16, 40, 48, 3, 1, 1), square(5, 16, 3, 16, 3, 1, 1))
	forLevels(t, 1, func(t *testing.T, one *Pool) {
		want := make([][]float32, len(shapes)*len(convKinds))
		for _, threads := range []int{1, 2, 3, 7} {
			p := newPoolAt(t, threads, one.level)
			for i := range want {
				s, k := shapes[i/len(convKinds)], convKinds[i%len(convKinds)]
				c := newConvCase(p, s, k, i%4, 3)
				require.NoError(t, hold(p, c.conv))
				if threads == 1 {
					want[i] = c.out.Real
				}
				require.Equal(t, want[i], c.out.Real, "%v of %+v, %d threads", k, s, threads)
			}
		}
	})
}

func TestConvAllocatesNothing(t *testing.T) {
	p := newPool(t, 2)
	for i, s := range append(winogradShapes[:4:4], convShapes...) {
		for _, k := range convKinds {
			c := newConvCase(p, s, k, i%4, 3)
			require.Zero(t, testing.AllocsPerRun(3, func() { hold(p, c.conv) }), fmt.Sprintf("%v of %+v", k, s))
		}
	}
}
