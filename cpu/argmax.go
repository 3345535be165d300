package cpu

// ArgMax finds the largest value of each row. See NewArgMax.
type ArgMax struct {
	pool   *Pool
	out, z Array
	group  int // rows that one item does
}

// NewArgMax makes out[i] = the first index of the largest element of row i of z [r,c], c > 0, with out Int [r].
// NaN counts as larger than any number, so a row with NaN gives its first.
func NewArgMax(pool *Pool, out, z Array) *ArgMax {
	return &ArgMax{pool, out, z, max(1, blockLen/max(1, z.Shape[1]))}
}

// Run does the work; the caller holds the pool.
func (a *ArgMax) Run() error {
	const perElement = 1 // nanoseconds
	r, c := a.z.Shape[0], a.z.Shape[1]
	a.pool.share((r+a.group-1)/a.group, perElement*float64(r*c), a)
	return nil
}

// Do finds the maxima of one group of rows.
func (a *ArgMax) Do(_ *Worker, item int) {
	for i := item * a.group; i < min((item+1)*a.group, a.z.Shape[0]); i++ {
		off := a.z.Off + i*a.z.Strides[0]
		a.out.Int[a.out.Off+i*a.out.Strides[0]] = int32(argMax(a.z.Real[off:], a.z.Shape[1], a.z.Strides[1]))
	}
}

// argMax returns the first index of the largest of n > 0 elements, stride apart.
func argMax(z []float32, n, stride int) int {
	best, at := z[0], 0
	for j := 1; j < n && best == best; j++ {
		if v := z[j*stride]; !(v <= best) {
			best, at = v, j
		}
	}
	return at
}
