package cpu

// Convolutions with kernels of 3×3 and without stride, by Winograd's minimal algorithm F(4×4, 3×3) (Lavin and Gray,
// "Fast algorithms for convolutional neural networks", 2016, section 4.3, with other points). A tile of 4×4 results y
// is made of 6×6 pixels d and 3×3 weights g with 36 multiplications where the sum itself takes 144,
//
//	y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A.
//
// Along one axis, d and g are the coefficients of polynomials that are evaluated at the points 0, ±a, ±b and infinity,
// multiplied there, and interpolated. With a = 5/8 and b = 3/2, p = a²b², s = a²+b², α = 1/(2a²(a²-b²)) and
// β = 1/(2b²(b²-a²)),
//
//	     ⎡p   0   -s   0  1  0⎤       ⎡1/p  0   0 ⎤
//	     ⎢0 -ab²  -b²  a  1  0⎥       ⎢ α   αa αa²⎥        ⎡1  1   1   1   1  0⎤
//	Bᵀ = ⎢0  ab²  -b² -a  1  0⎥   G = ⎢ α  -αa αa²⎥   Aᵀ = ⎢0  a  -a   b  -b  0⎥
//	     ⎢0 -a²b  -a²  b  1  0⎥       ⎢ β   βb βb²⎥        ⎢0  a²  a²  b²  b² 0⎥
//	     ⎢0  a²b  -a² -b  1  0⎥       ⎢ β  -βb βb²⎥        ⎣0  a³ -a³  b³ -b³ 1⎦
//	     ⎣0   p    0  -s  0  1⎦       ⎣ 0   0   1 ⎦
//
// The sums over channels turn the elementwise products ∘ into 36 products of matrices, tiles × channels by channels ×
// channels. The gradient by images is the same with the kernel turned by half and its channels exchanged, and the
// gradient by weights, its adjoint in g, has 36 products too, whose terms are the tiles:
//
//	g' = Gᵀ [Σ over tiles of (Bᵀ d B) ∘ (A y' Aᵀ)] G.
//
// Channels lie last, so that each matrix is applied to rows of channels, first down a tile and then across it.
//
// Error. A matrix is applied by few operations, of which a number goes through at most four (Bᵀ, A and Aᵀ) or five (G
// and Gᵀ, whose constants are rounded too) along an axis. So with |·| taken of each number,
//
//	|fl(y) - y| ≤ (C+26) u Σ over the channels of |Aᵀ| [(|G| |g| |Gᵀ|) ∘ (|Bᵀ| |d| |B|)] |A| + O(u²),
//
// 26 being two axes of 4, 5 and 4, and C the roundings of a product and of a sum over C channels. For the gradient by
// weights the number of tiles stands for C. The bound is not that of the sum itself, since pixels of the tile that are
// outside a result's own window enter too and cancel. Measured over random normal numbers the root mean square of the
// error is XXX times that of the sum itself (TestWinogradError). Of the points ±a and ±b, multiples of 1/16 and 1/8, it
// is within 2 % of the least for these, whose powers float32 has without rounding; with ±1 and ±2 it is twice as large.
// A number that is not finite may make all results of its tiles NaN.
type winograd struct {
	*convCall
	kernels     *kernels
	down, wide  int // tiles of an image
	above, left int // zeros around it
}

const (
	tilePoints  = 36 // products of a tile
	tileEdge    = 6  // pixels of its edge
	tileResults = 4  // results of its edge
	tileTaps    = 3  // weights of its edge
)

// newWinograd describes the tiles over results of rows × cols from an image with so many columns. It is nil where they
// do not apply or the transformations cost more than the multiplications that they spare: few channels are summed as
// fast as they are transformed, and weights are transformed for nothing where they meet few tiles.
func newWinograd(call *convCall, rows, cols, columns, above, left int) *winograd {
	s := &call.shape
	g := &winograd{call, kernelsOf(call.pool.level), tilesAlong(rows), tilesAlong(cols), above, left}
	if s.R != tileTaps || s.S != tileTaps || s.StrideH*s.StrideW*s.DilationH*s.DilationW != 1 || s.Groups > 1 ||
		call.pool.Direct || min(above, left) < 0 || left+columns > g.edge() ||
		min(s.C, s.K) < leastWinograd || s.N*rows*cols < leastWinogradPixels ||
		rows*cols < leastTileResults*g.down*g.wide {
		return nil
	}
	return g
}

const (
	// leastWinograd is the fewest channels, leastWinogradPixels the fewest results, and leastTileResults the fewest
	// results of an average tile that are taken so.
	leastWinograd, leastWinogradPixels, leastTileResults = 16, 256, 6
)

// tilesAlong is the tiles along so many results.
func tilesAlong(results int) int { return (results + tileResults - 1) / tileResults }

// edge is the pixels of a row that tiles cover.
func (g *winograd) edge() int { return tileResults*g.wide + tileEdge - tileResults }

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

// make transforms row i of tiles, those of all images counted: to [point] at distance apart, the channels of a tile
// after those of the tile before.
func (p *points) make(to []float32, apart, i int) {
	x, n, row := &p.tileSource, p.take, p.cols*p.channels
	image, top := i/p.down*x.rows, i%p.down*tileResults-x.above
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
		x.m(to[a*tileEdge*apart:], apart, n, p.lines[a*p.distance:], n, tileResults*n, p.wide, n)
	}
}

// weightPoints makes G g Gᵀ: to [point] at distance apart, from the nine taps one after the other, n numbers each. room
// has as much room as weightPointsRoom(n) says.
func (g *winograd) weightPoints(to []float32, apart int, taps []float32, n int, room []float32) {
	g.kernels.weights(room, tileTaps*n, 0, taps, tileTaps*n, 0, 1, tileTaps*n)
	g.kernels.weights(to, apart, tileEdge*apart, room, n, tileTaps*n, tileEdge, n)
}

func weightPointsRoom(n int) int { return tileEdge * tileTaps * n }

// taps makes Gᵀ u G of the 36 arrays u, one after the other, n numbers each, in place: the first nine are then the
// taps.
func (g *winograd) taps(u []float32, n int) {
	g.kernels.taps(u, tileEdge*n, 0, u, tileEdge*n, 0, 1, tileEdge*n)
	g.kernels.taps(u, n, tileTaps*n, u, n, tileEdge*n, tileTaps, n)
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
