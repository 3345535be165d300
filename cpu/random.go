package cpu

import (
	"bilevel/internal/kind"
	"bilevel/internal/philox"
)

// randomLoops are the loops of one level; package philox defines what they compute.
type randomLoops struct {
	// bits computes the words of consecutive blocks, as many as fit in groups of a level's own size; the rest stays.
	bits     func(dst []int32, seed uint64, step, stream uint32, block uint64)
	integers func(dst, bits []int32, n uint32)
	uniforms func(dst []float32, bits []int32)
	normals  func(dst []float32, bits []int32)
}

// bitsGroup is a multiple of the size of a group at any level, in words.
const bitsGroup = 32

var genericRandom = randomLoops{
	bits: philoxBits, integers: philoxIntegers, uniforms: philoxUniforms, normals: philoxNormals,
}

func philoxBits(dst []int32, seed uint64, step, stream uint32, block uint64) {
	philox.Bits(dst, seed, step, stream, 4*block)
}

func philoxIntegers(dst, bits []int32, n uint32) {
	for i, b := range bits {
		dst[i] = philox.Integer(uint32(b), n)
	}
}

func philoxUniforms(dst []float32, bits []int32) {
	for i, b := range bits {
		dst[i] = philox.Uniform(uint32(b))
	}
}

func philoxNormals(dst []float32, bits []int32) {
	for i, b := range bits {
		dst[i] = philox.Normal(uint32(b))
	}
}

// Random fills an array with numbers of package philox. See NewRandom.
type Random struct {
	pool      *Pool
	loops     *loops
	kind      kind.Random
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
// are read at each Run. below, 1…2³¹, bounds Integers. Elements are numbered, so any thread can compute any of them.
func NewRandom(pool *Pool, what kind.Random, stream, below uint32, out, seed, step Array) *Random {
	r := &Random{
		pool: pool, loops: loopsOf(pool.level), kind: what, stream: stream, below: below,
		seed: seed, step: step, n: size(out.Shape),
	}
	r.out = operand{iterOf(&out), out.Real, out.Int}
	pool.reserve(blockLen, blockLen)
	return r
}

// Run does the work; the caller holds the pool.
func (r *Random) Run() error {
	word := func(a *Array, i int) uint32 { return uint32(a.Int[a.Off+i*a.Strides[0]]) }
	r.seedValue = uint64(word(&r.seed, 0)) | uint64(word(&r.seed, 1))<<32
	r.stepValue = word(&r.step, 0)
	const perElement = 3 // nanoseconds
	r.pool.share((r.n+blockLen-1)/blockLen, perElement*float64(r.n), r)
	return nil
}

// Do fills one block.
func (r *Random) Do(w *Worker, item int) {
	lo := item * blockLen
	n := min(blockLen, r.n-lo)
	bits := w.int[:n]
	if r.kind == kind.Bits && r.out.kind == dense {
		bits = r.out.int[r.out.off+lo:][:n]
	}
	whole := n / bitsGroup * bitsGroup
	r.loops.bits(bits[:whole], r.seedValue, r.stepValue, r.stream, uint64(lo/4))
	philox.Bits(bits[whole:], r.seedValue, r.stepValue, r.stream, uint64(lo+whole))
	if r.kind == kind.Bits || r.kind == kind.Integers {
		dst := bits
		if r.kind == kind.Integers {
			if r.out.kind == dense {
				dst = r.out.int[r.out.off+lo:][:n]
			}
			r.loops.integers(dst, bits, r.below)
		}
		if r.out.kind != dense {
			store(&r.out.operandIter, r.out.int, dst, lo)
		}
		return
	}
	dst := w.real[:n]
	if r.out.kind == dense {
		dst = r.out.real[r.out.off+lo:][:n]
	}
	if r.kind == kind.Uniform {
		r.loops.uniforms(dst, bits)
	} else {
		r.loops.normals(dst, bits)
	}
	if r.out.kind != dense {
		store(&r.out.operandIter, r.out.real, dst, lo)
	}
}
