package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
)

// winogradShapes have odd and even sides, one tile and many, more and fewer zeros beside the images than usual,
// channels that fill no vector, and channels taken some at a time.
var winogradShapes = []ConvShape{
	square(4, 8, 16, 16, 3, 1, 1),
	square(7, 9, 20, 33, 3, 1, 1),
	square(70, 2, 16, 24, 3, 1, 1),
	square(5, 11, 17, 16, 3, 1, 0),
	square(6, 7, 16, 18, 3, 1, 2),
	padded(square(6, 7, 40, 16, 3, 1, 0), 0, 1, 2, 0),
	padded(square(4, 13, 16, 19, 3, 1, 0), 2, 0, 0, 1),
	square(16, 4, 20, 330, 3, 1, 1),
	square(16, 4, 330, 20, 3, 1, 1),
}

// padded is s with so many zeros above, below, left and right.
func padded(s ConvShape, above, below, left, right int) ConvShape {
	s.Top, s.Bottom, s.Left, s.Right = above, below, left, right
	return s
}

// byTiles says whether a convolution goes by tiles.
func byTiles(c *Conv) bool {
	switch c.way.(type) {
	case *convWinograd, *convWinogradWeights:
		return true
	}
	return false
}

// Results by tiles are within the bound that the comment of winograd derives, for every level and epilogue.
func TestWinograd(t *testing.T) {
	for i, s := range winogradShapes {
		for _, k := range convKinds {
			if testing.Short() && (i+int(k))%2 == 0 {
				continue // their sums in float64 take long
			}
			epilogue := (i + int(k)) % 4
			var want, bounds []float64
			for _, level := range Levels() {
				p := newPoolAt(t, 2, level)
				c := newConvCase(p, s, k, epilogue, uint64(i))
				require.True(t, byTiles(c.conv))
				if want == nil {
					want, _ = c.sums()
					bounds = c.tileBounds()
				}
				t.Run(fmt.Sprintf("%v/%v/%+v", level, k, s), func(t *testing.T) { c.compare(t, p, want, bounds) })
			}
		}
	}
}

// The steps of the tiles against their formula, bit by bit, around and beyond the width of a vector.
func TestWinogradKernels(t *testing.T) {
	forKernels(t, func(t *testing.T, k *kernels) {
		r := rng(7)
		for n := 1; n < 40; n++ {
			tiles, ld := 1+r.IntN(5), n+r.IntN(3)
			apart := tiles*n + r.IntN(3)
			p, q := normals(r, (2*tiles+2)*ld), normals(r, (2*tiles+2)*ld)
			m := normals(r, tilePoints*apart)
			for name, do := range map[string]func(k *winogradKernels, to []float32){
				"sums":        func(k *winogradKernels, to []float32) { k.sums(to, apart, p, q, tiles, n) },
				"differences": func(k *winogradKernels, to []float32) { k.differences(to, apart, p, q, tiles, n) },
				"spread":      func(k *winogradKernels, to []float32) { k.spread(to, apart, p, q, ld, tiles, n) },
				"results": func(k *winogradKernels, to []float32) {
					k.results(to, to[2*tiles*ld:], ld, m, apart, tiles, n)
				},
			} {
				got, want := normals(rng(1), tilePoints*apart+4*tiles*ld), normals(rng(1), tilePoints*apart+4*tiles*ld)
				do(&k.winogradKernels, got)
				do(&genericWinograd, want)
				require.Equal(t, want, got, "%s of %d tiles of %d channels", name, tiles, n)
			}
		}
	})
}

// The error of random normal numbers is that of the sums themselves: its root mean square is at most half as large
// again, of images, their gradients and those of weights.
func TestWinogradError(t *testing.T) {
	if testing.Short() {
		t.Skip("its sums in float64 take long")
	}
	s := square(8, 8, 64, 64, 3, 1, 1)
	for _, k := range convKinds {
		var rms [2]float64
		for i, direct := range []bool{false, true} {
			p := newPoolAt(t, 2, Detected())
			p.Direct = direct
			c := newConvCase(p, s, k, 0, 1)
			require.Equal(t, !direct, byTiles(c.conv))
			want, _ := c.sums()
			require.NoError(t, hold(p, c.conv))
			var squares, sizes float64
			for j, v := range elements(c.out) {
				squares += (float64(v) - want[j]) * (float64(v) - want[j])
				sizes += want[j] * want[j]
			}
			rms[i] = math.Sqrt(squares / sizes)
		}
		t.Logf("%v: relative error %.2g by tiles, %.2g as sums", k, rms[0], rms[1])
		require.Less(t, rms[0], 1.5*rms[1], "%v", k)
	}
}

// tileBounds are what sums by tiles may be off by. One rounding is more than the comment says for the levels without
// fused products.
func (c *convCase) tileBounds() []float64 {
	if c.kind == kind.ConvWeightGradient {
		return c.weightBounds()
	}
	s := &c.shape
	p, q := s.Out()
	src, dst := image{c.in[0], s.H, s.W, s.C}, image{c.out, p, q, s.K}
	above, left := s.Top, s.Left
	weight := func(r, t, a, b int) float64 { return c.in[1].abs(((r*3+t)*s.C+a)*s.K + b) }
	if c.kind == kind.ConvInputGradient {
		src, dst = image{c.in[0], p, q, s.K}, image{c.out, s.H, s.W, s.C}
		above, left = 2-s.Top, 2-s.Left
		weight = func(r, t, a, b int) float64 { return c.in[1].abs((((2-r)*3+2-t)*s.C+b)*s.K + a) }
	}
	g := make([][][]float64, src.channels*dst.channels)
	for i := range g {
		g[i] = around(absG, func(r, t int) float64 { return weight(r, t, i/dst.channels, i%dst.channels) })
	}
	bounds := make([]float64, size(c.out.Shape))
	u := float64(src.channels+11) * u32 * (1 + 1e-3)
	eachTile(s.N, dst.rows, dst.cols, func(n, i, j int) {
		d := make([][][]float64, src.channels)
		for a := range d {
			d[a] = around(absB, func(r, t int) float64 { return src.at(n, 2*i-above+r, 2*j-left+t, a) })
		}
		for b := range dst.channels {
			y := around(absA, func(r, t int) (sum float64) {
				for a := range d {
					sum += d[a][r][t] * g[a*dst.channels+b][r][t]
				}
				return sum
			})
			for r := range min(2, dst.rows-2*i) {
				for t := range min(2, dst.cols-2*j) {
					bounds[((n*dst.rows+2*i+r)*dst.cols+2*j+t)*dst.channels+b] = u * y[r][t]
				}
			}
		}
	})
	return bounds
}

// weightBounds are those of a gradient by weights.
func (c *convCase) weightBounds() []float64 {
	s := &c.shape
	p, q := s.Out()
	x, y := image{c.in[0], s.H, s.W, s.C}, image{c.in[1], p, q, s.K}
	sums, tiles := make([]float64, 16*s.C*s.K), 0
	eachTile(s.N, p, q, func(n, i, j int) {
		tiles++
		m := make([][][]float64, s.K)
		for k := range m {
			m[k] = around(transposed(absA), func(r, t int) float64 { return y.at(n, 2*i+r, 2*j+t, k) })
		}
		for a := range s.C {
			d := around(absB, func(r, t int) float64 { return x.at(n, 2*i-s.Top+r, 2*j-s.Left+t, a) })
			for k := range m {
				for e := range 16 {
					sums[e*s.C*s.K+a*s.K+k] += d[e/4][e%4] * m[k][e/4][e%4]
				}
			}
		}
	})
	bounds := make([]float64, size(c.out.Shape))
	u := float64(tiles+11) * u32 * (1 + 1e-3)
	for i := range s.C * s.K {
		g := around(transposed(absG), func(r, t int) float64 { return sums[(4*r+t)*s.C*s.K+i] })
		for t := range 9 {
			bounds[t*s.C*s.K+i] = u * g[t/3][t%3]
		}
	}
	return bounds
}

// image is images in an array.
type image struct {
	Array
	rows, cols, channels int
}

// at is the size of a channel of a pixel, 0 outside.
func (x image) at(n, h, w, c int) float64 {
	if h < 0 || h >= x.rows || w < 0 || w >= x.cols {
		return 0
	}
	return x.abs(((n*x.rows+h)*x.cols+w)*x.channels + c)
}

// abs is the size of element i of a dense array.
func (a *Array) abs(i int) float64 { return math.Abs(float64(a.Real[a.Off+i])) }

// eachTile goes over the tiles of n images.
func eachTile(n, rows, cols int, do func(n, i, j int)) {
	down, wide := (rows+1)/2, (cols+1)/2
	for t := range n * down * wide {
		do(t/wide/down, t/wide%down, t%wide)
	}
}

// The matrices of F(2×2, 3×3), without signs.
var (
	absB = [][]float64{{1, 0, 1, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 1, 0, 1}}
	absG = [][]float64{{1, 0, 0}, {.5, .5, .5}, {.5, .5, .5}, {0, 0, 1}}
	absA = [][]float64{{1, 1, 1, 0}, {0, 1, 1, 1}}
)

// around is l x lᵀ.
func around(l [][]float64, x func(i, j int) float64) [][]float64 {
	out := make([][]float64, len(l))
	for i := range out {
		out[i] = make([]float64, len(l))
		for j := range out[i] {
			for a, la := range l[i] {
				for b, lb := range l[j] {
					out[i][j] += la * lb * x(a, b)
				}
			}
		}
	}
	return out
}

func transposed(m [][]float64) [][]float64 {
	out := make([][]float64, len(m[0]))
	for i := range out {
		for j := range m {
			out[i] = append(out[i], m[j][i])
		}
	}
	return out
}
