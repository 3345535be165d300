package experiments

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
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
		d := detect(weights, changed, drawn)
		score := make([]float64, len(weights))
		for i, w := range weights {
			score[i] = -w
		}
		require.InDelta(t, pairsAUC(score, changed), *d.AUC, 1e-12)
		require.InDelta(t, pairsAUC(score, drawn), *d.AUCDrawn, 1e-12)

		all, _ := flagged(weights, changed, func(float64) bool { return true })
		limit := median(weights) / 2
		hits, suspects := flagged(weights, changed, func(w float64) bool { return w < limit })
		require.Equal(t, float64(hits)/float64(all), *d.Recall)
		if suspects == 0 {
			require.Nil(t, d.Precision)
		} else {
			require.Equal(t, float64(hits)/float64(suspects), *d.Precision)
		}

		best := 0.0
		for _, threshold := range weights {
			hits, suspects := flagged(weights, changed, func(w float64) bool { return w <= threshold })
			best = max(best, 2*float64(hits)/float64(suspects+all))
		}
		require.Equal(t, best, *d.BestF1)
		hits, suspects = flagged(weights, changed, func(w float64) bool { return w <= *d.BestF1Threshold })
		require.Equal(t, float64(hits)/float64(suspects), *d.BestF1Precision)
		require.Equal(t, float64(hits)/float64(all), *d.BestF1Recall)
	}
}

func TestDetectorExtremes(t *testing.T) {
	perfect := detect([]float64{0.01, 0.9, 0.02, 0.8, 0.7}, []bool{true, false, true, false, false}, []bool{true, true, true, false, false})
	require.Equal(t, []float64{1, 1, 1, 1, 0.02}, []float64{*perfect.AUC, *perfect.Precision, *perfect.Recall, *perfect.BestF1, *perfect.BestF1Threshold})
	require.InDelta(t, 4.0/6, *perfect.AUCDrawn, 1e-15) // row 1 was drawn, but scores below both that were not
	backwards := detect([]float64{0.9, 0.1}, []bool{true, false}, []bool{true, false})
	require.Zero(t, *backwards.AUC)
	same := detect([]float64{0.5, 0.5, 0.5, 0.5}, []bool{true, false, false, true}, []bool{true, false, false, true})
	require.Equal(t, 0.5, *same.AUC)
	require.Nil(t, same.Precision, "nothing is below half the median")
	require.Zero(t, *same.Recall)
}

func TestDetectorIsNilWithoutTruth(t *testing.T) {
	weights := []float64{0.1, 0.2, 0.3}
	none, all := []bool{false, false, false}, []bool{true, true, true}
	require.Equal(t, Detector{}, detect(weights, nil, nil))
	require.Equal(t, Detector{}, detect(weights, none, none))
	require.Equal(t, Detector{}, detect(weights, all, all))
	some := detect(weights, none, []bool{true, false, false}) // drawn, and kept its label by chance
	require.Nil(t, some.AUC)
	require.Nil(t, some.BestF1)
	require.Equal(t, 1.0, *some.AUCDrawn)
}

func TestMedianAndOrder(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.True(t, math.IsNaN(median(nil)))
	require.Equal(t, []int{3, 0, 2, 1}, ascending([]float64{1, 5, 1, 0}), "equal values keep their order")
}
