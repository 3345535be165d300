package clean

import (
	"math"

	"bilevel/experiments"
)

// detect scores how well low weights w_i = sigmoid(x_i) point at rows with a wrong label:
//
//	auc, auc_drawn       of -w against rows whose label changed, and against rows drawn for corruption, of which one
//	                     in the number of classes kept its label
//	precision, recall    of the rows whose weight is below half the median
//	best_f1…             of the threshold on the weight with the best F1, which only somebody who knows the truth can
//	                     choose; rows at or below it are suspected
//
// Figures are NaN where there is nothing to compare with: no known corruption, or none at all.
func detect(weights []float64, changed, drawn []bool, scalars map[string]float64) {
	for _, name := range []string{"precision", "recall", "best_f1", "best_f1_threshold", "best_f1_precision",
		"best_f1_recall"} {
		scalars[name] = math.NaN()
	}
	score := make([]float64, len(weights))
	for i, w := range weights {
		score[i] = -w
	}
	scalars["auc"], scalars["auc_drawn"] = experiments.AUC(score, changed), experiments.AUC(score, drawn)
	if math.IsNaN(scalars["auc"]) {
		return
	}
	limit := experiments.Median(weights) / 2
	hits, suspects, positives := 0.0, 0.0, 0.0
	for i, w := range weights {
		wrong := 0.0
		if changed[i] {
			wrong = 1
		}
		positives += wrong
		if w < limit {
			suspects++
			hits += wrong
		}
	}
	scalars["recall"] = hits / positives
	if suspects > 0 {
		scalars["precision"] = hits / suspects
	}
	best, order := math.Inf(-1), experiments.Ascending(weights)
	hits = 0
	for i, r := range order {
		if changed[r] {
			hits++
		}
		if i+1 < len(order) && weights[order[i+1]] == weights[r] {
			continue
		}
		n := float64(i + 1)
		if f1 := 2 * hits / (n + positives); f1 > best {
			best = f1
			scalars["best_f1"], scalars["best_f1_threshold"] = f1, weights[r]
			scalars["best_f1_precision"], scalars["best_f1_recall"] = hits/n, hits/positives
		}
	}
}
