package cpu

import "math"

// The generic loops of signs, comparisons and choices; the rules are those of vec_arith.go.

// negV computes dst = -a.
func negV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = -a[i]
	}
}

// absV computes dst = |a|.
func absV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = abs(a[i])
	}
}

// signV computes dst = -1, 0 or 1, and NaN of NaN.
func signV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = sign(a[i])
	}
}

// reluV computes dst = max(a, 0), NaN stays.
func reluV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], 0)
	}
}

// floorV computes dst = ⌊a⌋.
func floorV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Floor(float64(a[i])))
	}
}

// ltVV computes dst = 1 where a < b, else 0.
func ltVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] < b[i])
	}
}

// ltVS computes dst = 1 where a < s, else 0.
func ltVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] < s)
	}
}

// ltSV computes dst = 1 where s < b, else 0.
func ltSV(dst []float32, s float32, b []float32) {
	b = b[:len(dst)]
	for i := range dst {
		dst[i] = truth(s < b[i])
	}
}

// leVV computes dst = 1 where a ≤ b, else 0.
func leVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] <= b[i])
	}
}

// leVS computes dst = 1 where a ≤ s, else 0.
func leVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] <= s)
	}
}

// leSV computes dst = 1 where s ≤ b, else 0.
func leSV(dst []float32, s float32, b []float32) {
	b = b[:len(dst)]
	for i := range dst {
		dst[i] = truth(s <= b[i])
	}
}

// eqVV computes dst = 1 where a = b, else 0.
func eqVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] == b[i])
	}
}

// eqVS computes dst = 1 where a = s, else 0.
func eqVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] == s)
	}
}

// whereVVV computes dst = b where a ≠ 0 (NaN too), else c.
func whereVVV(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = choose(nonzero(a[i]), b[i], c[i])
	}
}

// whereVVS computes dst = b where a ≠ 0 (NaN too), else s.
func whereVVS(dst, a, b []float32, s float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = choose(nonzero(a[i]), b[i], s)
	}
}

// whereVSV computes dst = s where a ≠ 0 (NaN too), else c.
func whereVSV(dst, a []float32, s float32, c []float32) {
	a, c = a[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = choose(nonzero(a[i]), s, c[i])
	}
}

// clampVVV computes dst = min(max(a, b), c).
func clampVVV(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = min(max(a[i], b[i]), c[i])
	}
}

// clampVSS computes dst = min(max(a, lo), hi).
func clampVSS(dst, a []float32, lo, hi float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = min(max(a[i], lo), hi)
	}
}

// truth is 1 or 0. It goes through an integer, which the compiler sets without a jump: masks are as good as random.
func truth(b bool) float32 {
	var one uint32
	if b {
		one = 0x3f800000 // the bits of 1
	}
	return math.Float32frombits(one)
}

// nonzero is all ones where a ≠ 0 (NaN too), else zero: of the bits without the sign, some bit is set.
func nonzero(a float32) uint32 {
	b := math.Float32bits(a) << 1
	return uint32(int32(b|-b) >> 31)
}

// sign is -1, 0 or 1, or a itself where it is NaN, without a jump.
func sign(a float32) float32 {
	isNaN := uint32(int32(0x7f800000-math.Float32bits(a)&^(1<<31)) >> 31)
	return choose(isNaN, a, choose(nonzero(a), withSign(1, a), 0))
}
