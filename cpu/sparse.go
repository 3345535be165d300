package cpu

// Sparse is a matrix [Rows, Cols] of which only the elements that are not zero are kept, row by row.
type Sparse struct {
	Rows, Cols int
	starts     []int // row i is the elements from starts[i] to starts[i+1]
	columns    []int
	values     []float32
}

// Compress keeps what is not zero of a matrix in row-major order.
func Compress(a []float32, rows, cols int) *Sparse {
	s := &Sparse{Rows: rows, Cols: cols, starts: make([]int, 1, rows+1)}
	for i := range rows {
		for j, v := range a[i*cols : (i+1)*cols] {
			if v != 0 {
				s.columns, s.values = append(s.columns, j), append(s.values, v)
			}
		}
		s.starts = append(s.starts, len(s.values))
	}
	return s
}

// Len is the number of elements that are kept.
func (s *Sparse) Len() int { return len(s.values) }

// SparseGemm computes out [m,n] = W [m,k] · x [k,n] with a sparse W; see NewSparseGemm.
type SparseGemm struct {
	pool   *Pool
	w      *Sparse
	x, out []float32
	n      int
	at     []int // where the row of x that belongs to each element of W begins, and morePlaces times the first one
	row    func(g *SparseGemm, from, to int, out []float32)
	rows   int // of out that one item does
}

// NewSparseGemm makes the product. x and out are in row-major order and do not overlap. Each number is a sum in the
// order of the row's elements, but for n = 1, where it is four sums, of every fourth element, added at the end. The
// same bits for any number of threads.
//
// A row of out is a running sum of multiples of rows of x, in vectors along n. That takes as long for an element of W
// as a dense product takes for several: it wins where few are left.
func NewSparseGemm(pool *Pool, w *Sparse, x, out []float32, n int) *SparseGemm {
	g := &SparseGemm{pool: pool, w: w, x: x[:w.Cols*n], out: out[:w.Rows*n], n: n}
	for _, c := range w.columns {
		g.at = append(g.at, c*n)
	}
	for range morePlaces {
		g.at = append(g.at, 0)
	}
	k := kernelsOf(pool.level)
	switch {
	case n == 1:
		g.row = (*SparseGemm).dot
	case k.tileRows != nil && n >= k.wide*k.lanes:
		g.row = (*SparseGemm).tile
	default:
		g.row = (*SparseGemm).sum
	}
	const itemWork = 1 << 14 // multiplications
	each := max(1, len(w.values)*n/max(1, w.Rows))
	g.rows = min(max(1, itemWork/each), max(1, w.Rows))
	return g
}

// Run does the work; the caller holds the pool.
func (g *SparseGemm) Run() error {
	work := float64(len(g.w.values)*g.n) / kernelsOf(g.pool.level).rate
	g.pool.share((g.w.Rows+g.rows-1)/g.rows, work, g)
	return nil
}

// Do computes some rows.
func (g *SparseGemm) Do(_ *Worker, item int) {
	for i := item * g.rows; i < min((item+1)*g.rows, g.w.Rows); i++ {
		from, to, out := g.w.starts[i], g.w.starts[i+1], g.out[i*g.n:(i+1)*g.n]
		if from == to {
			clear(out)
			continue
		}
		g.row(g, from, to, out)
	}
}

func (g *SparseGemm) tile(from, to int, out []float32) {
	values, at := g.w.values[from:to], g.at[from:to+morePlaces]
	kernelsOf(g.pool.level).tileRows(1, g.n, len(values), values, len(values), 1, at, g.x, out, g.n)
}

func (g *SparseGemm) sum(from, to int, out []float32) {
	clear(out)
	for q := from; q < to; q++ {
		v, x := g.w.values[q], g.x[g.at[q]:][:len(out)]
		for j := range out {
			out[j] += float32(v * x[j])
		}
	}
}

func (g *SparseGemm) dot(from, to int, out []float32) {
	values, at, x := g.w.values[from:to], g.at[from:to], g.x
	var a, b, c, d float32
	for len(values) >= 4 && len(at) >= 4 {
		a += float32(values[0] * x[at[0]])
		b += float32(values[1] * x[at[1]])
		c += float32(values[2] * x[at[2]])
		d += float32(values[3] * x[at[3]])
		values, at = values[4:], at[4:]
	}
	for i, v := range values {
		a += float32(v * x[at[i]])
	}
	out[0] = (a + b) + (c + d)
}
