package devicetest

import (
	"fmt"
	"math"

	"bilevel/device"
)

// machine is the arithmetic of a device, as far as bounds depend on it.
type machine struct {
	device.Info
	u    float64 // unit round-off
	tiny float64 // half the smallest positive number: the most that rounding changes a result which underflows
	huge float64 // the largest finite number
}

func machineOf(info device.Info) machine {
	if info.RealBits == 64 {
		return machine{info, info.UnitRoundoff(), 0, math.MaxFloat64} // 2^-1075, which is not a float64
	}
	return machine{info, info.UnitRoundoff(), 0x1p-150, math.MaxFloat32}
}

// ulp is the distance of the machine's numbers around x: 2u times the power of two at or below |x|.
func (m machine) ulp(x float64) float64 {
	switch {
	case math.IsInf(x, 0) || math.IsNaN(x):
		return 0
	case x == 0:
		return 2 * m.tiny
	}
	_, e := math.Frexp(x)
	return max(math.Ldexp(2*m.u, e-1), 2*m.tiny)
}

// near says whether got may stand for want where the error may be at most bound:
// NaN for NaN and infinities for themselves; an infinity also where want, or want and its error, is beyond the largest
// number; with bound 0, zeros of the same sign. A bound of +Inf allows anything.
func (m machine) near(got, want, bound float64) bool {
	switch {
	case math.IsInf(bound, 1):
		return true
	case math.IsNaN(got) || math.IsNaN(want):
		return math.IsNaN(got) && math.IsNaN(want)
	case got == want:
		return want != 0 || bound != 0 || math.Signbit(got) == math.Signbit(want)
	case math.IsInf(got, 0):
		return math.Signbit(got) == math.Signbit(want) && math.Abs(want)+bound >= m.huge*(1+m.u/2)
	}
	return math.Abs(got-want) <= bound
}

// compare checks the elements of an output; bounds are in row-major order, nil for Int outputs, which are exact.
func compare(m machine, v device.View, got, want contents, bounds []float64) error {
	var first error
	wrong, n := 0, 0
	points(v.Shape, func(idx []int) {
		p := place(v, idx...)
		if got.typ == device.Int {
			if g, w := got.ints[p], want.ints[p]; g != w {
				wrong++
				if first == nil {
					first = fmt.Errorf("at %v got %d, want %d", idx, g, w)
				}
			}
			return
		}
		g, w, bound := got.real[p], want.real[p], 0.
		if bounds != nil {
			bound = bounds[n]
		}
		n++
		if !m.near(g, w, bound) {
			wrong++
			if first == nil {
				first = fmt.Errorf(
					"at %v got %v, want %v: off by %.3g, at most %.3g allowed", idx, g, w, math.Abs(g-w), bound,
				)
			}
		}
	})
	if wrong > 1 {
		return fmt.Errorf("%w (and %d more of %d)", first, wrong-1, v.Size())
	}
	return first
}
