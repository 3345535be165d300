package experiments

import (
	"cmp"
	"math"
	"slices"
)

// AUC is the probability that a positive scores above a negative, ties counting half (Mann, Whitney 1947);
// NaN where one of the two kinds is missing, or a score is NaN.
func AUC(score []float64, positive []bool) float64 {
	if len(positive) != len(score) || slices.ContainsFunc(score, math.IsNaN) {
		return math.NaN()
	}
	order := Ascending(score)
	n := len(order)
	rankSum, positives := 0.0, 0
	for i := 0; i < n; {
		j := i
		for j < n && score[order[j]] == score[order[i]] {
			j++
		}
		rank := float64(i+j+1) / 2 // mean of the ranks i+1 … j
		for _, r := range order[i:j] {
			if positive[r] {
				rankSum += rank
				positives++
			}
		}
		i = j
	}
	if positives == 0 || positives == n {
		return math.NaN()
	}
	p := float64(positives)
	return (rankSum - p*(p+1)/2) / (p * float64(n-positives))
}

// Ascending orders indices by value, equal values by index. NaN comes first.
func Ascending(values []float64) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	return order
}

// Median is the middle value, the mean of the two in the middle of an even number; NaN of none, or where one is NaN.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n == 0 || math.IsNaN(s[0]) { // NaN is sorted before all numbers
		return math.NaN()
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

// MeanStd is the mean and the standard deviation with n-1; the latter is 0 for one value. Both are NaN for none.
func MeanStd(values []float64) (mean, std float64) {
	n := float64(len(values))
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	for _, v := range values {
		mean += v / n
	}
	for _, v := range values {
		std += (v - mean) * (v - mean)
	}
	if n > 1 {
		return mean, math.Sqrt(std / (n - 1))
	}
	return mean, 0
}
