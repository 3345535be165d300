package cpu

import "math"

// The generic loops over the rows of a matrix. Their rows lie one after the other; results overlap no operand, except
// that dst of rowSub and rowDiv may be exactly a.

// rowLoops are the loops of one level.
type rowLoops struct {
	sums, maxima        func(dst, a []float32, n int)
	dots                func(dst, a, b []float32, n int)
	addRows, maxRows    func(acc, a []float32)
	subNumber, byNumber func(dst, a, s []float32, n int)
	spread              func(dst, s []float32, n int)
	copyRows8           func(dst []float32, ldd int, src []float32, lds int, rows *[8]int32, n int)
}

var genericRows = rowLoops{
	sums: rowSums, maxima: rowMaxima, dots: rowDots,
	addRows: columnSums, maxRows: columnMaxima,
	subNumber: rowSub, byNumber: rowDiv,
	spread: rowSpread, copyRows8: copyRows8,
}

// sumLanes is the number of running sums of a row: term j goes to sum j mod sumLanes, in order, and the sums are then
// added by halves, sum j and sum j + half. It is the same at all levels, so that they give the same bits; AVX-512 has
// it in four registers, enough to hide the latency of an addition.
const sumLanes = 64

// rowSums computes dst[i] = Σ a[i·n…i·n+n-1].
func rowSums(dst, a []float32, n int) {
	var lanes [sumLanes]float32
	for i := range dst {
		s := lanes[:lanesFor(n)]
		clear(s)
		for row := a[i*n:][:n]; len(row) > 0; {
			m := min(len(row), sumLanes)
			for j, v := range row[:m] {
				s[j] += v
			}
			row = row[m:]
		}
		dst[i] = addHalves(s)
	}
}

// rowDots computes dst[i] = Σ fl(a[j]·b[j]) over j = i·n…i·n+n-1, in the order of rowSums.
func rowDots(dst, a, b []float32, n int) {
	var lanes [sumLanes]float32
	for i := range dst {
		s := lanes[:lanesFor(n)]
		clear(s)
		for x, y := a[i*n:][:n], b[i*n:][:n]; len(x) > 0; {
			m := min(len(x), sumLanes)
			for j, v := range x[:m] {
				s[j] += float32(v * y[j])
			}
			x, y = x[m:], y[m:]
		}
		dst[i] = addHalves(s)
	}
}

// lanesFor is the number of running sums that a row of n terms can tell from sumLanes: the others stay zero.
func lanesFor(n int) int {
	lanes := sumLanes
	for lanes > 1 && n <= lanes/2 {
		lanes /= 2
	}
	return lanes
}

func addHalves(s []float32) float32 {
	for h := len(s) / 2; h > 0; h /= 2 {
		for j := range s[:h] {
			s[j] += s[j+h]
		}
	}
	return s[0]
}

// rowMaxima computes dst[i] = max a[i·n…i·n+n-1], NaN if there is one, -Inf of nothing.
func rowMaxima(dst, a []float32, n int) {
	for i := range dst {
		m0, m1, m2, m3 := negInf, negInf, negInf, negInf
		row := a[i*n:][:n]
		for ; len(row) >= 4; row = row[4:] {
			m0 = max(m0, row[0])
			m1 = max(m1, row[1])
			m2 = max(m2, row[2])
			m3 = max(m3, row[3])
		}
		m := max(m0, m1, m2, m3)
		for _, v := range row {
			m = max(m, v)
		}
		dst[i] = m
	}
}

var negInf = float32(math.Inf(-1))

// columnSums computes acc += each row of a [·, len(acc)], one after the other.
func columnSums(acc, a []float32) {
	for k := len(acc); len(a) > 0; a = a[k:] {
		addVV(acc, acc, a[:k])
	}
}

// columnMaxima computes acc = max(acc, row) for each row of a [·, len(acc)].
func columnMaxima(acc, a []float32) {
	for k := len(acc); len(a) > 0; a = a[k:] {
		maxVV(acc, acc, a[:k])
	}
}

// rowSub computes dst = a - s, where the rows of n elements have one s each.
func rowSub(dst, a, s []float32, n int) {
	for i, v := range s {
		subVS(dst[i*n:][:n], a[i*n:][:n], v)
	}
}

// rowDiv computes dst = a / s, where the rows of n elements have one s each.
func rowDiv(dst, a, s []float32, n int) {
	for i, v := range s {
		divVS(dst[i*n:][:n], a[i*n:][:n], v)
	}
}

// rowSpread computes dst = s, where the rows of n elements have one s each.
func rowSpread(dst, s []float32, n int) {
	for i, v := range s {
		fill(dst[i*n:][:n], v)
	}
}

// copyRows8 computes dst[r·ldd + i] = src[rows[r]·lds + i] for all r and i < n.
func copyRows8(dst []float32, ldd int, src []float32, lds int, rows *[8]int32, n int) {
	for r, row := range rows {
		copy(dst[r*ldd:][:n], src[int(row)*lds:])
	}
}

// sumLong computes dst[0] = Σ a for any length: parts of blockLen, their sums, and so on; tmp has room for the parts.
func (l *rowLoops) sumLong(dst, a, tmp []float32) {
	for len(a) > blockLen {
		whole := len(a) / blockLen
		parts := (len(a) + blockLen - 1) / blockLen
		l.sums(tmp[:whole], a, blockLen)
		l.sums(tmp[whole:parts], a[whole*blockLen:], len(a)-whole*blockLen)
		a, tmp = tmp[:parts], tmp[parts:]
	}
	l.sums(dst[:1], a, len(a))
}
