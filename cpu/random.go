package cpu

import "bilevel/internal/philox"

// RandomKind chooses a distribution.
type RandomKind uint8

const (
	Bits RandomKind = iota
	Integers
	Uniform
	Normal
)

// Random fills an array with numbers of package philox. See NewRandom.
type Random struct {
	pool      *Pool
	kind      RandomKind
	stream    uint32
	below     uint32
	out       operand
	n         int
	seed      Array
	step      Array
	seedValue uint64 // read once per run
	stepValue uint32
}

// NewRandom makes out[i] = element i of a stream, with out [n], seed Int [2] (low and high word) and step Int [1]; both
// are read at each Run. below bounds Integers. Elements are numbered, so any thread can compute any of them.
func NewRandom(pool *Pool, kind RandomKind, stream, below uint32, out, seed, step Array) *Random {
	r := &Random{pool: pool, kind: kind, stream: stream, below: below, seed: seed, step: step, n: size(out.Shape)}
	r.out = operand{laneOf(&out), out.Real, out.Int}
	if r.out.kind != dense {
		pool.reserve(blockLen, blockLen)
	}
	return r
}

// Run does the work; the caller holds the pool.
func (r *Random) Run() error {
	word := func(a *Array, i int) uint32 { return uint32(a.Int[a.Off+i*a.Strides[0]]) }
	r.seedValue = uint64(word(&r.seed, 0)) | uint64(word(&r.seed, 1))<<32
	r.stepValue = word(&r.step, 0)
	const perElement = 6 // nanoseconds
	r.pool.share((r.n+blockLen-1)/blockLen, perElement*float64(r.n), r)
	return nil
}

// Do fills one block.
func (r *Random) Do(w *Worker, item int) {
	lo := item * blockLen
	n := min(blockLen, r.n-lo)
	if r.kind == Bits || r.kind == Integers {
		dst := w.int
		if r.out.kind == dense {
			dst = r.out.int[r.out.off+lo:]
		}
		dst = dst[:n]
		if r.kind == Bits {
			philox.Bits(dst, r.seedValue, r.stepValue, r.stream, uint64(lo))
		} else {
			philox.Integers(dst, r.below, r.seedValue, r.stepValue, r.stream, uint64(lo))
		}
		if r.out.kind != dense {
			store(&r.out.lane, r.out.int, dst, lo)
		}
		return
	}
	dst := w.real
	if r.out.kind == dense {
		dst = r.out.real[r.out.off+lo:]
	}
	dst = dst[:n]
	if r.kind == Uniform {
		philox.Uniforms(dst, r.seedValue, r.stepValue, r.stream, uint64(lo))
	} else {
		philox.Normals(dst, r.seedValue, r.stepValue, r.stream, uint64(lo))
	}
	if r.out.kind != dense {
		store(&r.out.lane, r.out.real, dst, lo)
	}
}
