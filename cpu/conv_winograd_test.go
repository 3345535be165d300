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
	square(70, 3, 16, 24, 3, 1, 1),
	square(8, 7, 17, 20, 5, 1, 2),
	square(5, 11, 17, 16, 3, 1, 0),
	square(6, 7, 16, 18, 3, 1, 2),
	padded(square(7, 7, 40, 16, 3, 1, 0), 0, 1, 2, 0),
	padded(square(4, 13, 16, 19, 3, 1, 0), 2, 0, 0, 1),
	padded(square(8, 6, 16, 17, 3, 1, 0), 1, 6, 0, 1),
	padded(square(7, 9, 16, 33, 5, 1, 0), 1, 3, 2, 0),
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
			wide := s.C > 300 || s.K > 300
			if testing.Short() && ((i+int(k))%2 == 0 || wide && i%3 != int(k)) {
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

// winogradMatrices are the matrices for kernels of so many taps, made from the points by their definition.
func winogradMatrices(taps int) (b, g, a [][]float64) {
	points := []float64{0, pointA, -pointA, pointB, -pointB}
	// without is Π (t - q) over the points q but one, by powers of t; without(-1) is that over all.
	without := func(skip int) []float64 {
		p := []float64{1}
		for i, q := range points {
			if i == skip {
				continue
			}
			next := make([]float64, len(p)+1)
			for k, v := range p {
				next[k] -= q * v
				next[k+1] += v
			}
			p = next
		}
		return p
	}
	powers := func(p float64, n int) []float64 {
		list := make([]float64, n)
		for i := range list {
			list[i] = math.Pow(p, float64(i))
		}
		return list
	}
	side := tileEdge + 1 - taps
	for i, p := range points {
		difference := 1.0
		for k, q := range points {
			if k != i {
				difference *= p - q
			}
		}
		b = append(b, append(without(i), 0))
		row := powers(p, taps)
		for k := range row {
			row[k] /= difference
		}
		g, a = append(g, row), append(a, powers(p, side))
	}
	highest := func(n int) []float64 { // the power that is left at infinity
		list := make([]float64, n)
		list[n-1] = 1
		return list
	}
	return append(b, without(-1)), append(g, highest(taps)), append(a, highest(side))
}

// The matrices compute the sums of products that they stand for.
func TestWinogradMatrices(t *testing.T) {
	for _, size := range genericWinograd.sizes {
		b, g, a := winogradMatrices(size.taps)
		r := rng(3)
		for range 10 {
			d, w := make([]float64, tileEdge), make([]float64, size.taps)
			for i := range d {
				d[i] = r.NormFloat64()
			}
			for i := range w {
				w[i] = r.NormFloat64()
			}
			for i := range size.side() {
				var got float64
				for p := range tileEdge {
					got += a[p][i] * dot(g[p], w) * dot(b[p], d)
				}
				require.InDelta(t, dot(d[i:i+size.taps], w), got, 1e-13)
			}
		}
	}
}

func dot(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

// The kernels against their matrices, within the roundings that the comment of winograd counts, around and beyond the
// width of a vector; nothing else is written.
func TestWinogradKernels(t *testing.T) {
	type check struct {
		name      string
		apply     winogradMap
		matrix    [][]float64
		roundings float64
	}
	forKernels(t, func(t *testing.T, k *kernels) {
		pixels, _, _ := winogradMatrices(3)
		checks := []check{{"pixels", k.pixels, pixels, 4}}
		for _, size := range k.sizes {
			_, g, a := winogradMatrices(size.taps)
			checks = append(
				checks, check{"results", size.results, transposed(a), 4}, check{"spread", size.spread, a, 4},
				check{"weights", size.weights, g, 7}, check{"gather", size.gather, transposed(g), 7},
			)
		}
		for _, c := range checks {
			in, out := len(c.matrix[0]), len(c.matrix)
			r := rng(7)
			for n := 1; n < 40; n++ {
				groups := 1 + r.IntN(4)
				fromApart, toNext := n+r.IntN(3), n+r.IntN(3)
				fromNext, toApart := in*fromApart, groups*toNext+r.IntN(3)
				from := normals(r, groups*fromNext)
				got := make([]float32, out*toApart)
				for i := range got {
					got[i] = -77
				}
				want, bounds := make([]float64, len(got)), make([]float64, len(got))
				for i := range want {
					want[i] = -77
				}
				for i := range out * groups * n {
					i, group, j := i/n/groups, i/n%groups, i%n
					at := i*toApart + group*toNext + j
					want[at] = 0
					for q, m := range c.matrix[i] {
						term := m * float64(from[q*fromApart+group*fromNext+j])
						want[at] += term
						bounds[at] += c.roundings * u32 * (1 + 1e-3) * math.Abs(term)
					}
				}
				c.apply(got, toApart, toNext, from, fromApart, fromNext, groups, n)
				for i := range got {
					require.InDelta(t, want[i], float64(got[i]), bounds[i], "%s, %d groups of %d", c.name, groups, n)
				}
			}
		}
	})
}

// The error of random normal numbers, images, their gradients and those of weights: its root mean square beside that of
// the results is what the comment of winograd says.
func TestWinogradError(t *testing.T) {
	if testing.Short() {
		t.Skip("its sums in float64 take long")
	}
	for _, taps := range []int{3, 5} {
		s := square(8, 8, 64, 64, taps, 1, taps/2)
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
			t.Logf("%d×%d, %v: relative error %.2g by tiles, %.2g as sums", taps, taps, k, rms[0], rms[1])
			require.Less(t, rms[0], 1e-6, "%v", k)
		}
	}
}

// tileBounds are what sums by tiles may be off by.
func (c *convCase) tileBounds() []float64 {
	if c.kind == kind.ConvWeightGradient {
		return c.weightBounds()
	}
	s := &c.shape
	p, q := s.Out()
	side := tileEdge + 1 - s.R
	src, dst := image{c.in[0], s.H, s.W, s.C}, image{c.out, p, q, s.K}
	above, left := s.Top, s.Left
	weight := func(r, t, a, b int) float64 { return c.in[1].abs(((r*s.S+t)*s.C+a)*s.K + b) }
	if c.kind == kind.ConvInputGradient {
		src, dst = image{c.in[0], p, q, s.K}, image{c.out, s.H, s.W, s.C}
		above, left = s.R-1-s.Top, s.S-1-s.Left
		weight = func(r, t, a, b int) float64 { return c.in[1].abs((((s.R-1-r)*s.S+s.S-1-t)*s.C+b)*s.K + a) }
	}
	absB, absG, absA := absMatrices(s.R)
	g := make([][][]float64, src.channels*dst.channels)
	for i := range g {
		g[i] = around(absG, func(r, t int) float64 { return weight(r, t, i/dst.channels, i%dst.channels) })
	}
	bounds := make([]float64, size(c.out.Shape))
	u := float64(src.channels+30) * u32 * (1 + 1e-3)
	eachTile(side, s.N, dst.rows, dst.cols, func(n, i, j int) {
		d := make([][][]float64, src.channels)
		for a := range d {
			d[a] = around(absB, func(r, t int) float64 {
				return src.at(n, side*i-above+r, side*j-left+t, a)
			})
		}
		for b := range dst.channels {
			y := around(transposed(absA), func(r, t int) (sum float64) {
				for a := range d {
					sum += d[a][r][t] * g[a*dst.channels+b][r][t]
				}
				return sum
			})
			for r := range min(side, dst.rows-side*i) {
				for t := range min(side, dst.cols-side*j) {
					at := (n*dst.rows+side*i+r)*dst.cols + side*j + t
					bounds[at*dst.channels+b] = u * y[r][t]
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
	side := tileEdge + 1 - s.R
	x, y := image{c.in[0], s.H, s.W, s.C}, image{c.in[1], p, q, s.K}
	absB, absG, absA := absMatrices(s.R)
	sums, tiles := make([]float64, tilePoints*s.C*s.K), 0
	eachTile(side, s.N, p, q, func(n, i, j int) {
		tiles++
		m := make([][][]float64, s.K)
		for k := range m {
			m[k] = around(absA, func(r, t int) float64 { return y.at(n, side*i+r, side*j+t, k) })
		}
		for a := range s.C {
			d := around(absB, func(r, t int) float64 {
				return x.at(n, side*i-s.Top+r, side*j-s.Left+t, a)
			})
			for k := range m {
				for e := range tilePoints {
					sums[e*s.C*s.K+a*s.K+k] += d[e/tileEdge][e%tileEdge] * m[k][e/tileEdge][e%tileEdge]
				}
			}
		}
	})
	bounds := make([]float64, size(c.out.Shape))
	u := float64(tiles+30) * u32 * (1 + 1e-3)
	for i := range s.C * s.K {
		g := around(transposed(absG), func(r, t int) float64 { return sums[(tileEdge*r+t)*s.C*s.K+i] })
		for t := range s.R * s.S {
			bounds[t*s.C*s.K+i] = u * g[t/s.S][t%s.S]
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
func eachTile(side, n, rows, cols int, do func(n, i, j int)) {
	down, wide := (rows+side-1)/side, (cols+side-1)/side
	for t := range n * down * wide {
		do(t/wide/down, t/wide%down, t%wide)
	}
}

// absMatrices are the matrices without signs.
func absMatrices(taps int) (b, g, a [][]float64) {
	b, g, a = winogradMatrices(taps)
	for _, m := range [][][]float64{b, g, a} {
		for _, row := range m {
			for i := range row {
				row[i] = math.Abs(row[i])
			}
		}
	}
	return b, g, a
}

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
