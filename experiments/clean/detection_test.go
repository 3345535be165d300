package clean

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/experiments"
)

// pairsAUC counts pairs: the definition of the area under the curve.
func pairsAUC(score []float64, positive []bool) float64 {
	wins, pairs := 0.0, 0.0
	for i := range score {
		for j := range score {
			if positive[i] && !positive[j] {
				pairs++
				switch {
				case score[i] > score[j]:
					wins++
				case score[i] == score[j]:
					wins += 0.5
				}
			}
		}
	}
	return wins / pairs
}

// flagged counts the rows that suspect picks and those of them that changed.
func flagged(weights []float64, changed []bool, suspect func(w float64) bool) (hits, suspects int) {
	for i, w := range weights {
		if suspect(w) {
			suspects++
			if changed[i] {
				hits++
			}
		}
	}
	return hits, suspects
}

// someRows draws n weights, of few values when coarse, and which rows changed: at least one did and one did not.
func someRows(r *rand.Rand, n int, coarse bool) (weights []float64, changed []bool) {
	weights, changed = make([]float64, n), make([]bool, n)
	for i := range weights {
		weights[i] = r.Float64()
		if coarse {
			weights[i] = math.Floor(5*weights[i]) / 5
		}
		changed[i] = r.Float64() < 0.3
	}
	changed[0], changed[1] = true, false
	return weights, changed
}

func TestDetectorAgainstItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for trial := range 200 {
		weights, changed := someRows(r, 2+r.IntN(60), trial%2 == 0)
		_, drawn := someRows(r, len(weights), false)
		d := map[string]float64{}
		detect(weights, changed, drawn, d)
		score := make([]float64, len(weights))
		for i, w := range weights {
			score[i] = -w
		}
		require.InDelta(t, pairsAUC(score, changed), d["auc"], 1e-12)
		require.InDelta(t, pairsAUC(score, drawn), d["auc_drawn"], 1e-12)

		all, _ := flagged(weights, changed, func(float64) bool { return true })
		limit := experiments.Median(weights) / 2
		hits, suspects := flagged(weights, changed, func(w float64) bool { return w < limit })
		require.Equal(t, float64(hits)/float64(all), d["recall"])
		if suspects == 0 {
			require.True(t, math.IsNaN(d["precision"]))
		} else {
			require.Equal(t, float64(hits)/float64(suspects), d["precision"])
		}

		best := 0.0
		for _, threshold := range weights {
			hits, suspects := flagged(weights, changed, func(w float64) bool { return w <= threshold })
			best = max(best, 2*float64(hits)/float64(suspects+all))
		}
		require.Equal(t, best, d["best_f1"])
		hits, suspects = flagged(weights, changed, func(w float64) bool { return w <= d["best_f1_threshold"] })
		require.Equal(t, float64(hits)/float64(suspects), d["best_f1_precision"])
		require.Equal(t, float64(hits)/float64(all), d["best_f1_recall"])
	}
}

func scores(weights []float64, changed, drawn []bool) map[string]float64 {
	d := map[string]float64{}
	detect(weights, changed, drawn, d)
	return d
}

func TestDetectorExtremes(t *testing.T) {
	perfect := scores([]float64{0.01, 0.9, 0.02, 0.8, 0.7}, []bool{true, false, true, false, false},
		[]bool{true, true, true, false, false})
	require.InDelta(t, 4.0/6, perfect["auc_drawn"], 1e-15) // row 1 was drawn, but scores below both that were not
	delete(perfect, "auc_drawn")
	require.Equal(t, map[string]float64{
		"auc": 1, "precision": 1, "recall": 1, "best_f1": 1, "best_f1_threshold": 0.02, "best_f1_precision": 1,
		"best_f1_recall": 1,
	}, perfect)
	require.Zero(t, scores([]float64{0.9, 0.1}, []bool{true, false}, []bool{true, false})["auc"])
	same := scores([]float64{0.5, 0.5, 0.5, 0.5}, []bool{true, false, false, true}, []bool{true, false, false, true})
	require.Equal(t, 0.5, same["auc"])
	require.True(t, math.IsNaN(same["precision"]), "nothing is below half the median")
	require.Zero(t, same["recall"])
}

func TestDetectorSaysNothingWithoutTruth(t *testing.T) {
	weights := []float64{0.1, 0.2, 0.3}
	none, all := []bool{false, false, false}, []bool{true, true, true}
	for _, changed := range [][]bool{nil, none, all} {
		for name, v := range scores(weights, changed, changed) {
			require.True(t, math.IsNaN(v), name)
		}
	}
	some := scores(weights, none, []bool{true, false, false}) // drawn, and kept its label by chance
	require.True(t, math.IsNaN(some["auc"]))
	require.Equal(t, 1.0, some["auc_drawn"])
}
