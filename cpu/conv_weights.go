package cpu

// convWeights is the gradient of a convolution by its weights: for each tap a product of matrices,
//
//	w[r,s,·,·] = Σ over pixels of x[n, p·StrideH + r·DilationH - Top, q·StrideW + s·DilationW - Left, ·]ᵀ y[n,p,q,·],
//
// whose terms are the pixels of y. An item takes some channels of x and of y, and a chunk of the images, and goes
// through those a band of pixels at a time. For each column of the kernel it copies the pixels of x that the tap meets,
// zeros beside the images included, one row of y's pixels after the other: then every row of the kernel finds its
// pixels in that copy at a constant distance. Rows outside the images are left out.
//
// The chunks depend on the shape alone, and so does the order of all sums: the bits are the same for any number of
// threads.
type convWeights struct {
	*convCall
	ending
	kernels  *kernels
	x, y     []float32
	in, cols int // channels of a group in x and y
	slice    int // channels of x in an item
	block    int // channels of y in an item
	vecs     int
	images   int // of a band
	rows     int // of y in a band
	phases   int // of the rows of x, by the remainder that the stride leaves
	depth    int // rows of a phase in a band
	chunks   int // parts of the images, summed apart
	bands    int // in all images
	copyY    bool
	panels   bool     // x and y are copied into panels (see panelStrategy)
	patches  *patches // the taps as channels of x, where those are few; nil: not so
	partial  *partialSums
	nanos    float64
	// where the copies of x, its panels, y, and a row of x begin in a worker's scratch
	aAt, panelsAt, bAt, padAt int
}

const (
	// weightPixels is about the most pixels of a band.
	weightPixels = 256
	// weightSlice is the most channels of x in an item, and weightBlock those of y, or as many as make weightSums sums.
	weightSlice, weightBlock, weightSums = 64, 64, 9 * 64 * 64
	// weightItems is the number of items that there should be, for the threads to share.
	weightItems = 16
)

func newConvWeights(call *convCall) *convWeights {
	s := &call.shape
	c := &convWeights{
		convCall: call, ending: call.ending(), kernels: kernelsOf(call.pool.level),
		x: call.a.Real[call.a.Off:], y: call.b.Real[call.b.Off:],
	}
	c.in, c.cols = s.GroupSizes()
	c.patches = newPatches(call, c.x)
	c.slice = equalParts(c.in, weightSlice)
	if c.patches != nil {
		c.in, c.slice = c.patches.length, c.patches.length
	}
	c.block = equalParts(c.cols, max(weightBlock, weightSums/(c.slice*c.taps())))
	c.vecs = c.vectorWidth()
	c.cut()

	reals, ints := c.program.scratch()
	need := room(reals)
	c.aAt = need.take(c.foldLength() * max(1, c.columns()))
	if c.panels {
		c.panelsAt = need.take((c.slice + c.high() - 1) / c.high() * c.panelLength())
	}
	if c.copyY {
		c.bAt = need.take(c.rows * c.images * c.q * c.ldb())
	}
	if c.patches != nil {
		c.padAt = need.take(c.patches.pad())
	}
	c.pool.reserve(int(need), ints)
	terms := float64(s.N*c.p*c.q) * float64(s.R*s.S*s.C/s.Groups*s.K)
	c.nanos = terms / c.kernels.rate
	return c
}

// equalParts is the length of as few equal parts of n as there are of at most most, in whole lines.
func equalParts(n, most int) int {
	parts := (n + most - 1) / most
	return min(n, roundUp((n+parts-1)/parts, lineLen))
}

// cut chooses bands and chunks, by the shape alone.
func (c *convWeights) cut() {
	s := &c.shape
	pixels := c.p * c.q
	c.images, c.rows = max(1, min(s.N, weightPixels/pixels)), c.p
	if parts := (pixels + weightPixels - 1) / weightPixels; parts > 1 {
		c.rows = (c.p + parts - 1) / parts
	}
	c.bands = (s.N + c.images - 1) / c.images * c.bandsOfImage()
	if c.patches == nil {
		c.panels = c.kernels.panelRows > 0 && c.slice >= 2*c.high() && c.block >= c.width()
		c.copyY = c.panels || c.images > 1
	}
	c.phases, c.depth = s.StrideH, c.rows+(s.R-1)*s.DilationH/s.StrideH
	if c.patches != nil {
		c.phases, c.depth = 1, c.rows
	}
	c.chunks = c.convCall.chunks(c.blocks(), c.bands)
	c.partial = newPartialSums(c.convCall, c.ending, c.chunks, false)
}

// chunks is the number of parts of so many bands of images that are summed apart, where the weights are cut into
// blocks.
func (c *convCall) chunks(blocks, bands int) int {
	s := &c.shape
	room := s.N * (s.H*s.W*s.C + c.p*c.q*s.K) / 20 // of the partial sums
	return max(1, min((weightItems+blocks-1)/blocks, bands, room/size(c.out.Shape)))
}

func (c *convWeights) bandsOfImage() int { return (c.p + c.rows - 1) / c.rows }

// blocks is the number of parts that the weights are cut into.
func (c *convWeights) blocks() int {
	return c.shape.Groups * ((c.in + c.slice - 1) / c.slice) * ((c.cols + c.block - 1) / c.block)
}

// columns is the number of columns of the kernel that have a copy of their own, and taps that of its rows.
func (c *convWeights) columns() int {
	if c.patches != nil {
		return 1
	}
	return c.shape.S
}

// foldLength is the numbers that x takes for one column of the kernel.
func (c *convWeights) foldLength() int { return c.phases * c.depth * c.images * c.q * c.slice }

// ldb is how far apart the pixels of a copy of y are.
func (c *convWeights) ldb() int {
	if c.panels {
		return roundUp(c.block, c.width())
	}
	return c.block
}

// vectorWidth is the number of vectors that a kernel computes at a time.
func (c *convWeights) vectorWidth() int { return c.kernels.width(c.slice, c.block) }

// Run does the work; the caller holds the pool.
func (c *convWeights) Run() error {
	c.program.begin(c.pool.workers[0])
	c.pool.share(c.chunks*c.blocks(), c.nanos, c)
	c.partial.merge()
	return nil
}

// Do computes one part of the weights from one chunk of the images.
func (c *convWeights) Do(w *Worker, item int) {
	s := &c.shape
	chunk := item % c.chunks
	item /= c.chunks
	blocks := (c.cols + c.block - 1) / c.block
	col := item % blocks * c.block
	item /= blocks
	slices := (c.in + c.slice - 1) / c.slice
	b := weightBand{
		group: item / slices, at: item % slices * c.slice, col: col, cols: min(c.block, c.cols-col),
	}
	b.in = min(c.slice, c.in-b.at)
	b.sums = c.partial.of(chunk)[b.at*s.K+b.group*c.cols+col:]
	for t := range c.taps() {
		for i := range b.in {
			clear(b.sums[(t*c.in+i)*s.K:][:b.cols])
		}
	}
	for i := c.bands * chunk / c.chunks; i < c.bands*(chunk+1)/c.chunks; i++ {
		b.n = i / c.bandsOfImage() * c.images
		b.p = i % c.bandsOfImage() * c.rows
		b.images, b.rows = min(c.images, s.N-b.n), min(c.rows, c.p-b.p)
		c.band(w, &b)
	}
}

// taps is the number of products.
func (c *convWeights) taps() int {
	if c.patches != nil {
		return 1
	}
	return c.shape.R * c.shape.S
}

// weightBand is a part of the weights and of the pixels.
type weightBand struct {
	group, at, in, col, cols int       // channels at…at+in-1 of x and col…col+cols-1 of y, of a group
	sums                     []float32 // of those, beginning with tap 0
	n, images, p, rows       int       // rows p…p+rows-1 of so many images
	x, panels, y             []float32 // the pixels of x, pixel by pixel and in panels, and of y
	ldb                      int       // how far apart pixels of y are
}

// band adds the terms of a band to the sums.
func (c *convWeights) band(w *Worker, b *weightBand) {
	s := &c.shape
	b.y, b.ldb = c.y[((b.n*c.p+b.p)*c.q)*s.K+b.group*c.cols+b.col:], s.K
	if c.copyY {
		b.y, b.ldb = w.real[c.bAt:], c.ldb()
		c.bringY(b)
	}
	b.x, b.panels = w.real[c.aAt:], w.real[c.panelsAt:]
	line := b.images * c.q // pixels of a row
	if c.patches != nil {
		for n := range b.images {
			pad := w.real[c.padAt:][:c.patches.pad()]
			c.patches.rows(c.kernels, b.x[n*b.rows*c.q*b.in:], pad, b.n+n, b.p, b.p+b.rows)
		}
		c.tap(b, b.sums, 0, 0, b.rows*line)
		return
	}
	for t := range s.S {
		c.fold(b.x, b, t)
		c.turn(b, c.phases*c.depth*line)
		for r := range s.R {
			lo, hi := window(c.p, s.H, s.StrideH, r*s.DilationH-s.Top)
			if lo, hi = max(lo-b.p, 0), min(hi-b.p, b.rows); lo >= hi {
				continue
			}
			at := r*s.DilationH%s.StrideH*c.depth + r*s.DilationH/s.StrideH + lo // the row in the copy
			c.tap(b, b.sums[(r*s.S+t)*c.in*s.K:], at*line, lo*line, (hi-lo)*line)
		}
	}
}

// tap adds the products of some pixels, of x and y from the given ones on.
func (c *convWeights) tap(b *weightBand, sums []float32, atX, atY, pixels int) {
	if c.panels {
		c.tapByPanels(b, sums, atX, atY, pixels)
		return
	}
	x, y := b.x[atX*b.in:], b.y[atY*b.ldb:]
	c.kernels.panels(b.in, c.vecs, b.cols, pixels, x, 1, b.in, y, b.ldb, sums, c.shape.K, true)
}

// bringY copies the pixels of y: row by row of all images of the band.
func (c *convWeights) bringY(b *weightBand) {
	s, pixel := &c.shape, 0
	for p := range b.rows {
		for n := range b.images {
			from := c.y[((b.n+n)*c.p+b.p+p)*c.q*s.K+b.group*c.cols+b.col:]
			if c.panels {
				c.panelsY(b, pixel, from)
			} else {
				c.kernels.copyRows(b.y[pixel*b.ldb:], b.ldb, from, s.K, c.q, b.cols)
			}
			pixel += c.q
		}
	}
}

// fold copies the pixels of x that column t of the kernel meets: to [phase, row, image, q, channel], where a row is
// that of the kernel's first row at row b.p + row of y, moved down by phase.
func (c *convWeights) fold(to []float32, b *weightBand, t int) {
	s := &c.shape
	shift := t*s.DilationW - s.Left
	lo, hi := window(c.q, s.W, s.StrideW, shift)
	n := c.q * b.in
	used := (s.R-1)*s.DilationH/s.StrideH + b.rows
	for f := range c.phases {
		for e := range used {
			h := (b.p+e)*s.StrideH + f - s.Top
			if h < 0 || h >= s.H {
				continue
			}
			for i := range b.images {
				line := to[((f*c.depth+e)*b.images+i)*n:][:n]
				clear(line[:lo*b.in])
				clear(line[hi*b.in:])
				if lo >= hi {
					continue
				}
				from := c.x[(((b.n+i)*s.H+h)*s.W+lo*s.StrideW+shift)*s.C+b.group*c.in+b.at:]
				if to := line[lo*b.in : hi*b.in]; s.StrideW == 1 && b.in == s.C {
					copy(to, from)
				} else {
					c.kernels.copyRows(to, b.in, from, s.StrideW*s.C, hi-lo, b.in)
				}
			}
		}
	}
}
