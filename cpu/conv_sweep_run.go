package cpu

import (
	"math"

	"bilevel/internal/kind"
)

// Run does the work; the caller holds the pool.
func (c *convSweep) Run() error {
	c.program.begin(c.pool.workers[0])
	spans := c.perImage * ((c.shape.N + c.group - 1) / c.group)
	c.pool.share(spans, c.nanos+c.ending.nanos(), c)
	return nil
}

// Do computes one span: a few images, or a few rows of one.
func (c *convSweep) Do(w *Worker, item int) {
	span := item % c.perImage
	n := item / c.perImage * c.group
	end := min(n+c.group, c.shape.N)
	h0, h1 := span*c.spanRows, min((span+1)*c.spanRows, c.dst.rows)
	lo := (n*c.dst.rows + h0) * c.rowLen // the first number of the span
	sums := c.to[lo:]
	if !c.sumsInOut {
		sums = w.real[c.sumsAt:]
	}
	for g := range c.shape.Groups {
		for col := 0; col < c.cols; col += c.block {
			for at := 0; at < c.in; at += c.slice {
				b := sweepBlock{group: g, col: col, cols: min(c.block, c.cols-col), at: at, in: min(c.slice, c.in-at)}
				c.bring(w, &b)
				for i := n; i < end; i++ {
					for h := h0; h < h1; h += c.bandRows {
						to := sums[((i-n)*c.dst.rows+h-h0)*c.rowLen:]
						c.band(w, &b, to, i, h, min(h+c.bandRows, h1))
					}
				}
			}
		}
	}
	if !(c.none && c.sumsInOut) {
		c.finish(w, lo, sums[:((end-n-1)*c.dst.rows+h1-h0)*c.rowLen])
	}
}

// sweepBlock is a part of the weights: from source channels at…at+in-1 of a group to the destination's col…col+cols-1.
type sweepBlock struct {
	group, col, cols, at, in int
	weights                  []float32 // of tap 0
	tap, ld                  int       // how far apart the weights of taps, and of channels of the source, are
	pixels                   []float32 // of the source, from row top on
	top, pixel               int       // how far apart they are
}

// bring makes the weights ready.
func (c *convSweep) bring(w *Worker, b *sweepBlock) {
	s := &c.shape
	weights, per := c.b.Real[c.b.Off:], s.C/s.Groups
	if !c.copyB {
		b.weights, b.tap, b.ld = weights[b.at*s.K+b.group*c.cols+b.col:], per*s.K, s.K
		return
	}
	b.weights, b.tap, b.ld = w.real[c.bAt:], b.in*c.ldb(), c.ldb()
	to := b.weights
	for _, f := range c.phases {
		for _, r := range f.rows.taps {
			for _, t := range f.cols.taps {
				from := (r.index*s.S + t.index) * per * s.K
				if c.kind == kind.ConvInputGradient {
					from += b.col*s.K + b.group*c.in + b.at
					c.kernels.transpose(to, b.ld, weights[from:], s.K, b.cols, b.in)
				} else {
					from += b.at*s.K + b.group*c.cols + b.col
					c.kernels.copyRows(to, b.ld, weights[from:], s.K, b.in, b.cols)
				}
				to = to[b.tap:]
			}
		}
	}
}

// band computes rows h0…h1-1 of an image, from some channels of the source; to begins with row h0.
func (c *convSweep) band(w *Worker, b *sweepBlock, to []float32, n, h0, h1 int) {
	c.bringPixels(w, b, n, h0, h1)
	to = to[b.group*c.cols+b.col:]
	if c.patches != nil {
		c.line(b, to, (h1-h0)*c.dst.cols)
		return
	}
	weights := b.weights
	for i := range c.phases {
		f := &c.phases[i]
		lo, hi := f.rows.within(h0, h1)
		sums := to[(f.rows.first+lo*f.rows.step-h0)*c.rowLen+f.cols.first*c.dst.channels:]
		for i := range f.pieces {
			if p := &f.pieces[i]; p.hi-p.lo >= leastAcross || p.hi-p.lo >= hi-lo {
				c.across(f, p, b, sums, weights, lo, hi)
			} else {
				c.down(f, p, b, sums, weights, lo, hi)
			}
		}
		if c.copyB {
			weights = weights[len(f.rows.taps)*len(f.cols.taps)*b.tap:]
		}
	}
}

// leastAcross is the columns of a piece from which on it is taken by rows in any case.
const leastAcross = 6

// within is the destinations of a phase, by number, that lie in lo…hi-1.
func (x *axis) within(lo, hi int) (from, to int) {
	return (lo - x.first + x.step - 1) / x.step, (hi - x.first + x.step - 1) / x.step
}

// across computes rows lo…hi-1 of a piece of a phase row by row; to begins with row lo.
func (c *convSweep) across(f *phase, p *piece, b *sweepBlock, to, weights []float32, lo, hi int) {
	x, most := &f.cols, c.kernels.most[c.vecs]
	n := p.hi - p.lo
	panels := (n + most - 1) / most
	for i := lo; i < hi; i++ {
		row := to[(i-lo)*f.rows.step*c.rowLen:]
		for q := range panels { // of nearly equal length
			from, end := p.lo+n*q/panels, p.lo+n*(q+1)/panels
			sums := row[from*x.step*c.dst.channels:]
			add := b.at > 0
			for r, t := range f.rows.taps {
				if h := i*f.rows.move + t.shift; h >= 0 && h < c.src.rows && p.from < p.to {
					g := grid{end - from, x.move * b.pixel, x.step * c.dst.channels}
					c.run(f, p, b, g, sums, weights, r, h, from, add)
					add = true
				}
			}
			if !add {
				zero(sums, end-from, x.step*c.dst.channels, b.cols)
			}
		}
	}
}

// down computes rows lo…hi-1 of a piece of a phase column by column; to begins with row lo.
func (c *convSweep) down(f *phase, p *piece, b *sweepBlock, to, weights []float32, lo, hi int) {
	x, most := &f.rows, c.kernels.most[c.vecs]
	ldc := x.step * c.rowLen
	for j := p.lo; j < p.hi; j++ {
		sums := to[j*f.cols.step*c.dst.channels:]
		if b.at == 0 && hi > lo {
			zero(sums, hi-lo, ldc, b.cols)
		}
		for r, t := range f.rows.taps {
			first, last := window(x.n, c.src.rows, x.move, t.shift)
			first, last = max(first, lo), min(last, hi)
			n := last - first
			panels := (n + most - 1) / most
			for q := 0; q < panels && p.from < p.to; q++ {
				from, end := first+n*q/panels, first+n*(q+1)/panels
				g := grid{end - from, x.move * c.width * b.pixel, ldc}
				c.run(f, p, b, g, sums[(from-lo)*ldc:], weights, r, from*x.move+t.shift, j, true)
			}
		}
	}
}

// line computes so many pixels from patches, which lie one after the other like the results.
func (c *convSweep) line(b *sweepBlock, to []float32, n int) {
	most, ld := c.kernels.most[c.vecs], c.dst.channels
	panels := (n + most - 1) / most
	for p := range panels {
		lo, hi := n*p/panels, n*(p+1)/panels
		c.kernels.tile(hi-lo, c.vecs, b.cols, b.in, b.pixels[lo*b.in:], b.in, 1, b.weights, b.ld, to[lo*ld:], ld, false,
			lookahead{addressOf(b.pixels, 0), 0, 0})
	}
}

// grid are pixels in a row or a column: their number, and how far apart they are in the source and the destination.
type grid struct{ n, rs, ldc int }

// run adds the products of some pixels with the taps of a piece in row r of the kernel, or stores them. The first pixel
// meets row h of the source and is in column j of the phase.
func (c *convSweep) run(f *phase, p *piece, b *sweepBlock, g grid, sums, weights []float32, r, h, j int, add bool) {
	x := &f.cols
	terms, step := b.in, 1
	if c.joined {
		terms, step = b.in*(p.to-p.from), p.to-p.from
	}
	line := b.pixels[(h-b.top)*c.width*b.pixel:]
	for s := p.from; s < p.to; s += step {
		a := line[(j*x.move+x.taps[s].shift-c.first)*b.pixel:]
		at, next := (r*len(x.taps)+s)*b.tap, lookahead{addressOf(a, 0), 4, 0}
		if !c.copyB {
			at, next = (f.rows.taps[r].index*c.shape.S+x.taps[s].index)*b.tap, lookahead{}
		}
		c.kernels.tile(g.n, c.vecs, b.cols, terms, a, g.rs, 1, weights[at:], b.ld, sums, g.ldc, add, next)
		add = true
	}
}

// zero clears so many numbers of rows ld apart.
func zero(to []float32, rows, ld, n int) {
	for i := range rows {
		clear(to[i*ld:][:n])
	}
}

// bringPixels makes the source of rows h0…h1-1 of an image ready.
func (c *convSweep) bringPixels(w *Worker, b *sweepBlock, n, h0, h1 int) {
	b.pixels, b.pixel = w.real[c.aAt:], b.in
	if c.patches != nil {
		b.top = h0
		c.patches.rows(c.kernels, b.pixels, w.real[c.padAt:][:c.patches.pad()], n, h0, h1)
		return
	}
	src := c.src.data[n*c.src.rows*c.src.cols*c.src.channels+b.group*c.in+b.at:]
	if c.inPlace {
		b.pixels, b.top, b.pixel = src, 0, c.src.channels
		return
	}
	b.top = c.copyBand(b.pixels, src, b.in, h0, h1)
}

// copyBand copies the rows of the source that rows h0…h1-1 of the destination are made of, and says with which row it
// begins.
func (c *convSweep) copyBand(to, src []float32, in, h0, h1 int) (top int) {
	lo, hi := math.MaxInt, math.MinInt
	for i := range c.phases {
		x := &c.phases[i].rows
		from, to := x.within(h0, h1)
		if from >= to {
			continue
		}
		for _, t := range x.taps {
			lo, hi = min(lo, from*x.move+t.shift), max(hi, (to-1)*x.move+t.shift+1)
		}
	}
	lo, hi = max(lo, 0), min(hi, c.src.rows)
	n := c.width * in
	for h := lo; h < hi && n > 0; h++ {
		from := src[(h*c.src.cols+c.first)*c.src.channels:]
		c.kernels.copyRows(to[(h-lo)*n:], in, from, c.src.channels, c.width, in)
	}
	return lo
}
