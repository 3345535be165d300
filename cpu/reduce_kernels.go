package cpu

import "math"

// The generic loops that reduce. sumLen bounds the elements that eight running sums share before the tree takes over, so
// that no term goes through more than serialAdds additions one after the other.
const (
	sumLen     = 1024
	serialAdds = sumLen/8 + 7 // the last seven terms come one by one
)

// SumBlock is the longest run of terms that a Reduce over one group of adjacent axes adds one after the other before it
// goes on by a tree; a Reduce over separate groups does so once for each group, of which spaces up to rank 4 have two.
const SumBlock = 2 * serialAdds

// sum computes Σ a: eight running sums for each sumLen elements, combined by a tree.
func sum(a []float32) float32 {
	if len(a) > sumLen {
		half := treeSplit(len(a))
		return sum(a[:half]) + sum(a[half:])
	}
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for ; len(a) >= 8; a = a[8:] {
		s0 += a[0]
		s1 += a[1]
		s2 += a[2]
		s3 += a[3]
		s4 += a[4]
		s5 += a[5]
		s6 += a[6]
		s7 += a[7]
	}
	s := ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
	for _, v := range a {
		s += v
	}
	return s
}

// dot computes Σ fl(a·b) in the order of sum.
func dot(a, b []float32) float32 {
	if len(a) > sumLen {
		half := treeSplit(len(a))
		return dot(a[:half], b[:half]) + dot(a[half:], b[half:])
	}
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	b = b[:len(a)]
	for len(a) >= 8 && len(b) >= 8 {
		s0 += float32(a[0] * b[0])
		s1 += float32(a[1] * b[1])
		s2 += float32(a[2] * b[2])
		s3 += float32(a[3] * b[3])
		s4 += float32(a[4] * b[4])
		s5 += float32(a[5] * b[5])
		s6 += float32(a[6] * b[6])
		s7 += float32(a[7] * b[7])
		a, b = a[8:], b[8:]
	}
	s := ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
	for i, v := range a {
		s += float32(v * b[i])
	}
	return s
}

// treeSplit halves n > sumLen at a multiple of sumLen.
func treeSplit(n int) int {
	blocks := (n + sumLen - 1) / sumLen
	return blocks / 2 * sumLen
}

// maximum computes max a, NaN if there is one, -Inf of nothing.
func maximum(a []float32) float32 {
	m0, m1, m2, m3 := negInf, negInf, negInf, negInf
	for ; len(a) >= 4; a = a[4:] {
		m0 = max(m0, a[0])
		m1 = max(m1, a[1])
		m2 = max(m2, a[2])
		m3 = max(m3, a[3])
	}
	m := max(m0, m1, m2, m3)
	for _, v := range a {
		m = max(m, v)
	}
	return m
}

var negInf = float32(math.Inf(-1))

// addRows computes acc = Σ of the rows of a [r,k], one after the other; where add is set, acc += Σ.
func addRows(acc, a []float32, add bool) {
	k := len(acc)
	if !add {
		a = a[copy(acc, a):]
	}
	for ; len(a) > 0; a = a[k:] {
		addVV(acc, acc, a[:k])
	}
}

// maxRows is addRows for the maximum.
func maxRows(acc, a []float32, add bool) {
	k := len(acc)
	if !add {
		a = a[copy(acc, a):]
	}
	for ; len(a) > 0; a = a[k:] {
		maxVV(acc, acc, a[:k])
	}
}
