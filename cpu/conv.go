package cpu

import (
	"slices"

	"bilevel/internal/expr"
	"bilevel/internal/geometry"
	"bilevel/internal/kind"
)

// Convolutions of images, on the kernels of Gemm.
//
// Channels lie last because a convolution then is a product of matrices as they lie. The pixels of a row, at a constant
// distance from each other, are rows of the left operand, and a run of a pixel's channels, or of all channels of
// neighbouring pixels, its terms; the weights of a tap are the right operand with the output channels along vectors.
// A stride only changes the distance. So the kernels of Gemm do all the work, and nothing is spread out in memory. With
// channels first, vectors run along the columns of an image: an image of 8 columns fills half a vector of AVX-512, one
// of 4 columns a quarter, and with a stride of 2 the pixels of a vector are not neighbours. What that costs was
// measured before the layout was chosen. The forward pass of 16 images with kernels of 3×3, as many output channels as
// input channels, on one thread of a Zen 4 core (milliseconds of processor time, least of six runs), by the same
// kernels of Gemm: channels last; channels first with a product for each row of an image; and channels first with one
// product for a whole padded image, whose results between the rows are thrown away:
//
//	                      last   first, by rows   first, whole images
//	 64 channels, 32×32   11.1       13.1               11.9
//	128 channels, 16×16   10.8       11.5               12.3
//	256 channels, 8×8      9.8       22.3               13.7
//	512 channels, 4×4     10.4       48.0               24.8
//
// Normalizations of channels, biases and reductions over pixels gain as well: their vectors lie along the channels.
//
// Which way NewConv goes:
//
//	a kernel of one pixel without stride and padding   Gemm
//	groups of single channels                          convDepthwise: elementwise products along channels
//	weight gradients                                   convWeights: terms are pixels
//	3×3 or 5×5 without stride, 16 channels or more     convWinograd, convWinogradWeights: fewer multiplications
//	input gradients for few channels                   convFew: vectors along pixels, then sums of shifted rows
//	everything else                                    convSweep: terms are channels and taps
//
// Where x has few channels, convSweep and convWeights take the taps for channels (patches), a few rows at a time.
// `bilevel bench convloops` measures all of these, and bench/README.md has a table beside PyTorch and JAX.

// ConvShape is the geometry of a convolution, with its formula.
type ConvShape = geometry.Conv

// window says which outputs a tap of a kernel leads to: those from lo to below hi among n places, a stride apart, whose
// input stride·place + shift lies inside 0…length-1.
func window(n, length, stride, shift int) (lo, hi int) {
	if shift < 0 {
		lo = min(n, (-shift+stride-1)/stride)
	}
	if last := length - 1 - shift; last >= 0 {
		hi = min(n, last/stride+1)
	}
	return lo, max(lo, hi)
}

// Conv computes one of the three arrays of Σ y·x·w from the other two. See NewConv.
type Conv struct{ way interface{ Run() error } }

// NewConv makes out = φ(sums, extras), where the sums are, by kind, y of x = a and w = b (ConvForward), the input
// gradient x of y = a and w = b (ConvInputGradient), or the weight gradient w of x = a and y = b (ConvWeightGradient):
//
//	x[n,h,w,c0+c] = Σ y[n,p,q,k] w[r,s,c,k] over the k of the group and all r, s, p, q with
//	                h = p·StrideH + r·DilationH - Top and w = q·StrideW + s·DilationW - Left
//	w[r,s,c,k]    = Σ y[n,p,q,k] x[n, p·StrideH + r·DilationH - Top, q·StrideW + s·DilationW - Left, c0+c]
//	                over n, p, q
//
// The three are one form in y, x and w, so that each derivative of one of them is another one. Operands and out are
// dense. The epilogue φ is an expression whose input 0 are the sums and inputs 1… the extras, all of out's shape, in
// any strides; nil is the sums themselves. out overlaps neither operand; an extra may be exactly out.
//
// Error: |fl(sum) - sum| ≤ (k+2) u Σ|terms|, where k is the number of terms, those with the zeros around the images
// counted; where the way is Winograd's, see winograd for the bound, and set Pool.Direct to have none of it. Where x is
// not inside the images a weight may be multiplied by zero.
func NewConv(
	pool *Pool, k kind.Conv, shape ConvShape, out, a, b Array, epilogue *expr.Expr, extras []Array,
) *Conv {
	c := &convCall{pool: pool, shape: shape, kind: k, out: out, a: a, b: b, expr: epilogue, extras: extras}
	c.p, c.q = shape.Out()
	if size(out.Shape) == 0 {
		return &Conv{noConv{}}
	}
	if g := c.product(); g != nil {
		return &Conv{g}
	}
	if d := newConvDepthwise(c); d != nil {
		return &Conv{d}
	}
	switch k {
	case kind.ConvWeightGradient:
		if t := newConvWinogradWeights(c); t != nil {
			return &Conv{t}
		}
		return &Conv{newConvWeights(c)}
	case kind.ConvInputGradient:
		if f := newConvFew(c); f != nil {
			return &Conv{f}
		}
	}
	if t := newConvWinograd(c); t != nil {
		return &Conv{t}
	}
	return &Conv{newConvSweep(c)}
}

// Run does the work; the caller holds the pool.
func (c *Conv) Run() error { return c.way.Run() }

// noConv is the operation without a result.
type noConv struct{}

func (noConv) Run() error { return nil }

// convCall is what NewConv is called with.
type convCall struct {
	pool      *Pool
	shape     ConvShape
	p, q      int
	kind      kind.Conv
	out, a, b Array
	expr      *expr.Expr
	extras    []Array
}

// product is the convolution as a product of matrices, where it is one: a kernel of one pixel at every pixel. An
// epilogue that reads positions needs the axes of out, which a matrix does not have.
func (c *convCall) product() *Gemm {
	s := &c.shape
	if c.expr != nil && slices.ContainsFunc(c.expr.Steps, func(e expr.Step) bool { return e.Fn == expr.Iota }) {
		return nil
	}
	if s.R*s.S > 1 || s.StrideH*s.StrideW > 1 || s.Top+s.Bottom+s.Left+s.Right > 0 || s.Groups > 1 {
		return nil
	}
	extras := make([]Array, len(c.extras))
	for i := range extras {
		m, ok := c.extras[i].asMatrix()
		if !ok {
			return nil
		}
		extras[i] = m
	}
	a, _ := c.a.asMatrix()
	b, _ := c.b.asMatrix()
	out, _ := c.out.asMatrix()
	switch c.kind {
	case kind.ConvInputGradient:
		b = b.flipped()
	case kind.ConvWeightGradient:
		a = a.flipped()
	}
	return NewGemm(c.pool, out, a, b, nil, nil, c.expr, extras)
}

// asMatrix is the same elements as one matrix, whose columns are the last axis, where the other axes merge.
func (a *Array) asMatrix() (Array, bool) {
	last := len(a.Shape) - 1
	rows, step := 1, 0
	for i := last - 1; i >= 0; i-- {
		if a.Shape[i] == 1 {
			continue
		}
		if rows == 1 {
			step = a.Strides[i]
		} else if a.Strides[i] != rows*step {
			return Array{}, false
		}
		rows *= a.Shape[i]
	}
	m := *a
	m.Shape, m.Strides = []int{1, rows, a.Shape[last]}, []int{0, step, a.Strides[last]}
	return m, true
}

// flipped is the transposed matrix.
func (a Array) flipped() Array {
	a.Shape = []int{1, a.Shape[2], a.Shape[1]}
	a.Strides = []int{0, a.Strides[2], a.Strides[1]}
	return a
}

// room counts the numbers of a worker's scratch memory that are given away.
type room int

// take gives the place of n numbers more, on a cache line of its own.
func (r *room) take(n int) (at int) {
	at = int(*r)
	*r += room(roundUp(n, lineLen))
	return at
}

// ending is what becomes of the sums of a convolution: φ of them and the extras, stored to out.
type ending struct {
	program   *program
	none      bool      // φ is the sums themselves
	sumsInOut bool      // no extra is out, which may then hold the sums
	to        []float32 // out
}

func (c *convCall) ending() ending {
	e := c.expr
	if e == nil {
		e = &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	}
	return ending{
		program: compile(spec{
			level: c.pool.level, expr: e, shape: c.out.Shape, given: true,
			in: append([]Array{c.out}, c.extras...), out: []Array{c.out},
		}),
		none:      e.Steps[e.Outs[0]] == expr.Step{Fn: expr.Input},
		sumsInOut: !slices.ContainsFunc(c.extras, func(x Array) bool { return x.same(&c.out) }),
		to:        c.out.Real[c.out.Off:],
	}
}

// nanos is the time of the epilogue over all points.
func (e *ending) nanos() float64 { return e.program.cost * float64(e.program.points) }

// finish makes the results lo…lo+len(sums)-1 of their sums.
func (e *ending) finish(w *Worker, lo int, sums []float32) {
	for i := 0; i < len(sums); i += blockLen {
		n := min(blockLen, len(sums)-i)
		e.program.run(w, lo+i, n, sums[i:][:n])
	}
}
