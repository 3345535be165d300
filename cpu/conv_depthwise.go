package cpu

import (
	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// convDepthwise is a convolution whose groups are single channels: no product of matrices, but elementwise products
// along the channels. Without a stride between columns, a run of pixels that a tap takes to a run of pixels is one
// elementwise product with the weights of the tap, which are repeated so often first.
//
// All three kinds are computed by rows of y, or of x, and the weight gradient in chunks of them that depend on the
// shape alone, each with a sum for every pixel of a run.
type convDepthwise struct {
	*convCall
	ending
	a, b     []float32 // the operands
	loops    *loops
	mulAdd   func(dst, a, b, c []float32)
	repeated []float32 // weights [tap, pixel of a run, channel]
	run      int       // pixels of a run
	rowLen   int       // numbers of a row of the result, of images
	rowAt    int       // where its sums begin in a worker's scratch, or those of the weights
	partial  *partialSums
	nanos    float64
}

// depthwiseRun is the most numbers of a run: those of all taps stay in the first-level cache.
const depthwiseRun = 1024

func newConvDepthwise(call *convCall) *convDepthwise {
	s := &call.shape
	if s.Groups == 1 || s.Groups != s.C || s.Groups != s.K {
		return nil
	}
	l := loopsOf(call.pool.level)
	c := &convDepthwise{
		convCall: call, ending: call.ending(), a: call.a.Real[call.a.Off:], b: call.b.Real[call.b.Off:], loops: l,
		mulAdd: l.real[mulAdd].vvv, run: 1,
	}
	if s.StrideW == 1 {
		c.run = max(1, min(max(s.W, c.q), depthwiseRun/s.C))
	}
	c.nanos = 0.1 * float64(s.N*c.p*c.q) * float64(s.R*s.S*s.C)
	reals, ints := c.program.scratch()
	c.rowAt = reals
	if c.kind == kind.ConvWeightGradient {
		c.partial = newPartialSums(call, c.ending, min(weightItems, s.N*c.p), true)
		c.pool.reserve(reals+s.R*s.S*c.run*s.C, ints)
		return c
	}
	c.rowLen = size(call.out.Shape[2:])
	c.repeated = make([]float32, s.R*s.S*c.run*s.C)
	c.pool.reserve(reals+c.rowLen, ints)
	return c
}

// Run does the work; the caller holds the pool.
func (c *convDepthwise) Run() error {
	s := &c.shape
	c.program.begin(c.pool.workers[0])
	if c.partial != nil {
		c.pool.share(c.partial.chunks, c.nanos, c)
		c.partial.merge()
		return nil
	}
	n := c.run * s.C
	for t := range s.R * s.S {
		copy(c.repeated[t*n:], c.b[t*s.C:][:s.C])
		repeat(c.repeated[t*n:][:n], s.C)
	}
	c.pool.share(c.program.points/c.rowLen, c.nanos+c.ending.nanos(), c)
	return nil
}

// Do computes a row of images, or the weights' sums over a chunk of the rows of y.
func (c *convDepthwise) Do(w *Worker, item int) {
	if c.partial != nil {
		c.weights(w.real[c.rowAt:], item)
		return
	}
	row := w.real[c.rowAt:][:c.rowLen]
	if c.sumsInOut {
		row = c.to[item*c.rowLen:][:c.rowLen]
	}
	clear(row)
	if c.kind == kind.ConvForward {
		c.forward(row, item/c.p, item%c.p)
	} else {
		c.gradient(row, item/c.shape.H, item%c.shape.H)
	}
	if !(c.none && c.sumsInOut) {
		c.finish(w, item*c.rowLen, row)
	}
}

// forward adds to row p of the results of image n.
func (c *convDepthwise) forward(row []float32, n, p int) {
	s := &c.shape
	for at := 0; at < c.q; at += c.run {
		for r := range s.R {
			h := p*s.StrideH + r*s.DilationH - s.Top
			if h < 0 || h >= s.H {
				continue
			}
			x := c.a[(n*s.H+h)*s.W*s.C:]
			for t := range s.S {
				shift := t*s.DilationW - s.Left
				lo, hi := window(c.q, s.W, s.StrideW, shift)
				if lo, hi = max(lo, at), min(hi, at+c.run); lo < hi {
					y := row[lo*s.C : hi*s.C]
					c.mulAdd(y, x[(lo*s.StrideW+shift)*s.C:][:len(y)], c.repeated[(r*s.S+t)*c.run*s.C:][:len(y)], y)
				}
			}
		}
	}
}

// gradient adds to row h of image n of the gradient by images. Of a run of columns it takes all taps, without a stride.
func (c *convDepthwise) gradient(row []float32, n, h int) {
	s := &c.shape
	for at := 0; at < s.W; at += c.run {
		for r := range s.R {
			p, rest := (h+s.Top-r*s.DilationH)/s.StrideH, (h+s.Top-r*s.DilationH)%s.StrideH
			if rest != 0 || p < 0 || p >= c.p {
				continue
			}
			y := c.a[(n*c.p+p)*c.q*s.C:]
			for t := range s.S {
				back := at + s.Left - t*s.DilationW // the result whose tap this is, times the stride
				if back%s.StrideW != 0 {
					continue
				}
				lo, hi := back/s.StrideW, back/s.StrideW+min(c.run, s.W-at)
				if lo, hi = max(lo, 0), min(hi, c.q); lo < hi {
					x := row[(lo*s.StrideW+t*s.DilationW-s.Left)*s.C:][:(hi-lo)*s.C]
					c.mulAdd(x, y[lo*s.C:][:len(x)], c.repeated[(r*s.S+t)*c.run*s.C:][:len(x)], x)
				}
			}
		}
	}
}

// weights sums the rows of a chunk.
func (c *convDepthwise) weights(sums []float32, chunk int) {
	s := &c.shape
	n := c.run * s.C
	sums = sums[:s.R*s.S*n]
	clear(sums)
	rows, chunks := s.N*c.p, c.partial.chunks
	for i := rows * chunk / chunks; i < rows*(chunk+1)/chunks; i++ {
		c.weightRow(sums, i)
	}
	for t := range s.R * s.S {
		to := c.partial.of(chunk)[t*s.C:][:s.C]
		from := sums[t*n:][:n]
		copy(to, from)
		c.loops.addRows(to, from[s.C:])
	}
}

// weightRow adds the products of row number i of y, of all images.
func (c *convDepthwise) weightRow(sums []float32, i int) {
	s := &c.shape
	y, n := c.b[i*c.q*s.C:], c.run*s.C
	for at := 0; at < c.q; at += c.run {
		for r := range s.R {
			h := i%c.p*s.StrideH + r*s.DilationH - s.Top
			if h < 0 || h >= s.H {
				continue
			}
			x := c.a[(i/c.p*s.H+h)*s.W*s.C:]
			for t := range s.S {
				shift := t*s.DilationW - s.Left
				lo, hi := window(c.q, s.W, s.StrideW, shift)
				if lo, hi = max(lo, at), min(hi, at+c.run); lo < hi {
					to := sums[(r*s.S+t)*n:][:(hi-lo)*s.C]
					c.mulAdd(to, x[(lo*s.StrideW+shift)*s.C:][:len(to)], y[lo*s.C:][:len(to)], to)
				}
			}
		}
	}
}

// partialSums are the sums of parts of a result, and the results that they make.
type partialSums struct {
	ending
	pool   *Pool
	sums   []float32
	chunks int
	add    func(dst, a, b []float32)
}

// newPartialSums makes room for the sums of so many chunks; where it is one and the sums may lie in out, there are none
// apart unless asked for.
func newPartialSums(c *convCall, e ending, chunks int, apart bool) *partialSums {
	p := &partialSums{ending: e, pool: c.pool, chunks: chunks, add: loopsOf(c.pool.level).real[expr.Add].vv}
	if chunks > 1 || !e.sumsInOut || apart {
		p.sums = make([]float32, chunks*e.program.points)
	}
	return p
}

// of is where the sums of a chunk belong.
func (p *partialSums) of(chunk int) []float32 {
	n := p.program.points
	if p.sums == nil {
		return p.to[:n]
	}
	return p.sums[chunk*n:][:n]
}

// merge makes the results.
func (p *partialSums) merge() {
	if p.sums == nil && p.none {
		return
	}
	const add = 0.1 // nanoseconds
	n := p.program.points
	p.pool.share((n+blockLen-1)/blockLen, add*float64(n*p.chunks)+p.ending.nanos(), p)
}

// Do merges one block.
func (p *partialSums) Do(w *Worker, item int) {
	lo, hi := item*blockLen, min((item+1)*blockLen, p.program.points)
	sums := p.of(0)[lo:hi]
	for i := 1; i < p.chunks; i++ {
		p.add(sums, sums, p.of(i)[lo:hi])
	}
	p.finish(w, lo, sums)
}
