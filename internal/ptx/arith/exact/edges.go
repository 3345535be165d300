package exact

import "slices"

// Edges are the encodings where a format's arithmetic goes wrong first: zeros, subnormals, the borders of the normal
// range, one and its neighbours, ties, the limits of integers, infinities, NaNs with payload; both signs.
func Edges(f Format) []uint64 {
	one := uint64(1<<(f.Exp-1)-1) << f.Frac
	ulp := uint64(1) << f.Frac
	var u []uint64
	for _, m := range []uint64{
		0, 1, 2, 3, ulp/2 - 1, ulp / 2, ulp - 2, ulp - 1, // subnormal
		ulp, ulp + 1, 2*ulp - 1, 2 * ulp, // smallest normal
		// 1/4, 1/2, 1, 3/2
		one - 2*ulp, one - ulp, one - ulp + 1, one - 2, one - 1, one, one + 1, one + 2, one + ulp/2, one + ulp/2 + 1,
		// 2, 5/2, 4, 2^frac: where the unit is one
		one + ulp, one + ulp + ulp/4, one + 2*ulp, one + ulp*uint64(f.Frac), one + ulp*uint64(f.Frac+1),
		one + ulp*uint64(f.Frac) + 1, one - ulp*uint64(f.Frac), one - ulp*uint64(f.Frac+1), one - ulp*uint64(f.Frac+2),
		// largest
		f.Inf() - 2*ulp, f.Inf() - 2*ulp + 1, f.Inf() - ulp, f.Inf() - ulp - 1, f.Inf() - 2, f.Inf() - 1, f.Inf(),
		f.Inf() + 1, f.Inf() + ulp/2, f.Inf() + ulp - 1, // NaNs
	} {
		m &= f.Sign() - 1
		u = append(u, m, m|f.Sign())
	}
	slices.Sort(u)
	return slices.Compact(u)
}

// IntegerEdges are bit patterns where integer operations go wrong first.
func IntegerEdges() []uint64 {
	var u []uint64
	for _, w := range []uint{7, 8, 15, 16, 23, 24, 31, 32, 52, 53, 54, 62, 63} {
		u = append(u, 1<<w-1, 1<<w, 1<<w+1, -(uint64(1) << w), -(uint64(1)<<w)-1, -(uint64(1)<<w)+1)
	}
	u = append(u, 0, 1, 2, 3, ^uint64(0), ^uint64(1), 0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x0123456789abcdef, 33,
		64, 65, 255, 256)
	slices.Sort(u)
	return slices.Compact(u)
}
