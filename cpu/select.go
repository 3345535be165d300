package cpu

import (
	"fmt"
	"math"
)

// KthLargest finds where the k-th largest element of several arrays lies. See NewKthLargest.
//
// It is a radix selection: a pass counts the elements by the highest digit of their keys and picks the digit that the
// k-th has, the next goes on with those of that digit, and so forth; then the place is counted off among the elements
// with the one key that is left.
type KthLargest struct {
	pool     *Pool
	out, k   Array
	segments []segment
	n        int

	count []digitCount // by worker
	equal []uint32     // by segment: elements with the key
	cut
}

// A segment is what one item looks at: consecutive elements of an array.
type segment struct {
	real  []float32 // the array's
	run             // of the segment
	first int       // place of its first element among all
}

// cut selects the elements whose keys agree with prefix in the bits of mask; the digit to be counted lies shift bits
// up.
type cut struct {
	prefix, mask uint32
	shift        int
}

const (
	digitBits  = 11
	segmentLen = 16 * blockLen
	keyOfNaN   = math.MaxUint32
	keyOfZeros = 1 << 31
)

type digitCount [1 << digitBits]uint32

// NewKthLargest makes out = the place of the k-th largest element of the parts, of rank 1 and with at least one element
// together, places being counted through the parts in order; out and k are Int [1]. NaN is larger than any number, -0
// equals 0, and of equals the earlier comes first, so that exactly k elements are the k-th or before it. Its Run fails
// with ErrIndex, having written nothing, if k is less than 1 or more than there are elements.
func NewKthLargest(pool *Pool, out, k Array, parts []Array) *KthLargest {
	s := &KthLargest{pool: pool, out: out, k: k, count: make([]digitCount, pool.Threads())}
	for _, p := range parts {
		for lo := 0; lo < p.Shape[0]; lo += segmentLen {
			n := min(segmentLen, p.Shape[0]-lo)
			s.segments = append(s.segments, segment{p.Real, run{n, p.Off + lo*p.Strides[0], p.Strides[0]}, s.n})
			s.n += n
		}
	}
	s.equal = make([]uint32, len(s.segments))
	pool.reserve(blockLen, 0)
	return s
}

// Run does the work; the caller holds the pool.
func (s *KthLargest) Run() error {
	k := int(s.k.Int[s.k.Off])
	if k < 1 || k > s.n {
		return fmt.Errorf("%w: KthLargest: k is %d, there are %d elements", ErrIndex, k, s.n)
	}
	const perElement, perPass = 1.2, 1000 // nanoseconds
	work := perElement*float64(s.n) + perPass
	rest := uint32(k - 1) // of the elements that the cut selects, those before the k-th
	s.cut = cut{shift: 32}
	for s.shift > 0 {
		width := min(digitBits, s.shift)
		s.shift -= width
		clear(s.count)
		s.pool.share(len(s.segments), work, s)
		digit := s.pick(&rest)
		s.prefix |= digit << s.shift
		s.mask |= (1<<width - 1) << s.shift
	}
	s.pool.share(len(s.segments), work, (*equals)(s))
	i := 0
	for ; rest >= s.equal[i]; i++ {
		rest -= s.equal[i]
	}
	s.out.Int[s.out.Off] = int32(s.segments[i].first + s.find(i, rest))
	return nil
}

// pick gives the digit of the element with rest larger ones before it, and takes those of larger digits off rest.
func (s *KthLargest) pick(rest *uint32) (digit uint32) {
	for d := len(digitCount{}) - 1; ; d-- {
		n := uint32(0)
		for w := range s.count {
			n += s.count[w][d]
		}
		if *rest < n {
			return uint32(d)
		}
		*rest -= n
	}
}

// Do counts the digits of one segment.
func (s *KthLargest) Do(w *Worker, item int) {
	count, c := &s.count[w.Index], s.cut
	s.segments[item].blocks(w, func(block []float32, _ int) bool {
		for _, x := range block {
			if key := keyOf(x); key&c.mask == c.prefix {
				count[key>>c.shift%(1<<digitBits)]++
			}
		}
		return true
	})
}

// equals is the last pass: it counts how often the key occurs in each segment.
type equals KthLargest

func (e *equals) Do(w *Worker, item int) {
	n := uint32(0)
	e.segments[item].blocks(w, func(block []float32, _ int) bool {
		for _, x := range block {
			if keyOf(x) == e.prefix {
				n++
			}
		}
		return true
	})
	e.equal[item] = n
}

// find gives the position, in a segment, of the element with the key that has rest such elements before it.
func (s *KthLargest) find(item int, rest uint32) (at int) {
	s.segments[item].blocks(s.pool.workers[0], func(block []float32, lo int) bool {
		for i, x := range block {
			if keyOf(x) != s.prefix {
				continue
			}
			if rest == 0 {
				at = lo + i
				return false
			}
			rest--
		}
		return true
	})
	return at
}

// blocks calls do with the elements of the segment, in order, from position lo on, until do says false.
func (p *segment) blocks(w *Worker, do func(block []float32, lo int) bool) {
	if p.stride == 1 {
		do(p.real[p.off:][:p.n], 0)
		return
	}
	for lo := 0; lo < p.n; lo += blockLen {
		block := w.real[:min(blockLen, p.n-lo)]
		loadRun(block, p.real, run{len(block), p.off + lo*p.stride, p.stride})
		if !do(block, lo) {
			return
		}
	}
}

// keyOf maps numbers to integers in the same order; all NaN come last, both zeros are one.
func keyOf(x float32) uint32 {
	bits := math.Float32bits(x)
	switch size := bits << 1; {
	case size > 0xff<<24:
		return keyOfNaN
	case size == 0:
		return keyOfZeros
	}
	return bits ^ (uint32(int32(bits)>>31) | 1<<31)
}
