package cpu

// convWinogradWeights is the gradient of a convolution by its weights, by tiles. An item takes some channels of x and
// of y, and a chunk of the rows of tiles, and sums its 36 products before it turns them back into taps. The chunks
// depend on the shape alone, as those of convWeights, and so do the bits.
type convWinogradWeights struct {
	*winograd
	ending
	x, y        tileSource
	slice, cols int // channels of x and of y in an item
	vecs        int
	rows        int // rows of tiles whose products are summed at a time
	chunks      int
	partial     *partialSums
	nanos       float64
	// where a worker has the transformed x and y, room to transform them, and the sums
	xAt, yAt, roomAt, sumsAt int
}

const (
	// winogradSlice is the most channels of x, and of y, in an item.
	winogradSlice = 64
	// winogradSums is about the tiles whose products are summed at a time.
	winogradSums = 56
	// leastChunk is about the fewest tiles of a chunk: what it takes to turn its sums back is then little beside them.
	leastChunk = 512
	// leastItems is the fewest items that there should be, even if each then takes few channels and transforms x or y
	// once more.
	leastItems = 4
)

// newConvWinogradWeights is nil where the sums themselves are as fast.
func newConvWinogradWeights(call *convCall) *convWinogradWeights {
	s := &call.shape
	g := newWinograd(call, call.p, call.q, s.W, s.Top, s.Left)
	if g == nil {
		return nil
	}
	c := &convWinogradWeights{
		winograd: g, ending: call.ending(),
		x:     tileSource{call.a.Real[call.a.Off:], s.H, s.W, s.C, s.C, s.Top, s.Left, tileEdge, g.kernels.pixels},
		y:     tileSource{call.b.Real[call.b.Off:], call.p, call.q, s.K, s.K, 0, 0, g.side(), g.spread},
		slice: equalParts(s.C, winogradSlice), cols: equalParts(s.K, winogradSlice),
	}
	c.rows = max(1, min(winogradSums/g.wide, s.N*g.down))
	for {
		c.chunks = call.chunks(c.blocks(), max(1, s.N*g.down*g.wide/leastChunk))
		if c.chunks*c.blocks() >= leastItems || max(c.slice, c.cols) <= lineLen {
			break
		}
		if c.slice > c.cols {
			c.slice = equalParts(c.slice, c.slice/2)
		} else {
			c.cols = equalParts(c.cols, c.cols/2)
		}
	}
	c.vecs = c.kernels.width(c.slice, c.cols)
	c.partial = newPartialSums(call, c.ending, c.chunks, false)

	slots := c.rows * g.wide
	reals, ints := c.program.scratch()
	need := room(reals)
	c.xAt, c.yAt = need.take(tilePoints*apart(slots*c.slice)), need.take(tilePoints*apart(slots*c.cols))
	c.roomAt = need.take(g.pointsRoom(max(c.slice, c.cols)))
	c.sumsAt = need.take(tilePoints * c.slice * c.cols)
	c.pool.reserve(int(need), ints)
	c.nanos = float64(s.N*g.down*g.wide) * float64(tilePoints*s.C*s.K) / c.kernels.rate
	return c
}

// blocks is the number of parts that the weights are cut into.
func (c *convWinogradWeights) blocks() int {
	return (c.shape.C + c.slice - 1) / c.slice * ((c.shape.K + c.cols - 1) / c.cols)
}

// Run does the work; the caller holds the pool.
func (c *convWinogradWeights) Run() error {
	c.program.begin(c.pool.workers[0])
	c.pool.share(c.chunks*c.blocks(), c.nanos, c)
	c.partial.merge()
	return nil
}

// Do computes one part of the weights from one chunk of the tiles.
func (c *convWinogradWeights) Do(w *Worker, item int) {
	s := &c.shape
	chunk := item % c.chunks
	across := (s.K + c.cols - 1) / c.cols
	at, col := item/c.chunks/across*c.slice, item/c.chunks%across*c.cols
	x, y := c.x.part(at, c.slice), c.y.part(col, c.cols)
	sums := w.real[c.sumsAt:][:tilePoints*x.take*y.take]
	clear(sums)
	lines := s.N * c.down
	for i, end := lines*chunk/c.chunks, lines*(chunk+1)/c.chunks; i < end; i += c.rows {
		c.add(w, sums, x, y, i, min(i+c.rows, end))
	}
	n := x.take * y.take
	c.gatherTaps(sums, n)
	to := c.partial.of(chunk)[at*s.K+col:]
	for t := range c.taps * c.taps {
		c.kernels.copyRows(to[t*s.C*s.K:], s.K, sums[t*n:], y.take, x.take, y.take)
	}
}

// add adds the products of the rows first…end-1 of tiles.
func (c *convWinogradWeights) add(w *Worker, sums []float32, x, y tileSource, first, end int) {
	slots := (end - first) * c.wide
	ofX, ofY := apart(slots*x.take), apart(slots*y.take)
	pixels, results, room := w.real[c.xAt:], w.real[c.yAt:], w.real[c.roomAt:]
	p := c.newPoints(x, room)
	for i := first; i < end; i++ {
		p.transform(pixels[(i-first)*c.wide*x.take:], ofX, i)
	}
	p = c.newPoints(y, room)
	for i := first; i < end; i++ {
		p.transform(results[(i-first)*c.wide*y.take:], ofY, i)
	}
	for e := range tilePoints {
		c.kernels.panels(x.take, c.vecs, y.take, slots, pixels[e*ofX:], 1, x.take, results[e*ofY:], y.take,
			sums[e*x.take*y.take:], y.take, true)
	}
}
