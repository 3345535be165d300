package cpu

import (
	"math"

	"bilevel/internal/kind"
)

// convSweep makes images from images: the convolution itself, or its gradient by images.
//
// Both are sums over the taps of a kernel,
//
//	destination[i, j] = Σ over taps of source[i·move + tap.row, j·move + tap.col] · weights[tap],
//
// with a matrix of channels by channels for each tap. Of the gradient of a convolution with a stride, each phase of the
// rows and columns, by the remainder that the stride leaves, has taps of its own.
//
// The sums of a row of destinations are products of matrices: pixels of the source, which lie in a row at a constant
// distance, times the weights of a tap, or of neighbouring taps at once. So the kernels of Gemm read the pixels where
// they lie, or, if their channels are more than a block, in a copy of a few rows, made once for all taps. Nothing is
// multiplied by the zeros beside the images: destinations at the sides, which have fewer taps, are taken by columns
// instead of rows, in which pixels lie at a constant distance too.
type convSweep struct {
	*convCall
	ending
	kernels  *kernels
	src, dst images
	in, cols int // channels of a group in the source and the destination
	phases   []phase
	patches  *patches // the taps as channels of the source, where those are few; nil: not so
	inPlace  bool     // pixels are read where they lie
	joined   bool     // neighbouring taps of a row are one run of terms
	vecs     int

	slice    int // channels of the source that are summed at a time
	block    int // channels of the destination that a block of weights has
	blocks   int // blocks that one item computes
	copyB    bool
	perImage int // spans of rows that an image is cut into, where it is at least one
	group    int // images of a span otherwise
	spanRows int // rows of the destination of an item, and of one copy of the source
	bandRows int
	width    int // columns of a copy, from column first on
	first    int

	nanos              float64
	sumsAt, aAt, bAt   int
	padAt              int
	rowLen, bandLength int
}

// images are where images lie: rows × cols pixels of some channels.
type images struct {
	data                 []float32
	rows, cols, channels int
}

// phase are the destinations first, first+step, … of rows and columns, and what they are made of.
type phase struct {
	rows, cols axis
	pieces     []piece
}

// piece are the columns lo…hi-1 of a phase, which have the same taps from…to-1 inside the images.
type piece struct{ lo, hi, from, to int }

// pieces cuts the columns of a phase, whose source has so many columns.
func (x *axis) pieces(columns int) (list []piece) {
	for j := range x.n {
		p := piece{j, j + 1, 0, 0}
		for t, tap := range x.taps {
			if at := j*x.move + tap.shift; at >= 0 && at < columns {
				if p.to == 0 {
					p.from = t
				}
				p.to = t + 1
			}
		}
		if n := len(list); n > 0 && list[n-1].from == p.from && list[n-1].to == p.to {
			list[n-1].hi++
		} else {
			list = append(list, p)
		}
	}
	return list
}

// axis describes the rows, or the columns, of a phase: destination first + i·step is made of the sources i·move +
// shift, i = 0…n-1, for each tap.
type axis struct {
	first, step, n, move int
	taps                 []tap
}

// tap is a row or column of a kernel, and where it reads the source.
type tap struct{ index, shift int }

// forwardAxis is that of the convolution: a single phase.
func forwardAxis(n, taps, stride, dilation, before int) []axis {
	a := axis{step: 1, n: n, move: stride}
	for t := range taps {
		a.taps = append(a.taps, tap{t, t*dilation - before})
	}
	return []axis{a}
}

// gradientAxes are those of the gradient by images of a length: images' i gets y's (i + before - t·dilation)/stride for
// every tap t for which this is whole.
func gradientAxes(length, taps, stride, dilation, before int) (list []axis) {
	for first := range min(stride, length) {
		a := axis{first: first, step: stride, n: (length - first + stride - 1) / stride, move: 1}
		for t := taps - 1; t >= 0; t-- { // from left to right
			if at := first + before - t*dilation; at%stride == 0 {
				a.taps = append(a.taps, tap{t, at / stride})
			}
		}
		list = append(list, a)
	}
	return list
}

func newConvSweep(call *convCall) *convSweep {
	s := &call.shape
	c := &convSweep{convCall: call, ending: call.ending(), kernels: kernelsOf(call.pool.level)}
	c.src, c.dst = images{call.a.Real[call.a.Off:], s.H, s.W, s.C}, images{nil, c.p, c.q, s.K}
	c.in, c.cols = s.GroupSizes()
	rows := forwardAxis(c.p, s.R, s.StrideH, s.DilationH, s.Top)
	cols := forwardAxis(c.q, s.S, s.StrideW, s.DilationW, s.Left)
	if c.kind == kind.ConvInputGradient {
		c.src.rows, c.src.cols, c.src.channels, c.dst.rows, c.dst.cols, c.dst.channels = c.p, c.q, s.K, s.H, s.W, s.C
		c.in, c.cols = c.cols, c.in
		rows = gradientAxes(s.H, s.R, s.StrideH, s.DilationH, s.Top)
		cols = gradientAxes(s.W, s.S, s.StrideW, s.DilationW, s.Left)
	}
	if c.kind == kind.ConvForward {
		c.patches = newPatches(call, c.src.data)
	}
	if c.patches != nil {
		c.in, c.src = c.patches.length, images{nil, c.p, c.q, c.patches.length}
		rows, cols = forwardAxis(c.p, 1, 1, 1, 0), forwardAxis(c.q, 1, 1, 1, 0)
	}
	for _, r := range rows {
		for _, k := range cols {
			c.phases = append(c.phases, phase{r, k, k.pieces(c.src.cols)})
		}
	}
	c.plan()
	return c
}

const (
	// convTerms is about the most terms that are summed before they are added to memory.
	convTerms = 640
	// convBlock is the most channels of the destination in a block of weights.
	convBlock = 128
	// convSpan is the least pixels of an item, if there are enough: what a block of weights is copied for.
	convSpan = 1024
	// convBand is about the most numbers of a copy of the source.
	convBand = 1 << 15
)

// plan chooses how the work is cut.
func (c *convSweep) plan() {
	s := &c.shape
	taps := s.R * s.S
	if c.patches != nil {
		taps = 1
	}
	parts := max(1, int(math.Round(float64(c.in*taps)/convTerms)))
	c.slice = min(c.in, roundUp((c.in+parts-1)/parts, 16))
	c.columns()
	c.vecs = c.vectorWidth()
	width := c.vecs * c.kernels.lanes
	c.block = min(c.cols, roundUp(convBlock, width))

	pixels, threads := c.dst.rows*c.dst.cols, c.pool.Threads()
	span := convSpan
	for span > 128 && s.N*pixels/span < 4*threads {
		span /= 2
	}
	c.perImage, c.group = pixels/span, 1
	if c.perImage <= 1 {
		c.perImage, c.group = 1, max(1, min(s.N, span/pixels))
	}
	step := c.phases[0].rows.step
	c.spanRows = roundUp((c.dst.rows+c.perImage-1)/c.perImage, step)
	c.perImage = (c.dst.rows + c.spanRows - 1) / c.spanRows
	c.copyB = c.kind == kind.ConvInputGradient || c.group*c.spanRows*c.dst.cols >= leastReuse && c.cols > c.block

	c.joined = c.joined && (c.copyB || c.slice == c.in)

	// copies of the source
	c.bandRows = c.spanRows
	if !c.inPlace {
		c.bandRows = step
		for c.bandRows < c.spanRows && c.sourceRows(c.bandRows+step)*c.width*c.slice <= convBand {
			c.bandRows += step
		}
		c.bandLength = c.sourceRows(c.bandRows) * c.width * c.slice
	}
	c.blocks = (c.cols + c.block - 1) / c.block

	c.nanos = float64(s.N*pixels) * float64(c.in*c.cols*s.Groups*taps) / c.kernels.rate
	if c.kind == kind.ConvInputGradient {
		c.nanos /= float64(s.StrideH * s.StrideW)
	}
	reals, ints := c.program.scratch()
	need := room(reals)
	c.rowLen = c.dst.cols * c.dst.channels
	c.aAt = need.take(c.bandLength)
	if c.copyB {
		c.bAt = need.take(taps * c.slice * c.ldb())
	}
	if c.patches != nil {
		c.padAt = need.take(c.patches.pad())
	}
	if !c.sumsInOut {
		c.sumsAt = need.take(c.group * c.spanRows * c.rowLen)
	}
	c.pool.reserve(int(need), ints)
}

// vectorWidth is the number of vectors that a kernel computes at a time.
func (c *convSweep) vectorWidth() int { return c.kernels.width(c.phases[0].cols.n, c.cols) }

// columns finds the columns of the source that are read, and how.
func (c *convSweep) columns() {
	lo, hi := math.MaxInt, 0
	c.joined = true
	for _, f := range c.phases {
		x := &f.cols
		for i, t := range x.taps {
			lo, hi = min(lo, max(0, t.shift)), max(hi, min((x.n-1)*x.move+t.shift+1, c.src.cols))
			c.joined = c.joined && (i == 0 || t.shift == x.taps[i-1].shift+1)
		}
	}
	c.inPlace = c.patches == nil && (c.shape.S == 1 || c.slice == c.src.channels)
	c.first, c.width = lo, max(0, hi-lo)
	if c.inPlace {
		c.first, c.width = 0, c.src.cols
	}
}

// sourceRows is the rows of the source that so many rows of the destination are made of, at most.
func (c *convSweep) sourceRows(rows int) int {
	lo, hi := math.MaxInt, math.MinInt
	for _, f := range c.phases {
		n := (rows + f.rows.step - 1) / f.rows.step
		for _, t := range f.rows.taps {
			lo, hi = min(lo, t.shift), max(hi, (n-1)*f.rows.move+t.shift+1)
		}
	}
	return max(0, hi-lo)
}

// ldb is how far apart the rows of a copied block of weights are.
func (c *convSweep) ldb() int { return roundUp(c.block, 16) }
