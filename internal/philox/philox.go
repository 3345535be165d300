// Package philox provides the random numbers of the whole project: Philox 4x32-10 of Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), a bijection of 128-bit counters chosen by a 64-bit key.
// A random number is a pure function of its address, so that any thread, any device and a resumed run find the same
// bits:
//
//	key           = the seed            (low word, high word)
//	counter       = index, step, stream (index low, index high, step, stream)
//	element i     = word i mod 4 of Block(seed, step, stream, i/4)
//
// The seed belongs to the run, the stream to the purpose (see streams.go), the step to the iteration, and i to the
// place in the array. Each kind of number uses one 32-bit word b an element:
//
//	bits      b
//	integers  ⌊b·n / 2³²⌋, the high word of the 64-bit product
//	uniforms  (b >> 8) · 2⁻²⁴, in [0, 1)
//	normals   the inverse normal distribution function at ((b >> 9) + ½) · 2⁻²³, see Normal
//
// The fill functions take the number of the first element, from, so that an array can be filled in parts: filling
// dst[:k] from element f and dst[k:] from f+k gives the same as filling dst from f. None allocates.
package philox

import "math/bits"

// The multipliers and the Weyl increments of the key (Salmon et al. 2011, section 4.1).
const (
	mul0  = 0xD2511F53
	mul1  = 0xCD9E8D57
	weyl0 = 0x9E3779B9 // golden ratio
	weyl1 = 0xBB67AE85 // √3 - 1
)

const rounds = 10

const panicBound = "philox: the bound of random integers must be in 1…2³¹"

// Block computes the four words of counter (index low, index high, step, stream) under the key seed.
func Block(seed uint64, step, stream uint32, index uint64) [4]uint32 {
	c0, c1, c2, c3 := uint32(index), uint32(index>>32), step, stream
	k0, k1 := uint32(seed), uint32(seed>>32)
	for range rounds {
		hi0, lo0 := bits.Mul32(mul0, c0)
		hi1, lo1 := bits.Mul32(mul1, c2)
		c0, c1, c2, c3 = hi1^c1^k0, lo1, hi0^c3^k1, lo0
		k0 += weyl0
		k1 += weyl1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// Integer computes ⌊b·n / 2³²⌋, an integer in [0, n) for n ≥ 1. Each value has a probability within 2⁻³² of 1/n.
func Integer(b, n uint32) int32 { return int32(uint64(b) * uint64(n) >> 32) }

// Uniform computes (b >> 8) · 2⁻²⁴, exact in float32: one of 2²⁴ evenly spaced numbers in [0, 1).
func Uniform(b uint32) float32 { return float32(b>>8) * 0x1p-24 }
