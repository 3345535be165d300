package ref

import "gonum.org/v1/gonum/floats"

// sumBlock is the longest run of terms that sum and dot add one after the other.
const sumBlock = 32

// sum computes Σ x_i by pairwise recursion: the error is at most (sumBlock + log2 n) u Σ|x_i| to first order
// (Higham, Accuracy and Stability of Numerical Algorithms, 4.2). The order depends on the length alone.
func sum(x []float64) float64 {
	if len(x) <= sumBlock {
		return floats.Sum(x)
	}
	h := len(x) / 2
	return sum(x[:h]) + sum(x[h:])
}

// dot computes Σ x_i y_i in the order of sum. It never skips a zero factor: 0·NaN is NaN.
func dot(x, y []float64) float64 {
	if len(x) <= sumBlock {
		return floats.Dot(x, y)
	}
	h := len(x) / 2
	return dot(x[:h], y[:h]) + dot(x[h:], y[h:])
}
