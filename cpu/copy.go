package cpu

import "bilevel/internal/expr"

// NewCopy makes the copy of src to dst, of the same shape, casting between types as expr.ToReal and ToInt do. dst and
// src overlap nowhere, or are exactly the same.
func NewCopy(pool *Pool, dst, src Array) interface{ Run() error } {
	if t := newTranspose(pool, &dst, &src); t != nil {
		return t
	}
	e := &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	if (src.Int == nil) != (dst.Int == nil) {
		cast := expr.ToInt
		if dst.Int == nil {
			cast = expr.ToReal
		}
		e.Steps = append(e.Steps, expr.Step{Fn: cast})
		e.Outs[0] = 1
	}
	return NewMap(pool, e, dst.Shape, []Array{src}, []Array{dst})
}

// transpose copies planes whose one axis is dense in src and whose other axis is dense in dst, in tiles: element by
// element, one of the two would be walked across its cache lines.
type transpose struct {
	pool *Pool
	move func(dst []float32, ldd int, src []float32, lds, rows, cols int)

	dst, src   *Array
	outer      operandIter // of dst, over the axes that are not of the plane
	outerSrc   operandIter
	planes     int
	rows, cols int // of a plane of src
	ldd, lds   int
	down, side int // tiles of a plane
}

// tileSide is the length of a side of a tile: two tiles are 32 KiB.
const tileSide = 64

// newTranspose returns nil where the arrays have no such planes.
func newTranspose(pool *Pool, dst, src *Array) *transpose {
	row, col := denseAxis(dst), denseAxis(src)
	if dst.Real == nil || src.Real == nil || row < 0 || col < 0 || row == col || size(dst.Shape) == 0 {
		return nil
	}
	t := &transpose{
		pool: pool, move: kernelsOf(pool.level).transpose, dst: dst, src: src,
		rows: dst.Shape[row], cols: dst.Shape[col], ldd: dst.Strides[col], lds: src.Strides[row],
	}
	outer := append([]int(nil), dst.Shape...)
	outer[row], outer[col] = 1, 1
	t.outer, t.outerSrc = newOperandIter(outer, dst.Strides, dst.Off), newOperandIter(outer, src.Strides, src.Off)
	t.planes = size(outer)
	t.down, t.side = (t.rows+tileSide-1)/tileSide, (t.cols+tileSide-1)/tileSide
	return t
}

// denseAxis is the longest axis along which neighbours lie next to each other, -1 if there is none.
func denseAxis(a *Array) int {
	best := -1
	for i, d := range a.Shape {
		if d > 1 && a.Strides[i] == 1 && (best < 0 || d > a.Shape[best]) {
			best = i
		}
	}
	return best
}

// Run does the work; the caller holds the pool.
func (t *transpose) Run() error {
	const move = 0.4 // nanoseconds per element
	t.pool.share(t.planes*t.down*t.side, move*float64(t.planes*t.rows*t.cols), t)
	return nil
}

// Do moves one tile.
func (t *transpose) Do(_ *Worker, item int) {
	col := item % t.side * tileSide
	item /= t.side
	row, plane := item%t.down*tileSide, item/t.down
	dst := t.dst.Real[t.outer.at(plane)+col*t.ldd+row:]
	src := t.src.Real[t.outerSrc.at(plane)+row*t.lds+col:]
	t.move(dst, t.ldd, src, t.lds, min(tileSide, t.rows-row), min(tileSide, t.cols-col))
}
