package cpu

import "slices"

// Convolutions with kernels of 3×3 or 5×5 and without stride, by Winograd's minimal algorithms F(4×4, 3×3) and F(2×2,
// 5×5) (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016, section 4, with other points). A
// tile of 4×4 results y, or 2×2, is made of 6×6 pixels d and the weights g with 36 multiplications where the sum itself
// takes 144, or 100,
//
//	y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A.
//
// Along one axis, d and g are the coefficients of polynomials that are evaluated at the points 0, ±a, ±b and infinity,
// multiplied there, and interpolated. With a = 5/8 and b = 3/2, p = a²b², s = a²+b², α = 1/(2a²(a²-b²)) and
// β = 1/(2b²(b²-a²)),
//
//	     ⎡p   0   -s   0  1  0⎤       ⎡1/p  0   0  …⎤
//	     ⎢0 -ab²  -b²  a  1  0⎥       ⎢ α   αa αa² …⎥        ⎡1  1   1   1   1  0⎤
//	Bᵀ = ⎢0  ab²  -b² -a  1  0⎥   G = ⎢ α  -αa αa² …⎥   Aᵀ = ⎢0  a  -a   b  -b  0⎥
//	     ⎢0 -a²b  -a²  b  1  0⎥       ⎢ β   βb βb² …⎥        ⎢0  a²  a²  b²  b² 0⎥
//	     ⎢0  a²b  -a² -b  1  0⎥       ⎢ β  -βb βb² …⎥        ⎣0  a³ -a³  b³ -b³ 1⎦
//	     ⎣0   p    0  -s  0  1⎦       ⎣ 0   0   …  1⎦
//
// where G has as many columns of powers as a kernel has, and Aᵀ, for 5×5, the first two rows, with the 1 of infinity in
// the second. The sums over channels turn the elementwise products ∘ into 36 products of matrices, tiles × channels by
// channels × channels. The gradient by images is the same with the kernel turned by half and its channels exchanged,
// and the gradient by weights, its adjoint in g, has 36 products too, whose terms are the tiles:
//
//	g' = Gᵀ [Σ over tiles of (Bᵀ d B) ∘ (A y' Aᵀ)] G.
//
// Channels lie last, so that each matrix is applied to rows of channels, first down a tile and then across it.
//
// Error. A matrix is applied by few operations, of which a number goes through at most four (Bᵀ, A and Aᵀ) or seven (G
// and Gᵀ, whose constants are rounded too) along an axis. So with |·| taken of each number,
//
//	|fl(y) - y| ≤ (C+30) u Σ over the channels of |Aᵀ| [(|G| |g| |Gᵀ|) ∘ (|Bᵀ| |d| |B|)] |A| + O(u²),
//
// 30 being two axes of 4, 7 and 4, and C the roundings of a product and of a sum over C channels. For the gradient by
// weights the number of tiles stands for C. The bound is not that of the sum itself, since pixels of the tile that are
// outside a result's own window enter too and cancel. Measured over random normal numbers, 64 channels, the root mean
// square of the error is 8e-7 of that of the results for 3×3 and 9e-7 for 5×5, and 2 to 3e-7 where the sums themselves
// are computed (TestWinogradError). Of the points ±a and ±b, multiples of 1/16 and 1/8, it is within 2 % of the least
// for these, whose powers float32 has without rounding; with ±1 and ±2 it is twice as large. A number that is not
// finite may make all results of its tiles NaN.
type winograd struct {
	*convCall
	*winogradSize
	kernels    *kernels
	down, wide int // tiles of an image
}

const (
	tilePoints = tileEdge * tileEdge // products of a tile
	tileEdge   = 6                   // pixels of its edge
)

// newWinograd describes the tiles over results of rows × cols from an image with so many columns, and so many zeros
// above it and to its left. It is nil where they do not apply or the transformations cost more than the multiplications
// that they spare: few channels are summed as fast as they are transformed, and weights are transformed for nothing
// where they meet few tiles.
func newWinograd(call *convCall, rows, cols, columns, above, left int) *winograd {
	s, k := &call.shape, kernelsOf(call.pool.level)
	size := slices.IndexFunc(k.sizes[:], func(z winogradSize) bool { return z.taps == s.R })
	if size < 0 || s.S != s.R || s.StrideH*s.StrideW*s.DilationH*s.DilationW != 1 || s.Groups > 1 || call.pool.Direct ||
		min(s.C, s.K) < leastWinograd || s.N*rows*cols < leastWinogradPixels {
		return nil
	}
	g := &winograd{convCall: call, winogradSize: &k.sizes[size], kernels: k}
	g.down, g.wide = g.tilesAlong(rows), g.tilesAlong(cols)
	if min(above, left) < 0 || left+columns > g.edge() ||
		2*g.taps*g.taps*rows*cols < 3*tilePoints*g.down*g.wide {
		return nil
	}
	return g
}

const (
	// leastWinograd is the fewest channels, and leastWinogradPixels the fewest results, that are taken so; two thirds
	// of the multiplications are the most.
	leastWinograd, leastWinogradPixels = 16, 256
)

// tilesAlong is the tiles along so many results.
func (z *winogradSize) tilesAlong(results int) int { return (results + z.side() - 1) / z.side() }

// edge is the pixels of a row that tiles cover.
func (g *winograd) edge() int { return g.side()*g.wide + tileEdge - g.side() }

// apart is how far the points of so many numbers lie from each other: never a multiple of what the lines of a cache's
// set are apart, since the steps write all points of a tile one after the other.
func apart(numbers int) int { return roundUp(numbers, lineLen) + lineLen }

// tileSource is images, or some of their channels, whose tiles are transformed: M d Mᵀ, with size × size pixels d.
type tileSource struct {
	data        []float32 // from the first of the channels on
	rows, cols  int
	channels    int // of the image
	take        int // of them those that are read
	above, left int // zeros around the image
	size        int
	m           winogradMap
}

// part is the channels from at on, of which there are at most n.
func (x tileSource) part(at, n int) tileSource {
	x.data, x.take = x.data[at:], min(n, x.channels-at)
	return x
}

// points is a source with the room to transform its tiles.
type points struct {
	*winograd
	tileSource
	lines    []float32 // the rows of M d, with the zeros beside the image
	distance int       // between them
	border   []float32 // the pixels of tiles that are partly above or below the image
}

// pointsRoom is the numbers that newPoints takes for so many channels.
func (g *winograd) pointsRoom(channels int) int {
	return tileEdge * (apart(g.edge()*channels) + g.edge()*channels)
}

// newPoints begins to transform x.
func (g *winograd) newPoints(x tileSource, room []float32) points {
	distance := apart(g.edge() * x.take)
	clear(room[:tileEdge*distance])
	return points{g, x, room, distance, room[tileEdge*distance:]}
}

// transform makes the points of row i of tiles, those of all images counted: to [point] at distance apart, the channels
// of a tile after those of the tile before.
func (p *points) transform(to []float32, apart, i int) {
	x, n, row := &p.tileSource, p.take, p.cols*p.channels
	image, top := i/p.down*x.rows, i%p.down*p.side()-x.above
	lines := p.lines[x.left*n:]
	pixels := func(r int) []float32 { return x.data[(image+top+r)*row:] }
	switch lo, hi := max(0, -top), min(x.size, x.rows-top); { // the rows that are in the image
	case hi-lo < x.size:
		width := x.cols * n
		clear(p.border[:x.size*width])
		for r := lo; r < hi; r++ {
			p.kernels.copyRows(p.border[r*width:], n, pixels(r), x.channels, x.cols, n)
		}
		x.m(lines, p.distance, 0, p.border, width, 0, 1, width)
	case n == x.channels:
		x.m(lines, p.distance, 0, pixels(0), row, 0, 1, row)
	default:
		x.m(lines, p.distance, n, pixels(0), row, x.channels, x.cols, n)
	}
	for a := range tileEdge {
		x.m(to[a*tileEdge*apart:], apart, n, p.lines[a*p.distance:], n, p.side()*n, p.wide, n)
	}
}

// weightPoints makes G g Gᵀ: to [point] at distance apart, from the taps one after the other, n numbers each. room has
// as much room as weightPointsRoom(n) says.
func (z *winogradSize) weightPoints(to []float32, apart int, taps []float32, n int, room []float32) {
	z.weights(room, z.taps*n, 0, taps, z.taps*n, 0, 1, z.taps*n)
	z.weights(to, apart, tileEdge*apart, room, n, z.taps*n, tileEdge, n)
}

func (z *winogradSize) weightPointsRoom(n int) int { return tileEdge * z.taps * n }

// gatherTaps makes Gᵀ u G of the 36 arrays u, one after the other, n numbers each, in place: the first ones are then
// the taps.
func (z *winogradSize) gatherTaps(u []float32, n int) {
	z.gather(u, tileEdge*n, 0, u, tileEdge*n, 0, 1, tileEdge*n)
	z.gather(u, n, z.taps*n, u, n, tileEdge*n, z.taps, n)
}

// wholeTiles is the rows of wide tiles, about so many tiles, whose products leave no panel of few tiles.
func (k *kernels) wholeTiles(tiles, wide int) int {
	rows := tiles / wide
	for r := rows; r > rows/2; r-- {
		if r*wide%k.most[k.wide] == 0 {
			return r
		}
	}
	return rows
}
