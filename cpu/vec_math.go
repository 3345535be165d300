package cpu

import "math"

// The generic loops of the transcendental functions; the rules are those of vec_arith.go.
//
// exp and sigmoid are float32 polynomials (exp.go). The others are computed in float64 by package math, whose error is
// far below a float32 rounding, and rounded once.

// expV computes dst = exp(a).
func expV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = exp(a[i])
	}
}

// sigmoidV computes dst = 1/(1 + exp(-a)): with e = exp(-|a|) it is 1/(1+e) or e/(1+e), so that nothing overflows and
// the left tail keeps its relative precision.
func sigmoidV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		x := a[i]
		e := exp(-abs(x))
		num := float32(1)
		if x < 0 {
			num = e
		}
		dst[i] = num / (1 + e)
	}
}

// sqrtV computes dst = √a, correctly rounded.
func sqrtV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Sqrt(float64(a[i])))
	}
}

// logV computes dst = log a.
func logV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Log(float64(a[i])))
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

// tanhV computes dst = tanh a.
func tanhV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		dst[i] = float32(math.Tanh(float64(a[i])))
	}
}

// softplusV computes dst = log(1 + exp(a)) = max(a, 0) + log(1 + exp(-|a|)).
func softplusV(dst, a []float32) {
	a = a[:len(dst)]
	for i := range dst {
		x := float64(a[i])
		dst[i] = float32(max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))))
	}
}

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }
