package cpu

import "bilevel/internal/kind"

// convPlain is a convolution by loops that are its definition.
type convPlain struct {
	*convCall
	ending
	a, b   []float32 // the operands
	loops  *loops
	rowAt  int // where the sums of an item begin in a worker's scratch
	rowLen int // sums of an item
	nanos  float64
}

func newConvPlain(call *convCall) *convPlain {
	s := &call.shape
	c := &convPlain{convCall: call, ending: call.ending(), a: call.a.Real[call.a.Off:], b: call.b.Real[call.b.Off:],
		loops: loopsOf(call.pool.level)}
	c.rowLen = call.out.Shape[3]
	if c.kind != kind.ConvWeightGradient {
		c.rowLen *= call.out.Shape[2]
	}
	terms := float64(s.N*c.p*c.q*s.K*s.R*s.S) * float64(s.C/s.Groups)
	c.nanos = terms/kernelsOf(c.pool.level).rate + c.ending.nanos()
	reals, ints := c.program.scratch()
	c.rowAt = reals
	c.pool.reserve(reals+c.rowLen, ints)
	return c
}

// Run does the work; the caller holds the pool.
func (c *convPlain) Run() error {
	c.program.begin(c.pool.workers[0])
	c.pool.share(c.program.points/c.rowLen, c.nanos, c)
	return nil
}

// Do computes one row of images, or the weights of one input channel at one place.
func (c *convPlain) Do(w *Worker, item int) {
	row := w.real[c.rowAt:][:c.rowLen]
	clear(row)
	plainRows[c.kind](c, row, item)
	c.finish(w, item*len(row), row)
}

// plainRows adds the sums of one row of the result, whose number among all rows is item, in the order of the
// definition: a row of an image, or the weights of one input channel at one place of the kernel.
var plainRows = [...]func(c *convPlain, row []float32, item int){
	kind.ConvForward:        (*convPlain).plainForward,
	kind.ConvInputGradient:  (*convPlain).plainInputGradient,
	kind.ConvWeightGradient: (*convPlain).plainWeightGradient,
}

// window says which outputs a tap of a kernel leads to: those from lo to below hi among n places, a stride apart, whose
// input stride·place + shift lies inside 0…length-1.
func window(n, length, stride, shift int) (lo, hi int) {
	if shift < 0 {
		lo = (-shift + stride - 1) / stride
	}
	if last := length - 1 - shift; last >= 0 {
		hi = min(n, last/stride+1)
	}
	return lo, max(lo, hi)
}

// plainForward: y[n,p,·,·].
func (c *convPlain) plainForward(row []float32, item int) {
	s := &c.shape
	n, p := item/c.p, item%c.p
	in, out := s.groupSizes()
	addScaled := c.loops.real[mulAdd].vsv
	for r := range s.R {
		h := p*s.StrideH + r*s.DilationH - s.Top
		if h < 0 || h >= s.H {
			continue
		}
		x := c.a[(n*s.H+h)*s.W*s.C:][:s.W*s.C]
		for t := range s.S {
			shift := t*s.DilationW - s.Left
			lo, hi := window(c.q, s.W, s.StrideW, shift)
			weights := c.b[(r*s.S+t)*in*s.K:][:in*s.K]
			for q := lo; q < hi; q++ {
				pixel := x[(q*s.StrideW+shift)*s.C:][:s.C]
				for i, v := range pixel {
					g := i / in
					y := row[q*s.K+g*out:][:out]
					addScaled(y, weights[i%in*s.K+g*out:][:out], v, y)
				}
			}
		}
	}
}

// plainInputGradient: x[n,h,·,·].
func (c *convPlain) plainInputGradient(row []float32, item int) {
	s := &c.shape
	n, h := item/s.H, item%s.H
	in, out := s.groupSizes()
	for r := range s.R {
		p, rest := (h+s.Top-r*s.DilationH)/s.StrideH, (h+s.Top-r*s.DilationH)%s.StrideH
		if rest != 0 || p < 0 || p >= c.p {
			continue
		}
		y := c.a[(n*c.p+p)*c.q*s.K:][:c.q*s.K]
		for t := range s.S {
			shift := t*s.DilationW - s.Left
			lo, hi := window(c.q, s.W, s.StrideW, shift)
			weights := c.b[(r*s.S+t)*in*s.K:][:in*s.K]
			for q := lo; q < hi; q++ {
				x := row[(q*s.StrideW+shift)*s.C:][:s.C]
				for i := range x {
					g := i / in
					var sum float32
					w := weights[i%in*s.K+g*out:][:out]
					for j, v := range y[q*s.K+g*out:][:out] {
						sum += float32(v * w[j])
					}
					x[i] += sum
				}
			}
		}
	}
}

// plainWeightGradient: w[r,s,c,·].
func (c *convPlain) plainWeightGradient(row []float32, item int) {
	s := &c.shape
	in, out := s.groupSizes()
	i, r, t := item%in, item/in/s.S, item/in%s.S
	shiftH, shiftW := r*s.DilationH-s.Top, t*s.DilationW-s.Left
	fromP, toP := window(c.p, s.H, s.StrideH, shiftH)
	fromQ, toQ := window(c.q, s.W, s.StrideW, shiftW)
	addScaled := c.loops.real[mulAdd].vsv
	for n := range s.N {
		for p := fromP; p < toP; p++ {
			x := c.a[(n*s.H+p*s.StrideH+shiftH)*s.W*s.C:][:s.W*s.C]
			y := c.b[(n*c.p+p)*c.q*s.K:][:c.q*s.K]
			for q := fromQ; q < toQ; q++ {
				for g := range s.Groups {
					w := row[g*out:][:out]
					addScaled(w, y[q*s.K+g*out:][:out], x[(q*s.StrideW+shiftW)*s.C+g*in+i], w)
				}
			}
		}
	}
}
