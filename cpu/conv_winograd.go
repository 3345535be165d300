package cpu

import "bilevel/internal/expr"

// Convolutions with kernels of 3×3 and without stride, by Winograd's minimal algorithm F(2×2, 3×3) (Lavin and Gray,
// "Fast algorithms for convolutional neural networks", 2016, section 4.1). A tile of 2×2 results y is made of 4×4
// pixels d and 3×3 weights g with 16 multiplications where the sum itself takes 36,
//
//	y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A,
//
//	     ⎡1  0 -1  0⎤       ⎡ 1   0   0 ⎤        ⎡1 1  1 0⎤
//	Bᵀ = ⎢0  1  1  0⎥   G = ⎢1/2 1/2 1/2⎥   Aᵀ = ⎣0 1 -1 1⎦
//	     ⎢0 -1  1  0⎥       ⎢1/2-1/2 1/2⎥
//	     ⎣0 -1  0  1⎦       ⎣ 0   0   1 ⎦
//
// and the sums over channels turn the elementwise products ∘ into 16 products of matrices, tiles × channels by channels
// × channels. The gradient by images is the same with the kernel turned by half and its channels exchanged, and the
// gradient by weights, its adjoint in g, has 16 products too, whose terms are the tiles:
//
//	g' = Gᵀ [Σ over tiles of (Bᵀ d B) ∘ (A y' Aᵀ)] G.
//
// Channels lie last, so that each step of a transformation is a sum or a difference of rows of channels.
//
// Error. Every step is a sum of few terms, so that with |·| taken of each number, and a = |Aᵀ| and so on,
//
//	|fl(y) - y| ≤ (C+10) u Σ over the channels of a [(|G| |g| |Gᵀ|) ∘ (|Bᵀ| |d| |B|)] aᵀ + O(u²),
//
// 10 being the roundings that a term goes through besides its sum over C channels: 4 in G g Gᵀ (halves are exact), 2 in
// Bᵀ d B and 4 in the last step. For the gradient by weights it is the number of tiles plus 8: 2 in Bᵀ d B, 2 in A y'
// Aᵀ and 4 in the last step. The bound is not that of the sum itself, since pixels of the tile that are outside a
// result's own window enter too and cancel. Measured over random normal numbers the root mean square of the error is
// that of the sum itself (TestWinogradError). A number that is not finite may make all results of its tiles NaN.
type winograd struct {
	*convCall
	kernels     *kernels
	loops       *loops
	down, wide  int // tiles of an image
	left, above int // zeros around it
}

const (
	tilePoints = 16 // products of a tile
	tileEdge   = 4  // pixels of its edge
)

// newWinograd describes the tiles over results of rows × cols from an image with so many columns, or is nil where it
// does not apply.
func newWinograd(call *convCall, rows, cols, columns, above, left int) *winograd {
	s := &call.shape
	g := &winograd{
		call, kernelsOf(call.pool.level), loopsOf(call.pool.level), (rows + 1) / 2, (cols + 1) / 2, left, above,
	}
	if s.R != 3 || s.S != 3 || s.StrideH*s.StrideW*s.DilationH*s.DilationW != 1 || s.Groups > 1 || call.pool.Direct ||
		min(above, left) < 0 || left+columns > g.edge() {
		return nil
	}
	return g
}

// edge is the pixels of a row that tiles cover.
func (g *winograd) edge() int { return 2*g.wide + 2 }

// tileSource is an image, or some channels of it, whose tiles are taken. Beyond its sides are zeros.
type tileSource struct {
	data       []float32 // from the first of the channels on
	rows, cols int
	channels   int // of the image
	take       int // of them those that are read
}

// image is image n and those after it.
func (x tileSource) image(n int) tileSource {
	x.data = x.data[n*x.rows*x.cols*x.channels:]
	return x
}

// part is the channels from at on, of which there are at most n.
func (x tileSource) part(at, n int) tileSource {
	x.data, x.take = x.data[at:], min(n, x.channels-at)
	return x
}

// band is the rows of an image that meet a row of tiles, with zeros at the sides: row h is in slot h mod 4 of rows, and
// stays there for the next row of tiles. What lies above and below the image is zeros.
type band struct {
	all, x      tileSource // the images, and the present one
	image       int        // its number
	rows, zeros []float32
	width, left int // numbers of a row, and those before its first pixel
	end         int // rows below this one are there
}

// bandLength is the room that a band of so many channels takes.
func (g *winograd) bandLength(channels int) int { return (tileEdge + 1) * g.edge() * channels }

// newBand begins one of images x whose pixels begin in column left.
func (g *winograd) newBand(room []float32, x tileSource, left int) band {
	width := g.edge() * x.take
	clear(room[:(tileEdge+1)*width])
	return band{
		all: x, x: x, rows: room, zeros: room[tileEdge*width:][:width], width: width, left: left * x.take,
	}
}

// to goes to image n.
func (b *band) to(n int) {
	if n != b.image {
		b.image, b.x, b.end = n, b.all.image(n), 0
	}
}

// row is row h of the image, which the rows from there on may replace.
func (b *band) row(k *kernels, h int) []float32 {
	if h < 0 || h >= b.x.rows {
		return b.zeros
	}
	to := b.rows[h%tileEdge*b.width:][:b.width]
	if h >= b.end {
		n, from := b.x.take, b.x.data[h*b.x.cols*b.x.channels:]
		if n < b.x.channels {
			k.copyRows(to[b.left:], n, from, b.x.channels, b.x.cols, n)
		} else {
			copy(to[b.left:], from[:b.x.cols*n])
		}
		b.end = h + 1
	}
	return to
}

// apart is how far the points of so many numbers lie from each other: never a multiple of what the lines of a cache's
// set are apart, since the steps write all points of a tile one after the other.
func apart(numbers int) int { return roundUp(numbers, lineLen) + lineLen }

// pixels makes Bᵀ d B of the tiles of row i of an image, whose points are apart.
func (g *winograd) pixels(to []float32, apart int, b *band, i int) {
	k, n := g.kernels, b.x.take
	var d [tileEdge][]float32
	for a := range d {
		d[a] = b.row(k, 2*i-g.above+a)
	}
	row := func(a int) []float32 { return to[a*tileEdge*apart:] }
	k.differences(row(0), apart, d[0], d[2], g.wide, n)
	k.sums(row(1), apart, d[1], d[2], g.wide, n)
	k.differences(row(2), apart, d[2], d[1], g.wide, n)
	k.differences(row(3), apart, d[3], d[1], g.wide, n)
}

// turned makes G g Gᵀ: to [point] at distance apart, from the nine taps one after the other, n numbers each. room has
// as much room as seven of them.
func (g *winograd) turned(to []float32, apart int, taps []float32, n int, room []float32) {
	var u [tileEdge][3][]float32
	tap := func(i int) []float32 { return taps[i*n:][:n] }
	for s := range 3 {
		u[0][s], u[3][s] = tap(s), tap(6+s)
		u[1][s], u[2][s] = room[2*s*n:][:n], room[(2*s+1)*n:][:n]
		g.halves(u[1][s], u[2][s], tap(s), tap(3+s), tap(6+s), room[6*n:][:n])
	}
	for a := range tileEdge {
		point := func(b int) []float32 { return to[(a*tileEdge+b)*apart:][:n] }
		copy(point(0), u[a][0])
		copy(point(3), u[a][2])
		g.halves(point(1), point(2), u[a][0], u[a][1], u[a][2], room[6*n:][:n])
	}
}

// halves computes (a + c)/2 ± b/2.
func (g *winograd) halves(plus, minus, a, b, c, room []float32) {
	add, sub, times := g.loops.real[expr.Add].vv, g.loops.real[expr.Sub].vv, g.loops.real[expr.Mul].vs
	add(room, a, c)
	add(plus, room, b)
	sub(minus, room, b)
	times(plus, plus, 0.5)
	times(minus, minus, 0.5)
}

// taps makes Gᵀ u G of the sixteen arrays u, one after the other, n numbers each, in place: tap t is then the array
// tapPoint(t).
func (g *winograd) taps(u []float32, n int) {
	point := func(a, b int) []float32 { return u[(a*tileEdge+b)*n:][:n] }
	for a := range tileEdge {
		g.turnBack(point(a, 0), point(a, 1), point(a, 2), point(a, 3))
	}
	for _, b := range kept {
		g.turnBack(point(0, b), point(1, b), point(2, b), point(3, b))
	}
}

// kept are the rows of a tile's products in which turnBack leaves those of a kernel.
var kept = [3]int{0, 1, 3}

// tapPoint is where taps leaves tap t.
func tapPoint(t int) int { return kept[t/3]*tileEdge + kept[t%3] }

// turnBack makes u0 + (u1+u2)/2 of u0, (u1-u2)/2 of u1, and u3 + (u1+u2)/2 of u3: the rows of Gᵀ. u2 is lost.
func (g *winograd) turnBack(u0, u1, u2, u3 []float32) {
	add, sub, times := g.loops.real[expr.Add].vv, g.loops.real[expr.Sub].vv, g.loops.real[expr.Mul].vs
	times(u1, u1, 0.5)
	times(u2, u2, 0.5)
	add(u0, u0, u1)
	add(u0, u0, u2)
	add(u3, u3, u1)
	add(u3, u3, u2)
	sub(u1, u1, u2)
}

// pays says whether the transformations cost less than the multiplications that they spare. Few channels are summed
// as fast as they are transformed, and weights are transformed for nothing where they meet few tiles.
func (g *winograd) pays() bool {
	s := &g.shape
	return min(s.C, s.K) >= leastWinograd && s.N*g.down*g.wide >= leastWinogradTiles
}

const (
	// leastWinograd is the fewest channels, and leastWinogradTiles the fewest tiles, that are taken so.
	leastWinograd, leastWinogradTiles = 16, 64
)
