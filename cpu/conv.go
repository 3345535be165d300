package cpu

import (
	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// ConvShape is the geometry of a convolution. Images lie with their channels last, weights with their output channels
// last. x are N images of H rows, W columns and C channels; w has R rows and S columns:
//
//	x [N,H,W,C]    w [R,S,C/Groups,K]    y [N,P,Q,K]
//	y[n,p,q,k] = Σ over r,s,c of x[n, p·StrideH + r·DilationH - Top, q·StrideW + s·DilationW - Left, c0+c] w[r,s,c,k]
//
// where x is 0 outside the images, and c0 is the first of the C/Groups input channels that the group of k reads: output
// channels k of one group are K/Groups in a row, and so are their input channels.
type ConvShape struct {
	N, H, W, C           int
	K, R, S              int
	StrideH, StrideW     int
	DilationH, DilationW int
	Top, Bottom          int // rows of zeros around the images
	Left, Right          int // columns of zeros
	Groups               int
}

// Out is the number of rows and columns of y: P = ⌊(H + Top + Bottom - DilationH (R-1) - 1)/StrideH⌋ + 1, Q likewise.
func (s *ConvShape) Out() (p, q int) {
	return (s.H+s.Top+s.Bottom-s.DilationH*(s.R-1)-1)/s.StrideH + 1,
		(s.W+s.Left+s.Right-s.DilationW*(s.S-1)-1)/s.StrideW + 1
}

// Conv computes one of the three arrays of Σ y·x·w from the other two. See NewConv.
type Conv struct {
	pool     *Pool
	shape    ConvShape
	p, q     int
	kind     kind.Conv
	out      Array
	a, b     []float32 // the operands
	loops    *loops
	rowAt    int // where the sums of an item begin in a worker's scratch
	rowLen   int // sums of an item
	rows     int // items
	nanos    float64
	epilogue *program
}

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
// Error: |fl(sum) - sum| ≤ (k+2) u Σ|terms|, where k is the number of terms.
func NewConv(
	pool *Pool, k kind.Conv, shape ConvShape, out, a, b Array, epilogue *expr.Expr, extras []Array,
) *Conv {
	c := &Conv{
		pool: pool, shape: shape, kind: k, out: out, a: a.Real[a.Off:], b: b.Real[b.Off:], loops: loopsOf(pool.level),
	}
	c.p, c.q = shape.Out()
	if epilogue == nil {
		epilogue = &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	}
	c.epilogue = compile(spec{
		level: pool.level, expr: epilogue, shape: out.Shape, given: true,
		in: append([]Array{out}, extras...), out: []Array{out},
	})
	c.rowLen = out.Shape[3]
	if k != kind.ConvWeightGradient {
		c.rowLen *= out.Shape[2]
	}
	c.rows = c.epilogue.points / max(1, c.rowLen)
	terms := float64(shape.N*c.p*c.q*shape.K*shape.R*shape.S) * float64(shape.C/shape.Groups)
	c.nanos = terms / kernelsOf(pool.level).rate
	reals, ints := c.epilogue.scratch()
	c.rowAt = reals
	pool.reserve(reals+c.rowLen, ints)
	return c
}

// Run does the work; the caller holds the pool.
func (c *Conv) Run() error {
	if c.epilogue.points == 0 {
		return nil
	}
	c.epilogue.begin(c.pool.workers[0])
	c.pool.share(c.rows, c.nanos+c.epilogue.cost*float64(c.epilogue.points), c)
	return nil
}

// Do computes one row of images, or the weights of one input channel at one place.
func (c *Conv) Do(w *Worker, item int) {
	row := w.real[c.rowAt:][:c.rowLen]
	clear(row)
	plainRows[c.kind](c, row, item)
	for j := 0; j < len(row); j += blockLen {
		n := min(blockLen, len(row)-j)
		c.epilogue.run(w, item*len(row)+j, n, row[j:][:n])
	}
}
