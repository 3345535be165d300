package cpu

import "math"

// SoftmaxKind chooses what a RowSoftmax computes.
type SoftmaxKind uint8

const (
	Softmax SoftmaxKind = iota
	LogSoftmax
	CrossEntropy
)

// RowSoftmax works on the rows of z [r,c]; with M = max_j z_j and S = Σ_j exp(z_j - M) it computes
//
//	Softmax       out [r,c] = exp(z - M) / S
//	LogSoftmax    out [r,c] = (z - M) - log S
//	CrossEntropy  out [r]   = log S - (z[label] - M), NaN for a label outside 0…c-1
//
// Subtracting M makes every exponent at most 0 and S at least 1: nothing overflows.
type RowSoftmax struct {
	pool      *Pool
	kind      SoftmaxKind
	z, labels Array
	out       Array
	group     int // rows that one item does
	items     int
}

// NewRowSoftmax makes a RowSoftmax; labels is used by CrossEntropy only. For the other kinds out may be exactly z.
func NewRowSoftmax(pool *Pool, kind SoftmaxKind, out, z, labels Array) *RowSoftmax {
	s := &RowSoftmax{pool: pool, kind: kind, z: z, labels: labels, out: out}
	r, c := z.Shape[0], z.Shape[1]
	s.group = max(1, blockLen/max(1, c))
	s.items = (r + s.group - 1) / s.group
	pool.reserve(2*c, 0)
	return s
}

// Run does the work; the caller holds the pool.
func (s *RowSoftmax) Run() error {
	const perElement, perRow = 6, 30 // nanoseconds
	r, c := s.z.Shape[0], s.z.Shape[1]
	s.pool.share(s.items, float64(r)*(perElement*float64(c)+perRow), s)
	return nil
}

// Do computes one group of rows.
func (s *RowSoftmax) Do(w *Worker, item int) {
	c := s.z.Shape[1]
	for i := item * s.group; i < min((item+1)*s.group, s.z.Shape[0]); i++ {
		z := run{c, s.z.Off + i*s.z.Strides[0], s.z.Strides[1]}
		row := w.real[:c]
		if c > 0 && z.stride == 1 {
			row = s.z.Real[z.off:][:c]
		} else if c > 0 {
			loadRun(row, s.z.Real, z)
		}
		if s.kind == CrossEntropy {
			label := s.labels.Int[s.labels.Off+i*s.labels.Strides[0]]
			s.out.Real[s.out.Off+i*s.out.Strides[0]] = crossEntropy(w.real[c:2*c], row, int(label))
			continue
		}
		if c == 0 {
			return
		}
		o := run{c, s.out.Off + i*s.out.Strides[0], s.out.Strides[1]}
		dst := w.real[c : 2*c]
		if o.stride == 1 {
			dst = s.out.Real[o.off:][:c]
		}
		if s.kind == Softmax {
			softmax(dst, row)
		} else {
			logSoftmax(dst, row, w.real[c:2*c])
		}
		if o.stride != 1 {
			storeRun(s.out.Real, dst, o)
		}
	}
}

// softmax computes dst = exp(z - max z)/Σ; dst may be z.
func softmax(dst, z []float32) {
	subVS(dst, z, maximum(z))
	expV(dst, dst)
	divVS(dst, dst, sum(dst))
}

// logSoftmax computes dst = z - logΣexp z; dst may be z or tmp.
func logSoftmax(dst, z, tmp []float32) {
	m := maximum(z)
	l := logSumExp(tmp, z, m)
	subVS(dst, z, m)
	subVS(dst, dst, l)
}

// crossEntropy returns logΣexp z - z[label]; tmp is scratch of z's length.
func crossEntropy(tmp, z []float32, label int) float32 {
	if label < 0 || label >= len(z) {
		return float32(math.NaN())
	}
	m := maximum(z)
	return logSumExp(tmp, z, m) - (z[label] - m)
}

// logSumExp computes log Σ exp(z - m); tmp is scratch of z's length.
func logSumExp(tmp, z []float32, m float32) float32 {
	subVS(tmp, z, m)
	expV(tmp, tmp)
	return float32(math.Log(float64(sum(tmp))))
}
