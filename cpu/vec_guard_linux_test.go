package cpu

import "testing"

// Loops touch nothing past the last element of their operands.
func TestLoopsStayInside(t *testing.T) {
	const most = 70
	var ends [4][]float32
	for i := range ends {
		ends[i] = atPageEnd(t, most*8)
	}
	last := func(i, n int) []float32 { return ends[i][len(ends[i])-n:] }
	forFastLevels(t, func(t *testing.T, l *loops) {
		for n := range most {
			dst, a, b, c := last(0, n), last(1, n), last(2, n), last(3, n)
			for f := range numFn {
				for form, call := range kernelCalls(&l.real[f]) {
					if n > 0 || form == "V" || form == "VV" || form == "VVV" {
						call(dst, a, b, c)
					}
				}
				for _, call := range intCalls(&l.int[f]) {
					call(dst, a, b, c)
				}
			}
			l.fill(dst, 1)
			l.prefetch(a)
			l.copyRows8(last(0, 8*n), n, last(1, 8*n), n, &[8]int32{1, 0, 7, 7, 3, 2, 5, 6}, n)
			l.integers(asInts(dst), asInts(a), 7)
			l.uniforms(dst, asInts(a))
			l.normals(dst, asInts(a))
			l.bits(asInts(dst)[:n/bitsGroup*bitsGroup], 1, 2, 3, 4)
			number, row, all, more := last(0, 3), last(0, n), last(1, 3*n), last(2, 3*n)
			l.sums(number, all, n)
			l.dots(number, all, more, n)
			l.maxima(number, all, n)
			l.addRows(row, all)
			l.maxRows(row, all)
			l.subNumber(more, all, number, n)
			l.byNumber(more, all, number, n)
			l.spread(more, number, n)
		}
	})
}
