package cpu

// The generic loops on int32, which wraps around, and the casts. All slices have dst's length.

func iaddVV(dst, a, b []int32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func isubVV(dst, a, b []int32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

func imulVV(dst, a, b []int32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

// iltVV computes dst = 1 where a < b, else 0.
func iltVV(dst []float32, a, b []int32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] < b[i])
	}
}

// ieqVV computes dst = 1 where a = b, else 0.
func ieqVV(dst []float32, a, b []int32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] == b[i])
	}
}

// toReal computes dst = a, rounded to nearest even.
func toReal(dst []float32, a []int32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i])
	}
}

// toInt computes dst = a truncated toward zero; NaN and values outside int32 give 0.
// The comparison comes first because Go leaves the conversion of such values to the machine.
func toInt(dst []int32, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		v := a[i]
		if v >= -0x1p31 && v < 0x1p31 {
			dst[i] = int32(v)
		} else {
			dst[i] = 0
		}
	}
}
