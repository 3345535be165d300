package kernels

import "math/bits"

// divisor is struct Divisor of divide.cuh.
type divisor struct{ N, Factor, Shift uint32 }

// divide makes the divisor of a positive n.
func divide(n int) divisor {
	factor, shift := Reciprocal(n)
	return divisor{uint32(n), factor, uint32(shift)}
}

// Reciprocal makes a division by a positive n below 2³¹ a multiplication: ⌊x/n⌋ = ⌊x·factor / 2^(31+shift)⌋ for all x <
// 2³¹, with shift = ⌈log2 n⌉ and factor = ⌈2^(31+shift) / n⌉, which is below 2³² (Granlund, Montgomery,
// PLDI 1994, theorem 4.2: factor exceeds 2^(31+shift)/n by less than 1 ≤ 2^shift/n).
func Reciprocal(n int) (factor uint32, shift int) {
	shift = bits.Len(uint(n - 1))
	return uint32((uint64(1)<<(31+shift) + uint64(n) - 1) / uint64(n)), shift
}

// Reciprocal63 is Reciprocal for n and x below 2⁶³: ⌊x/n⌋ = ⌊x·factor / 2^(63+shift)⌋.
func Reciprocal63(n int) (factor uint64, shift int) {
	shift = bits.Len(uint(n - 1))
	if n&(n-1) == 0 {
		return 1 << 63, shift
	}
	quotient, _ := bits.Div64(1<<(shift-1), 0, uint64(n))
	return quotient + 1, shift
}

func ceil(a, b int) int { return (a + b - 1) / b }

func word(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

func narrow(s [3]int) [3]int32 { return [3]int32{int32(s[0]), int32(s[1]), int32(s[2])} }

// multiples says whether all x are multiples of n.
func multiples(n int, x ...int) bool {
	for _, v := range x {
		if v%n != 0 {
			return false
		}
	}
	return true
}
