package cpu

import (
	"bilevel/internal/kind"
)

// convWinograd makes images from images by tiles: the convolution or its gradient by images. Run first transforms the
// weights, for all threads, and then shares the rows of tiles. Channels of the result whose weights would need more
// room than winogradRoom are taken some at a time.
type convWinograd struct {
	*winograd
	ending
	src          tileSource
	dst          images
	weights      winogradWeights
	block, strip int // channels of the result at a time, and those of a kernel
	vecs         int
	rows         int // rows of tiles of an item
	col, cols    int // the channels of this pass
	nanos        float64
	pixelsAt     int // where a worker has the transformed pixels, their products, and so on
	productsAt   int
	bandAt       int
	linesAt      int
}

const (
	// winogradTiles is about the number of tiles of an item, and winogradPixels the most numbers of them.
	winogradTiles, winogradPixels = 64, 1 << 18
	// winogradRoom is about the most numbers of transformed weights.
	winogradRoom = 1 << 19
)

// newConvWinograd is nil where the sums themselves are as fast.
func newConvWinograd(call *convCall) *convWinograd {
	s := &call.shape
	src, dst := tileSource{nil, s.H, s.W, s.C, s.C}, images{nil, call.p, call.q, s.K}
	above, left := s.Top, s.Left
	if call.kind == kind.ConvInputGradient {
		src, dst = tileSource{nil, call.p, call.q, s.K, s.K}, images{nil, s.H, s.W, s.C}
		above, left = 2-s.Top, 2-s.Left
	}
	src.data = call.a.Real[call.a.Off:]
	g := newWinograd(call, dst.rows, dst.cols, src.cols, above, left)
	if g == nil || !g.pays() {
		return nil
	}
	c := &convWinograd{winograd: g, ending: call.ending(), src: src, dst: dst}
	parts := (tilePoints*src.take*dst.channels + winogradRoom - 1) / winogradRoom
	c.block = equalParts(dst.channels, max(lineLen, dst.channels/parts))
	c.vecs = c.kernels.wide
	c.strip = min(c.block, c.vecs*c.kernels.lanes)
	tiles := min(winogradTiles, max(1, winogradPixels/(tilePoints*src.take)))
	c.rows = max(1, min(tiles/g.wide, s.N*g.down))
	slots := c.rows * g.wide

	reals, ints := c.program.scratch()
	need := room(reals)
	c.pixelsAt = need.take(tilePoints * apart(slots*src.take))
	c.productsAt = need.take(tilePoints * apart(slots*c.block))
	c.bandAt = need.take(g.bandLength(src.take))
	c.linesAt = need.take(2 * 2 * g.wide * c.block)
	c.weights = winogradWeights{convWinograd: c}
	c.pool.reserve(max(int(need), c.weights.room()), ints)
	c.pool.reserveCommon(tilePoints * src.take * c.block)
	c.nanos = float64(s.N*g.down*slots/c.rows) * float64(tilePoints*src.take*c.block) / c.kernels.rate
	return c
}

// Run does the work; the caller holds the pool.
func (c *convWinograd) Run() error {
	c.program.begin(c.pool.workers[0])
	for c.col = 0; c.col < c.dst.channels; c.col += c.block {
		c.cols = min(c.block, c.dst.channels-c.col)
		c.pool.share(c.weights.items(), c.weights.nanos(), &c.weights)
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
	n, m := c.src.take, c.cols
	first, end := item*c.rows, min((item+1)*c.rows, c.shape.N*c.down)
	slots := (end - first) * c.wide
	in, out := apart(slots*n), apart(slots*m)
	pixels, products := w.real[c.pixelsAt:], w.real[c.productsAt:]
	b := c.newBand(w.real[c.bandAt:], c.src, c.left)
	for i := first; i < end; i++ {
		b.to(i / c.down)
		c.pixels(pixels[(i-first)*c.wide*n:], in, &b, i%c.down)
	}
	most := c.kernels.most[c.vecs]
	panels := (slots + most - 1) / most
	for e := range tilePoints {
		a, to := pixels[e*in:], products[e*out:]
		for s := range c.strips() {
			col := s * c.strip
			width := min(c.strip, m-col)
			b := c.panel(e, s)
			for p := range panels {
				lo, hi := slots*p/panels, slots*(p+1)/panels
				c.kernels.tile(hi-lo, c.vecs, width, n, a[lo*n:], n, 1, b, width, to[lo*m+col:], m, false,
					lookahead{addressOf(a, lo*n), 4, 0})
			}
		}
	}
	for i := first; i < end; i++ {
		c.results(w, products[(i-first)*c.wide*m:], out, i)
	}
}

// results makes the results of row i of tiles from their products, of which those of a point are apart.
func (c *convWinograd) results(w *Worker, products []float32, apart, i int) {
	m := c.cols
	n, i := i/c.down, i%c.down
	at := (n*c.dst.rows+2*i)*c.dst.cols*c.dst.channels + c.col // of the first result
	below := c.dst.cols * c.dst.channels
	sums, ld, length := c.to[at:], c.dst.channels, below
	whole := c.sumsInOut && c.dst.cols%2 == 0 && 2*i+1 < c.dst.rows
	if !whole {
		sums, ld, length = w.real[c.linesAt:], m, 2*c.wide*m
	}
	c.kernels.results(sums, sums[length:], ld, products, apart, c.wide, m)
	for row := range min(2, c.dst.rows-2*i) {
		line, ld, at := sums[row*length:], ld, at+row*below
		if !whole && c.sumsInOut {
			c.kernels.copyRows(c.to[at:], c.dst.channels, line, m, c.dst.cols, m)
			line, ld = c.to[at:], c.dst.channels
		}
		c.end(w, at, line, ld)
	}
}

// end makes the results of the sums of a row, which begin at place at of out.
func (c *convWinograd) end(w *Worker, at int, sums []float32, ld int) {
	switch {
	case c.none && c.sumsInOut:
	case ld == c.cols && c.cols == c.dst.channels:
		c.finish(w, at, sums[:c.dst.cols*ld])
	default: // some channels of each pixel
		for j := range c.dst.cols {
			c.finish(w, at+j*c.dst.channels, sums[j*ld:][:c.cols])
		}
	}
}

// winogradWeights transforms the weights of a pass into the pool's common memory, an item some channels of the source
// in one strip.
type winogradWeights struct{ *convWinograd }

// winogradTerms is the channels of the source in an item.
const winogradTerms = 32

// room is the numbers that an item needs: nine taps, and what turned takes besides.
func (c *winogradWeights) room() int { return (9 + 7) * winogradTerms * c.strip }

func (c *winogradWeights) items() int {
	return c.strips() * ((c.src.take + winogradTerms - 1) / winogradTerms)
}

func (c *winogradWeights) nanos() float64 {
	const step = 0.1
	return 4 * step * float64(tilePoints*c.src.take*c.cols)
}

// Do transforms the weights of one item.
func (c *winogradWeights) Do(w *Worker, item int) {
	s := &c.shape
	strip, from := item%c.strips(), item/c.strips()*winogradTerms
	width, terms := min(c.strip, c.cols-strip*c.strip), min(winogradTerms, c.src.take-from)
	col, n := c.col+strip*c.strip, width*terms
	taps, room := w.real[:9*n], w.real[9*n:]
	for t := range 9 {
		tap := c.b.Real[c.b.Off+t*s.C*s.K:]
		if c.kind == kind.ConvForward {
			c.kernels.copyRows(taps[t*n:], width, tap[from*s.K+col:], s.K, terms, width)
		} else {
			c.kernels.transpose(taps[(8-t)*n:], width, tap[col*s.K+from:], s.K, width, terms)
		}
	}
	c.winograd.turned(c.panel(0, strip)[from*width:], c.cols*c.src.take, taps, n, room)
}
