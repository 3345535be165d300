package philox

import "math/bits"

// Stream draws numbers of one stream and step one after another, for host code such as the splitting of data sets.
// Its first word is element 0. It is not safe for concurrent use; it is a small value, and a copy goes on
// independently.
type Stream struct {
	seed         uint64
	step, stream uint32
	next         uint64    // number of the next element
	block        [4]uint32 // the block of element next, where next is no multiple of 4
}

// New returns the Stream of (seed, step, stream), at element 0.
func New(seed uint64, step, stream uint32) *Stream {
	return &Stream{seed: seed, step: step, stream: stream}
}

// Uint32 returns the next element's bits.
func (s *Stream) Uint32() uint32 {
	k := s.next % 4
	if k == 0 {
		s.block = Block(s.seed, s.step, s.stream, s.next/4)
	}
	s.next++
	return s.block[k]
}

// Intn returns an integer in [0, n), each with the same probability exactly, 1 ≤ n ≤ 2³¹. It panics for any other n.
// It usually uses one element, rarely more: D. Lemire, "Fast random integer generation in an interval" (2019).
func (s *Stream) Intn(n int) int {
	if n < 1 || uint64(n) > 1<<31 {
		panic(panicBound)
	}
	hi, lo := bits.Mul32(s.Uint32(), uint32(n))
	for lo < -uint32(n)%uint32(n) { // 2³² mod n
		hi, lo = bits.Mul32(s.Uint32(), uint32(n))
	}
	return int(hi)
}

// Float64 returns a number in [0, 1), a multiple of 2⁻⁵³ made of two elements.
func (s *Stream) Float64() float64 {
	hi, lo := uint64(s.Uint32()), uint64(s.Uint32())
	return float64((hi<<32|lo)>>11) * 0x1p-53
}

// Normal returns the next element as a standard normal number, see the function Normal.
func (s *Stream) Normal() float32 { return Normal(s.Uint32()) }

// Shuffle permutes p, each order with the same probability (Fisher–Yates, as in Knuth's algorithm P). Stopped after the
// first k places, it draws a k-subset; Shuffle runs from the front, so that p[:k] depends on k draws only.
func (s *Stream) Shuffle(p []int32) {
	for i := range len(p) - 1 {
		j := i + s.Intn(len(p)-i)
		p[i], p[j] = p[j], p[i]
	}
}

// Perm returns the numbers 0 … n-1 in random order, 0 ≤ n ≤ 2³¹ - 1.
func (s *Stream) Perm(n int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i)
	}
	s.Shuffle(p)
	return p
}
