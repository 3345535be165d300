package exact

import "math"

// FMA32 is a b + c in binary32 with one rounding, quick enough for the loops of an oracle: the exact product, the sum
// rounded to odd in float64, then to nearest.
func FMA32(a, b, c float32) float32 {
	p, q := float64(a)*float64(b), float64(c)
	s := p + q
	v := s - p
	if e := (p - (s - v)) + (q - v); e != 0 && math.Float64bits(s)&1 == 0 {
		if (e > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}
