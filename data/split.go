package data

import "bilevel/internal/philox"

// Split draws disjoint random subsets of the rows 0 … n-1, one of each size, in random order. Rows left over are in
// none. The subsets are consecutive pieces of one Fisher–Yates shuffle, which depends on n and seed only: the first
// subset of a smaller size is the beginning of the larger.
//
//	parts, err := data.Split(d.Train.N(), seed, 1437, 360) // a training and a test part of Digits
func Split(n int, seed uint64, sizes ...int) ([][]int32, error) {
	if n < 0 || n > maxRows {
		return nil, usagef("data: %d rows to split; it must be 0 … %d", n, maxRows)
	}
	left := n
	for _, k := range sizes {
		if k < 0 || k > left {
			return nil, usagef("data: parts of %d rows cannot be cut from %d", sizes, n)
		}
		left -= k
	}
	perm := philox.New(seed, 0, philox.StreamSplit).Perm(n)
	parts := make([][]int32, len(sizes))
	for i, k := range sizes {
		parts[i], perm = perm[:k:k], perm[k:]
	}
	return parts, nil
}
