package cpu

// The generic loops of elementwise arithmetic. dst may be exactly one of the operands; all slices have dst's length.
// A suffix names the operands: VV two vectors, VS vector and scalar, SV scalar and vector.

// addVV computes dst = a + b.
func addVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// addVS computes dst = a + s.
func addVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + s
	}
}

// subVV computes dst = a - b.
func subVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

// subVS computes dst = a - s.
func subVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = a[i] - s
	}
}

// subSV computes dst = s - b.
func subSV(dst []float32, s float32, b []float32) {
	b = b[:len(dst)]
	for i := range dst {
		dst[i] = s - b[i]
	}
}

// mulVV computes dst = a ⊙ b.
func mulVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

// mulVS computes dst = s·a.
func mulVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * s
	}
}

// divVV computes dst = a / b.
func divVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] / b[i]
	}
}

// divVS computes dst = a / s.
func divVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = a[i] / s
	}
}

// divSV computes dst = s / b.
func divSV(dst []float32, s float32, b []float32) {
	b = b[:len(dst)]
	for i := range dst {
		dst[i] = s / b[i]
	}
}

// maxVV computes dst = max(a, b), NaN wins.
func maxVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], b[i])
	}
}

// maxVS computes dst = max(a, s), NaN wins.
func maxVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], s)
	}
}

// minVV computes dst = min(a, b), NaN wins.
func minVV(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = min(a[i], b[i])
	}
}

// minVS computes dst = min(a, s), NaN wins.
func minVS(dst, a []float32, s float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = min(a[i], s)
	}
}

// The fused forms below round the product before the sum, exactly as two steps would: they save a pass, not a rounding.

// mulAddVVV computes dst = fl(a ⊙ b) + c.
func mulAddVVV(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i]*b[i]) + c[i]
	}
}

// mulAddVSV computes dst = fl(s·a) + c.
func mulAddVSV(dst, a []float32, s float32, c []float32) {
	a, c = a[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i]*s) + c[i]
	}
}

// subMulVVV computes dst = c - fl(a ⊙ b).
func subMulVVV(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = c[i] - float32(a[i]*b[i])
	}
}

// subMulVSV computes dst = c - fl(s·a).
func subMulVSV(dst, a []float32, s float32, c []float32) {
	a, c = a[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = c[i] - float32(a[i]*s)
	}
}
