package cpu

import "bilevel/internal/kind"

// convWinograd makes images from images by tiles: the convolution or its gradient by images. Run first transforms the
// weights, for all threads, and then shares the rows of tiles. Channels of the result whose weights would need more
// room than winogradRoom are taken some at a time.
type convWinograd struct {
	*winograd
	ending
	src          tileSource
	dst          images
	transforming winogradWeights
	block, strip int // channels of the result at a time, and those of a kernel
	vecs         int
	rows         int // rows of tiles of an item
	col, cols    int // the channels of this pass
	nanos        float64
	// where a worker has the transformed pixels, their products, a tile's results down its columns, results that have
	// no place yet, and room for the steps between
	pixelsAt, productsAt, downAt, resultsAt, roomAt int
}

const (
	// winogradTiles is about the most tiles of an item, and winogradPixels the most numbers of them.
	winogradTiles, winogradPixels = 72, 1 << 18
	// winogradRoom is about the most numbers of transformed weights.
	winogradRoom = 3 << 18
)

// newConvWinograd is nil where the sums themselves are as fast.
func newConvWinograd(call *convCall) *convWinograd {
	s := &call.shape
	kernels := kernelsOf(call.pool.level)
	src := tileSource{nil, s.H, s.W, s.C, s.C, s.Top, s.Left, tileEdge, kernels.pixels}
	dst := images{nil, call.p, call.q, s.K}
	if call.kind == kind.ConvInputGradient {
		src = tileSource{
			nil, call.p, call.q, s.K, s.K, s.R - 1 - s.Top, s.S - 1 - s.Left, tileEdge, kernels.pixels,
		}
		dst = images{nil, s.H, s.W, s.C}
	}
	src.data = call.a.Real[call.a.Off:]
	g := newWinograd(call, dst.rows, dst.cols, src.cols, src.above, src.left)
	if g == nil {
		return nil
	}
	c := &convWinograd{winograd: g, ending: call.ending(), src: src, dst: dst}
	parts := (tilePoints*src.take*dst.channels + winogradRoom - 1) / winogradRoom
	c.block = equalParts(dst.channels, max(lineLen, dst.channels/parts))
	c.vecs = c.kernels.wide
	c.strip = min(c.block, c.vecs*c.kernels.lanes)
	tiles := min(winogradTiles, winogradPixels/(tilePoints*src.take))
	c.rows = max(1, min(g.kernels.wholeTiles(tiles, g.wide), s.N*g.down))
	slots := c.rows * g.wide

	reals, ints := c.program.scratch()
	need := room(reals)
	c.pixelsAt = need.take(tilePoints * apart(slots*src.take))
	c.productsAt = need.take(tilePoints * apart(slots*c.strip))
	c.downAt = need.take(tilePoints * apart(g.wide*c.strip))
	c.roomAt = need.take(max(g.pointsRoom(src.take), c.side()*g.wide*c.strip))
	if !c.sumsInOut {
		c.resultsAt = need.take(c.side() * c.rows * dst.cols * c.block)
	}
	c.transforming = winogradWeights{convWinograd: c}
	c.pool.reserve(max(int(need), c.transforming.room()), ints)
	c.pool.reserveCommon(tilePoints * src.take * c.block)
	c.nanos = float64(s.N*g.down*g.wide) * float64(tilePoints*src.take*c.block) / c.kernels.rate
	return c
}

// Run does the work; the caller holds the pool.
func (c *convWinograd) Run() error {
	c.program.begin(c.pool.workers[0])
	for c.col = 0; c.col < c.dst.channels; c.col += c.block {
		c.cols = min(c.block, c.dst.channels-c.col)
		c.pool.share(c.transforming.items(), c.transforming.nanos(), &c.transforming)
		c.pool.share((c.shape.N*c.down+c.rows-1)/c.rows, c.nanos+c.ending.nanos(), c)
	}
	return nil
}

// strips is the number of strips of the channels of this pass.
func (c *convWinograd) strips() int { return (c.cols + c.strip - 1) / c.strip }

// panel is the transformed weights of a point for the channels of a strip: [channel of the source, channel].
func (c *convWinograd) panel(point, strip int) []float32 {
	return c.pool.common[(point*c.cols+strip*c.strip)*c.src.take:]
}

// Do computes some rows of tiles.
func (c *convWinograd) Do(w *Worker, item int) {
	n := c.src.take
	first, end := item*c.rows, min((item+1)*c.rows, c.shape.N*c.down)
	slots := (end - first) * c.wide
	in, out := apart(slots*n), apart(slots*c.strip)
	pixels, products := w.real[c.pixelsAt:], w.real[c.productsAt:]
	p := c.newPoints(c.src, w.real[c.roomAt:])
	for i := first; i < end; i++ {
		p.transform(pixels[(i-first)*c.wide*n:], in, i)
	}
	for s := range c.strips() {
		width := min(c.strip, c.cols-s*c.strip)
		for e := range tilePoints {
			c.kernels.column(slots, c.vecs, width, n, pixels[e*in:], n, 1, c.panel(e, s), products[e*out:])
		}
		for i := first; i < end; i++ {
			c.write(w, products[(i-first)*c.wide*width:], out, c.row(w, first, i), s*c.strip, width)
		}
	}
	for i := first; i < end; i++ {
		c.end(w, c.row(w, first, i))
	}
}

// resultRow is where the results of a row of tiles are: their place in out, that of the sums, and the number of lines.
type resultRow struct {
	at    int
	sums  []float32
	ld    int // from pixel to pixel
	lines int
}

func (c *convWinograd) row(w *Worker, first, i int) resultRow {
	image, top := i/c.down, i%c.down*c.side()
	r := resultRow{
		at: ((image*c.dst.rows+top)*c.dst.cols)*c.dst.channels + c.col, lines: min(c.side(), c.dst.rows-top),
	}
	r.sums, r.ld = c.to[r.at:], c.dst.channels
	if !c.sumsInOut {
		r.sums, r.ld = w.real[c.resultsAt+(i-first)*c.side()*c.dst.cols*c.cols:], c.cols
	}
	return r
}

// write makes the sums of some channels of a row of tiles from their products, of which those of a point are apart.
func (c *convWinograd) write(w *Worker, products []float32, distance int, to resultRow, col, width int) {
	down, n := w.real[c.downAt:], c.wide*width
	line := apart(n)
	c.results(down, tileEdge*line, line, products, tileEdge*distance, distance, tileEdge, n)
	for r := range to.lines {
		sums := to.sums[r*c.dst.cols*to.ld+col:]
		from := down[r*tileEdge*line:]
		if c.dst.cols%c.side() == 0 {
			c.results(sums, to.ld, c.side()*to.ld, from, line, width, c.wide, width)
			continue
		}
		whole := w.real[c.roomAt:]
		c.results(whole, width, c.side()*width, from, line, width, c.wide, width)
		c.kernels.copyRows(sums, to.ld, whole, width, c.dst.cols, width)
	}
}

// end makes the results of the sums of a row of tiles.
func (c *convWinograd) end(w *Worker, row resultRow) {
	pixels := row.lines * c.dst.cols
	switch {
	case c.none && c.sumsInOut:
	case c.cols == c.dst.channels:
		c.finish(w, row.at, row.sums[:pixels*row.ld])
	default: // some channels of each pixel
		for j := range pixels {
			c.finish(w, row.at+j*c.dst.channels, row.sums[j*row.ld:][:c.cols])
		}
	}
}

// winogradWeights transforms the weights of a pass into the pool's common memory, an item those of some channels of the
// source.
type winogradWeights struct{ *convWinograd }

// winogradTerms is the channels of the source in an item.
const winogradTerms = 8

// room is the numbers that an item needs: the taps of a strip, and what weightPoints takes besides.
func (c *winogradWeights) room() int {
	n := winogradTerms * c.strip
	return c.taps*c.taps*n + c.weightPointsRoom(n)
}

func (c *winogradWeights) items() int { return (c.src.take + winogradTerms - 1) / winogradTerms }

func (c *winogradWeights) nanos() float64 {
	const step = 0.1
	return step * float64(tilePoints*c.src.take*c.cols)
}

// Do transforms the weights of one item.
func (c *winogradWeights) Do(w *Worker, item int) {
	s := &c.shape
	from := item * winogradTerms
	terms := min(winogradTerms, c.src.take-from)
	for strip := range c.strips() {
		col := c.col + strip*c.strip
		width := min(c.strip, c.col+c.cols-col)
		n := width * terms
		taps, room := w.real[:c.taps*c.taps*n], w.real[c.taps*c.taps*n:]
		for t := range c.taps * c.taps {
			tap := c.b.Real[c.b.Off+t*s.C*s.K:]
			if c.kind == kind.ConvForward {
				c.kernels.copyRows(taps[t*n:], width, tap[from*s.K+col:], s.K, terms, width)
			} else {
				c.kernels.transpose(taps[(c.taps*c.taps-1-t)*n:], width, tap[col*s.K+from:], s.K, width, terms)
			}
		}
		c.weightPoints(c.panel(0, strip)[from*width:], c.cols*c.src.take, taps, n, room)
	}
}
