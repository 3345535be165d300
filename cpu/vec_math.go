package cpu

import "math"

// The generic loops of the other transcendental functions; the rules are those of vec_arith.go.
//
// They are computed in float64 by package math, whose error is far below a float32 rounding, and rounded once. Sine and
// cosine have no other loops.

// sqrtV computes dst = √a, correctly rounded.
func sqrtV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sqrt(float64(a[i])))
	}
}

// sinV computes dst = sin a.
func sinV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sin(float64(a[i])))
	}
}

// cosV computes dst = cos a.
func cosV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Cos(float64(a[i])))
	}
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }
