package cpu

// ArgMax finds the largest value of each row. See NewArgMax.
type ArgMax struct {
	pool   *Pool
	out, z Array
	maxima func(dst, a []float32, n int)
	group  int // rows that one item does
}

// NewArgMax makes out[i] = the first index of the largest element of row i of z [r,c], c > 0, with out Int [r].
// NaN counts as larger than any number, so a row with NaN gives its first.
func NewArgMax(pool *Pool, out, z Array) *ArgMax {
	a := &ArgMax{
		pool: pool, out: out, z: z, maxima: loopsOf(pool.level).maxima, group: max(1, blockLen/max(1, z.Shape[1])),
	}
	pool.reserve(a.group+z.Shape[1], 0)
	return a
}

// Run does the work; the caller holds the pool.
func (a *ArgMax) Run() error {
	const perElement = 0.5 // nanoseconds
	r, c := a.z.Shape[0], a.z.Shape[1]
	a.pool.share((r+a.group-1)/a.group, perElement*float64(r*c), a)
	return nil
}

// Do finds the maxima of one group of rows, and then where they are.
func (a *ArgMax) Do(w *Worker, item int) {
	n := a.z.Shape[1]
	lo, hi := item*a.group, min((item+1)*a.group, a.z.Shape[0])
	tops, row := w.real[:hi-lo], w.real[a.group:][:n]
	together := a.z.Strides[1] == 1 && a.z.Strides[0] == n
	if together {
		a.maxima(tops, a.z.Real[a.z.Off+lo*n:][:(hi-lo)*n], n)
	}
	for i := lo; i < hi; i++ {
		if together {
			row = a.z.Real[a.z.Off+i*n:][:n]
		} else {
			loadRun(row, a.z.Real, rowOf(&a.z, i))
			a.maxima(tops[i-lo:][:1], row, n)
		}
		a.out.Int[a.out.Off+i*a.out.Strides[0]] = int32(indexOf(row, tops[i-lo]))
	}
}

// indexOf returns the first index of v, which is in a; all NaN count as the same.
func indexOf(a []float32, v float32) int {
	for i, x := range a {
		if x == v || x != x && v != v {
			return i
		}
	}
	return 0
}
