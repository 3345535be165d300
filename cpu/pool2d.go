package cpu

import (
	"bilevel/internal/expr"
	"bilevel/internal/geometry"
	"bilevel/internal/kind"
)

// PoolShape is the geometry of the windows.
type PoolShape = geometry.Pool

// Pool2D makes something of the windows of images. See NewPool2D.
type Pool2D struct {
	pool    *Pool
	shape   PoolShape
	p, q    int
	row     func(m *Pool2D, w *Worker, item int)
	items   int // rows of out
	out     []float32
	in      [2][]float32
	loops   *loops
	kernels *kernels
	line    int // numbers of a row, of images or of results, whichever is longer
}

// poolLines is the number of lines that a worker has for itself.
const poolLines = 6

// NewPool2D makes out of the windows, by kind, where x and t are images [N,H,W,C] and y has the shape [N,P,Q,C] of the
// results; all arrays are dense and out overlaps no other:
//
//	AveragePool         out [N,P,Q,C] = the average of each window of in[0] = x, by what CountPadding says
//	AveragePoolAdjoint  out [N,H,W,C] = for each pixel the sum of in[0] = y over the windows that it lies in, each
//	                    divided by what the average divides by
//	MaxPool             out [N,P,Q,C] = the maximum of each window of in[0] = x; NaN wins
//	MaxPoolTangent      out [N,P,Q,C] = in[1] = t where the window of in[0] = x has its maximum
//	MaxPoolAdjoint      out [N,H,W,C] = for each pixel the sum of in[1] = y over the windows of in[0] = x that have
//	                    their maximum there
//
// Of equal maxima the first one by rows counts; the first NaN comes before every number. MaxPoolTangent and
// MaxPoolAdjoint are linear in in[1] and each other's adjoint.
func NewPool2D(pool *Pool, k kind.Pool, shape PoolShape, out Array, in []Array) *Pool2D {
	m := &Pool2D{
		pool: pool, shape: shape, out: out.Real[out.Off:], row: poolRows[k], loops: loopsOf(pool.level),
		kernels: kernelsOf(pool.level),
	}
	m.p, m.q = shape.Out()
	for i := range in {
		m.in[i] = in[i].Real[in[i].Off:]
	}
	m.items = shape.N * m.p
	if k == kind.AveragePoolAdjoint || k == kind.MaxPoolAdjoint {
		m.items = shape.N // windows overlap within an image only
	}
	m.line = roundUp(max(shape.W, m.q)*shape.C, lineLen)
	pool.reserve(poolLines*m.line, 0)
	return m
}

// poolRows computes one item: a row of results, or, of adjoints, an image.
var poolRows = [...]func(m *Pool2D, w *Worker, item int){
	kind.AveragePool:        (*Pool2D).average,
	kind.AveragePoolAdjoint: (*Pool2D).spread,
	kind.MaxPool:            (*Pool2D).maxima,
	kind.MaxPoolTangent:     (*Pool2D).tangent,
	kind.MaxPoolAdjoint:     (*Pool2D).scatter,
}

// Run does the work; the caller holds the pool.
func (m *Pool2D) Run() error {
	const nanos = 0.3 // of a number of a window
	s := &m.shape
	m.pool.share(m.items, nanos*float64(s.N*m.p*m.q*s.C*s.R*s.S), m)
	return nil
}

// Do computes one item.
func (m *Pool2D) Do(w *Worker, item int) { m.row(m, w, item) }

// lineOf is line number i of a worker.
func (m *Pool2D) lineOf(w *Worker, i int) []float32 { return w.real[i*m.line:][:m.line] }

// imageRow is a row of images, and resultRow one of results.
func (m *Pool2D) imageRow(x []float32, n, h int) []float32 {
	return x[(n*m.shape.H+h)*m.shape.W*m.shape.C:][:m.shape.W*m.shape.C]
}

func (m *Pool2D) resultRow(y []float32, row int) []float32 {
	return y[row*m.q*m.shape.C:][:m.q*m.shape.C]
}

// tap gives the pixels of a row of images that lie in column t of the windows: those of the results lo…hi-1, in place
// or copied to line.
func (m *Pool2D) tap(line, row []float32, t int) (pixels []float32, lo, hi int) {
	s := &m.shape
	shift := t - s.Left
	if lo, hi = window(m.q, s.W, s.StrideW, shift); lo >= hi {
		return nil, lo, lo
	}
	row = row[(lo*s.StrideW+shift)*s.C:]
	if n := (hi - lo) * s.C; s.StrideW == 1 {
		return row[:n], lo, hi
	}
	m.kernels.copyRows(line, s.C, row, s.StrideW*s.C, hi-lo, s.C)
	return line[:(hi-lo)*s.C], lo, hi
}

// overColumns combines, for each result, the pixels of a row of images in its window, and y.
func (m *Pool2D) overColumns(w *Worker, y, row []float32, combine func(dst, a, b []float32)) {
	for t := range m.shape.S {
		x, lo, hi := m.tap(m.lineOf(w, 0), row, t)
		if part := y[lo*m.shape.C : hi*m.shape.C]; len(part) > 0 {
			combine(part, part, x)
		}
	}
}

// overRows combines the rows of images that the windows of row p of image n cover, into a line unless it is one.
func (m *Pool2D) overRows(w *Worker, n, p int, combine func(dst, a, b []float32)) []float32 {
	lo, hi := m.shape.Rows(p)
	all := m.imageRow(m.in[0], n, lo)
	for h := lo + 1; h < hi; h++ {
		line := m.lineOf(w, 1)[:len(all)]
		combine(line, all, m.imageRow(m.in[0], n, h))
		all = line
	}
	return all
}

// divide divides the results of row p by what an average divides by.
func (m *Pool2D) divide(dst, y []float32, p int) {
	s := &m.shape
	by := m.loops.real[expr.Div].vs
	if s.CountPadding {
		by(dst, y, float32(s.R*s.S))
		return
	}
	h0, h1 := s.Rows(p)
	for q := 0; q < m.q; {
		w0, w1 := s.Columns(q)
		end := q + 1 // of the results with as many pixels
		for ; end < m.q; end++ {
			if lo, hi := s.Columns(end); hi-lo != w1-w0 {
				break
			}
		}
		by(dst[q*s.C:end*s.C], y[q*s.C:end*s.C], float32((h1-h0)*(w1-w0)))
		q = end
	}
}

// average computes a row of averages.
func (m *Pool2D) average(w *Worker, item int) {
	add := m.loops.real[expr.Add].vv
	y := m.resultRow(m.out, item)
	clear(y)
	m.overColumns(w, y, m.overRows(w, item/m.p, item%m.p, add), add)
	m.divide(y, y, item%m.p)
}

// maxima computes a row of maxima.
func (m *Pool2D) maxima(w *Worker, item int) {
	larger := m.loops.real[expr.Max].vv
	y := m.resultRow(m.out, item)
	m.loops.fill(y, negInf)
	m.overColumns(w, y, m.overRows(w, item/m.p, item%m.p, larger), larger)
}

// spread computes the adjoint of the averages of an image: each row of shares is put together once.
func (m *Pool2D) spread(w *Worker, n int) {
	s := &m.shape
	add := m.loops.real[expr.Add].vv
	clear(m.out[n*s.H*s.W*s.C:][:s.H*s.W*s.C])
	for p := range m.p {
		y, row := m.lineOf(w, 0)[:m.q*s.C], m.lineOf(w, 1)[:s.W*s.C]
		m.divide(y, m.resultRow(m.in[0], n*m.p+p), p)
		clear(row)
		for t := range s.S {
			lo, hi := window(m.q, s.W, s.StrideW, t-s.Left)
			m.addTap(row, y[lo*s.C:hi*s.C], lo, t)
		}
		h0, h1 := s.Rows(p)
		for h := h0; h < h1; h++ {
			x := m.imageRow(m.out, n, h)
			add(x, x, row)
		}
	}
}

// addTap adds the numbers of results from lo on to the pixels of a row of images that lie in column t of their windows.
func (m *Pool2D) addTap(row, y []float32, lo, t int) {
	s := &m.shape
	add, step := m.loops.real[expr.Add].vv, s.C
	if s.StrideW == 1 {
		step = len(y)
	}
	for at := (lo*s.StrideW + t - s.Left) * s.C; len(y) > 0; at += s.StrideW * s.C {
		add(row[at:][:step], row[at:][:step], y[:step])
		y = y[step:]
	}
}

// tangent computes a row of what lies in in[1] where the windows have their maxima.
func (m *Pool2D) tangent(w *Worker, item int) {
	y := m.resultRow(m.out, item)
	m.search(w, item, y, func(h, t int) []float32 {
		x, _, _ := m.tap(m.lineOf(w, 4), m.imageRow(m.in[1], item/m.p, h), t)
		return x
	})
}

// search goes through the windows of a row of results, pixel by pixel, and leaves in best, for each result, what of
// gives for the pixel that is the maximum: of(h, t) are numbers for row h of the images and column t of the windows, of
// all windows that have such a pixel.
func (m *Pool2D) search(w *Worker, item int, best []float32, of func(h, t int) []float32) {
	s := &m.shape
	h0, h1 := s.Rows(item % m.p)
	largest, replaced, temp := m.lineOf(w, 1), m.lineOf(w, 2), m.lineOf(w, 3)
	for h := h0; h < h1; h++ {
		row, begun := m.imageRow(m.in[0], item/m.p, h), m.q // results from begun on have had a pixel
		if h > h0 {
			begun = 0
		}
		for t := range s.S {
			x, lo, hi := m.tap(m.lineOf(w, 0), row, t)
			if lo >= hi {
				continue
			}
			v := of(h, t)
			if first := min(begun, hi); first > lo { // their first pixel
				n := (first - lo) * s.C
				copy(largest[lo*s.C:], x[:n])
				copy(best[lo*s.C:], v[:n])
				x, v, begun, lo = x[n:], v[n:], lo, first
			}
			if n := len(x); n > 0 {
				old, to := largest[lo*s.C:][:n], best[lo*s.C:][:n]
				m.before(replaced[:n], temp[:n], x, old)
				where := m.loops.real[expr.Where].vvv
				where(old, replaced[:n], x, old)
				where(to, replaced[:n], v[:n], to)
			}
		}
	}
}

// before computes dst = 1 where x takes the place of the maximum old that comes earlier, else 0: where x is larger, or
// NaN and old is not. temp is as long.
func (m *Pool2D) before(dst, temp, x, old []float32) {
	real := &m.loops.real
	real[expr.Le].vv(dst, x, old)
	real[expr.Eq].vv(temp, old, old)
	real[expr.Where].vsv(dst, dst, 0, temp)
}

// scatter computes the adjoint of tangent for an image: the places of a row of maxima are found as numbers of the
// pixels of a window, and those of each number, with their y, go to the pixels of that number.
func (m *Pool2D) scatter(w *Worker, n int) {
	s, real := &m.shape, &m.loops.real
	clear(m.out[n*s.H*s.W*s.C:][:s.H*s.W*s.C])
	for p := range m.p {
		places, numbers := m.lineOf(w, 5)[:m.q*s.C], m.lineOf(w, 4)[:m.q*s.C]
		m.search(w, n*m.p+p, places, func(h, t int) []float32 {
			m.loops.fill(numbers, float32(h*s.S+t))
			return numbers
		})
		y := m.resultRow(m.in[1], n*m.p+p)
		h0, h1 := s.Rows(p)
		for h := h0; h < h1; h++ {
			for t := range s.S {
				lo, hi := window(m.q, s.W, s.StrideW, t-s.Left)
				if lo >= hi {
					continue
				}
				part := numbers[lo*s.C : hi*s.C]
				real[expr.Eq].vs(part, places[lo*s.C:hi*s.C], float32(h*s.S+t))
				real[expr.Where].vvs(part, part, y[lo*s.C:hi*s.C], 0)
				m.addTap(m.imageRow(m.out, n, h), part, lo, t)
			}
		}
	}
}
