package kernels

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
