package cpu

import (
	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// PoolShape is the geometry of windows of R rows and S columns over N images of H rows, W columns and C channels, whose
// channels lie last. The window at p, q of the P×Q results covers the rows from p·StrideH - Top on and the columns from
// q·StrideW - Left on, as far as the images reach; the padding of a side is smaller than the window.
type PoolShape struct {
	N, H, W, C       int
	R, S             int
	StrideH, StrideW int
	Top, Bottom      int // rows around the images
	Left, Right      int // columns
	// CountPadding: an average divides by R·S, as if there were zeros around the images; else by the number of pixels.
	CountPadding bool
}

// Out is the number of rows and columns of the results.
func (s *PoolShape) Out() (p, q int) {
	return (s.H+s.Top+s.Bottom-s.R)/s.StrideH + 1, (s.W+s.Left+s.Right-s.S)/s.StrideW + 1
}

// Pool2D makes something of the windows of images. See NewPool2D.
type Pool2D struct {
	pool  *Pool
	shape PoolShape
	p, q  int
	row   func(c *Pool2D, item int)
	items int // rows of out
	out   []float32
	in    [2][]float32
	loops *loops
}

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
	m := &Pool2D{pool: pool, shape: shape, out: out.Real[out.Off:], loops: loopsOf(pool.level), row: poolRows[k]}
	m.p, m.q = shape.Out()
	for i := range in {
		m.in[i] = in[i].Real[in[i].Off:]
	}
	m.items = shape.N * m.p
	if k == kind.AveragePoolAdjoint || k == kind.MaxPoolAdjoint {
		m.items = shape.N // windows overlap within an image only
	}
	return m
}

// poolRows computes one item: a row of results, or, of adjoints, an image.
var poolRows = [...]func(m *Pool2D, item int){
	kind.AveragePool:        (*Pool2D).average,
	kind.AveragePoolAdjoint: (*Pool2D).spread,
	kind.MaxPool:            func(m *Pool2D, item int) { m.maxima(item, m.in[0]) },
	kind.MaxPoolTangent:     func(m *Pool2D, item int) { m.maxima(item, m.in[1]) },
	kind.MaxPoolAdjoint:     (*Pool2D).scatter,
}

// Run does the work; the caller holds the pool.
func (m *Pool2D) Run() error {
	const nanos = 0.5 // of a number of a window
	s := &m.shape
	m.pool.share(m.items, nanos*float64(s.N*m.p*m.q*s.C*s.R*s.S), m)
	return nil
}

// Do computes one item.
func (m *Pool2D) Do(_ *Worker, item int) { m.row(m, item) }

// rows and columns are the pixels of a window that lie inside the images: from lo to below hi.
func (s *PoolShape) rows(p int) (lo, hi int) {
	return max(0, p*s.StrideH-s.Top), min(s.H, p*s.StrideH-s.Top+s.R)
}

func (s *PoolShape) columns(q int) (lo, hi int) {
	return max(0, q*s.StrideW-s.Left), min(s.W, q*s.StrideW-s.Left+s.S)
}

// divisor is what an average divides by.
func (s *PoolShape) divisor(pixels int) float32 {
	if s.CountPadding {
		pixels = s.R * s.S
	}
	return float32(pixels)
}

// average computes a row of averages.
func (m *Pool2D) average(item int) {
	s := &m.shape
	n, p := item/m.p, item%m.p
	h0, h1 := s.rows(p)
	for q := range m.q {
		w0, w1 := s.columns(q)
		y := m.out[(item*m.q+q)*s.C:][:s.C]
		clear(y)
		for h := h0; h < h1; h++ {
			for w := w0; w < w1; w++ {
				m.loops.real[expr.Add].vv(y, y, m.in[0][((n*s.H+h)*s.W+w)*s.C:][:s.C])
			}
		}
		m.loops.real[expr.Div].vs(y, y, s.divisor((h1-h0)*(w1-w0)))
	}
}

// spread computes the adjoint of the averages of an image.
func (m *Pool2D) spread(n int) {
	s := &m.shape
	x := m.out[n*s.H*s.W*s.C:][:s.H*s.W*s.C]
	clear(x)
	for p := range m.p {
		h0, h1 := s.rows(p)
		for q := range m.q {
			w0, w1 := s.columns(q)
			d := s.divisor((h1 - h0) * (w1 - w0))
			y := m.in[0][((n*m.p+p)*m.q+q)*s.C:][:s.C]
			for h := h0; h < h1; h++ {
				for w := w0; w < w1; w++ {
					to := x[(h*s.W+w)*s.C:][:s.C]
					for i, v := range y {
						to[i] += float32(v / d)
					}
				}
			}
		}
	}
}

// before says whether v takes the place of a maximum m that comes earlier.
func before(v, m float32) bool { return v > m || v != v && m == m }

// maxima computes a row of what lies in from where the windows have their maxima.
func (m *Pool2D) maxima(item int, from []float32) {
	s := &m.shape
	n, p := item/m.p, item%m.p
	for q := range m.q {
		for i := range s.C {
			m.out[(item*m.q+q)*s.C+i] = from[m.place(n, p, q, i)]
		}
	}
}

// scatter computes the adjoint of maxima for an image.
func (m *Pool2D) scatter(n int) {
	s := &m.shape
	clear(m.out[n*s.H*s.W*s.C:][:s.H*s.W*s.C])
	for p := range m.p {
		for q := range m.q {
			for i := range s.C {
				m.out[m.place(n, p, q, i)] += m.in[1][((n*m.p+p)*m.q+q)*s.C+i]
			}
		}
	}
}

// place is where a window has its maximum: the index in x.
func (m *Pool2D) place(n, p, q, i int) (best int) {
	s, x := &m.shape, m.in[0]
	h0, h1 := s.rows(p)
	w0, w1 := s.columns(q)
	best = ((n*s.H+h0)*s.W+w0)*s.C + i
	for h := h0; h < h1; h++ {
		for w := w0; w < w1; w++ {
			if at := ((n*s.H+h)*s.W+w)*s.C + i; before(x[at], x[best]) {
				best = at
			}
		}
	}
	return best
}
