package cpu

import "bilevel/internal/expr"

// convFew is the gradient by images of a few channels, which would fill a few lanes of a vector. Here vectors run along
// the pixels of y instead: for a band of them it computes the matrix
//
//	z[(r,s,c), (p,q)] = Σ over k of w[r,s,c,k] y[n,p,q,k]
//
// from a transposed copy of y, and adds each of its rows to the pixels of x that the tap leads to, channel by channel.
// The channels are put side by side at the end, an image at a time.
type convFew struct {
	*convCall
	ending
	kernels       *kernels
	add           func(dst, a, b []float32)
	length        int // rows of z
	rows          int // of y in a band
	yAt, zAt, xAt int // where a worker has the transposed y, z, and an image by channels
	sumsAt        int // and the sums of an image, where they are not out
	nanos         float64
}

// fewPixels is about the most pixels of a band.
const fewPixels = 128

// newConvFew is nil where the channels had better be along vectors.
func newConvFew(call *convCall) *convFew {
	s := &call.shape
	n := s.R * s.S * s.C
	if s.Groups > 1 || s.C > fewChannels || n > mostPatch || s.R*s.S == 1 {
		return nil
	}
	c := &convFew{convCall: call, ending: call.ending(), kernels: kernelsOf(call.pool.level), length: n}
	c.add = loopsOf(call.pool.level).real[expr.Add].vv
	c.rows = max(1, min(c.p, fewPixels/c.q))
	reals, ints := c.program.scratch()
	need := room(reals)
	c.yAt, c.zAt = need.take(s.K*c.rows*c.q), need.take(n*c.rows*c.q)
	c.xAt = need.take(s.C * s.H * s.W)
	if !c.sumsInOut {
		c.sumsAt = need.take(s.C * s.H * s.W)
	}
	c.pool.reserve(int(need), ints)
	c.nanos = float64(s.N*c.p*c.q) * float64(n*s.K) / c.kernels.rate
	return c
}

// Run does the work; the caller holds the pool.
func (c *convFew) Run() error {
	c.program.begin(c.pool.workers[0])
	c.pool.share(c.shape.N, c.nanos+c.ending.nanos(), c)
	return nil
}

// Do computes one image.
func (c *convFew) Do(w *Worker, n int) {
	s := &c.shape
	image := s.H * s.W
	x := w.real[c.xAt:][:s.C*image]
	clear(x)
	for p := 0; p < c.p; p += c.rows {
		rows := min(c.rows, c.p-p)
		z := w.real[c.zAt:]
		c.multiply(z, w.real[c.yAt:], n, p, rows)
		for i := range rows {
			c.spread(x, z[i*c.q:], rows*c.q, p+i)
		}
	}
	sums := c.to[n*s.C*image:][:s.C*image]
	if !c.sumsInOut {
		sums = w.real[c.sumsAt:][:s.C*image]
	}
	c.kernels.transpose(sums, s.C, x, image, s.C, image)
	if !(c.none && c.sumsInOut) {
		c.finish(w, n*s.C*image, sums)
	}
}

// multiply computes z for rows p…p+rows-1 of an image; y has room for them.
func (c *convFew) multiply(z, y []float32, n, p, rows int) {
	k, depth, pixels := c.kernels, c.shape.K, rows*c.q
	k.transpose(y, pixels, c.a.Real[c.a.Off+(n*c.p+p)*c.q*depth:], depth, pixels, depth)
	weights := c.b.Real[c.b.Off:]
	most := k.most[k.wide]
	panels := (c.length + most - 1) / most
	for at := 0; at < depth; at += k.kc {
		for i := range panels {
			lo, hi := c.length*i/panels, c.length*(i+1)/panels
			k.tile(hi-lo, k.wide, pixels, min(k.kc, depth-at), weights[lo*depth+at:], depth, 1, y[at*pixels:], pixels,
				z[lo*pixels:], pixels, at > 0, lookahead{addressOf(weights, 0), 0, 0})
		}
	}
}

// spread adds the part of z that belongs to row p of y, whose rows are ld apart, to an image.
func (c *convFew) spread(x, z []float32, ld, p int) {
	s := &c.shape
	for r := range s.R {
		h := p*s.StrideH + r*s.DilationH - s.Top
		if h < 0 || h >= s.H {
			continue
		}
		for t := range s.S {
			shift := t*s.DilationW - s.Left
			lo, hi := window(c.q, s.W, s.StrideW, shift)
			if lo >= hi {
				continue
			}
			for i := range s.C {
				from := z[((r*s.S+t)*s.C+i)*ld+lo:][:hi-lo]
				to := x[(i*s.H+h)*s.W+lo*s.StrideW+shift:]
				if s.StrideW == 1 {
					c.add(to[:len(from)], to[:len(from)], from)
					continue
				}
				for j, v := range from {
					to[j*s.StrideW] += v
				}
			}
		}
	}
}
