package experiments

import (
	"math"
	"slices"
)

// Detector tells how well low weights point at rows with a wrong label. Every figure is nil where there is nothing to
// compare with: no known corruption, or none at all.
type Detector struct {
	AUC      *float64 `json:"auc"`       // of -x against rows whose label changed
	AUCDrawn *float64 `json:"auc_drawn"` // of -x against rows drawn for corruption, a tenth of which kept their label
	// A row is suspected when its weight sigmoid(x) is below half the median weight.
	Precision *float64 `json:"precision"`
	Recall    *float64 `json:"recall"`
	// The threshold with the best F1, which only somebody who knows the truth can choose.
	BestF1          *float64 `json:"best_f1"`
	BestF1Threshold *float64 `json:"best_f1_threshold"` // on the weight: suspected at or below
	BestF1Precision *float64 `json:"best_f1_precision"`
	BestF1Recall    *float64 `json:"best_f1_recall"`
}

// detect scores weights w_i = sigmoid(x_i), monotone in x, against the truth.
func detect(weights []float64, changed, drawn []bool) Detector {
	var d Detector
	score := make([]float64, len(weights))
	for i, w := range weights {
		score[i] = -w
	}
	d.AUC = auc(score, changed)
	d.AUCDrawn = auc(score, drawn)
	if d.AUC == nil {
		return d
	}
	limit := median(weights) / 2
	hits, suspects, positives := 0, 0, 0
	for i, w := range weights {
		if changed[i] {
			positives++
		}
		if w < limit {
			suspects++
			if changed[i] {
				hits++
			}
		}
	}
	recall := float64(hits) / float64(positives)
	d.Recall = &recall
	if suspects > 0 {
		precision := float64(hits) / float64(suspects)
		d.Precision = &precision
	}
	d.bestF1(weights, changed, positives)
	return d
}

// auc is the probability that a positive scores above a negative, ties counting half (Mann, Whitney 1947);
// nil when one of the two kinds is missing.
func auc(score []float64, positive []bool) *float64 {
	if len(positive) != len(score) {
		return nil
	}
	order := ascending(score)
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
		return nil
	}
	p := float64(positives)
	a := (rankSum - p*(p+1)/2) / (p * float64(n-positives))
	return &a
}

// bestF1 tries every threshold: all rows with a weight up to it are suspects.
func (d *Detector) bestF1(weights []float64, changed []bool, positives int) {
	best := math.Inf(-1)
	order := ascending(weights)
	hits := 0
	for i, r := range order {
		if changed[r] {
			hits++
		}
		if i+1 < len(order) && weights[order[i+1]] == weights[r] {
			continue
		}
		f1 := 2 * float64(hits) / float64(i+1+positives)
		if f1 > best {
			best = f1
			precision, recall, threshold := float64(hits)/float64(i+1), float64(hits)/float64(positives), weights[r]
			d.BestF1, d.BestF1Precision, d.BestF1Recall, d.BestF1Threshold = &f1, &precision, &recall, &threshold
		}
	}
}

// ascending orders indices by value, equal values by index.
func ascending(values []float64) []int {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case values[a] < values[b]:
			return -1
		case values[a] > values[b]:
			return 1
		}
		return 0
	})
	return order
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	if n == 0 {
		return math.NaN()
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
