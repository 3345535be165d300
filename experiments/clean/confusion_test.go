package clean

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// noisy draws true labels, and given ones that flip turns.
func noisy(r *rand.Rand, n, classes int, flip func(t int32) int32) (suggested, given []int32) {
	for range n {
		t := int32(r.IntN(classes))
		suggested, given = append(suggested, t), append(given, flip(t))
	}
	return suggested, given
}

// The shares under each κ by Pólya's urn, which draws the labels one after the other: the found table must be that of
// the κ under which the sequence is the most probable.
func TestConfusionIsTheMostProbable(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const classes = 4
	for name, flip := range map[string]func(int32) int32{
		"alike": func(t int32) int32 {
			if r.Float64() < 0.4 {
				return int32(r.IntN(classes))
			}
			return t
		},
		"to one": func(t int32) int32 {
			if r.Float64() < 0.3 {
				return (t + 1) % classes
			}
			return t
		},
		"never": func(t int32) int32 { return t },
	} {
		suggested, given := noisy(r, 400, classes, flip)
		e := 0.0
		for i := range given {
			if given[i] != suggested[i] {
				e++
			}
		}
		e = math.Max(e, 0.5) / 400
		best, want := math.Inf(-1), [classes][classes]float64{}
		for _, kappa := range pseudoRows {
			var urn [classes][classes]float64
			var sum [classes]float64
			for t := range classes {
				for g := range classes {
					if urn[t][g] = kappa * e / (classes - 1); t == g {
						urn[t][g] = kappa * (1 - e)
					}
					sum[t] += urn[t][g]
				}
			}
			total, wrong := 0.0, 0.0
			for i, s := range suggested {
				total += math.Log(urn[s][given[i]] / sum[s])
				urn[s][given[i]]++
				sum[s]++
			}
			for t := range classes {
				for g := range classes {
					if urn[t][g] /= sum[t]; t != g {
						wrong += urn[t][g] * (sum[t] - kappa) / 400 / (classes - 1)
					}
				}
			}
			if total > best {
				best = total
				for t := range classes {
					for g := range classes {
						if want[t][g] = urn[t][g] / wrong; t == g {
							want[t][g] = 1
						}
					}
				}
			}
		}
		found := confusionOf(suggested, given, classes)
		for s := range classes {
			for g := range classes {
				require.InEpsilon(t, want[s][g], math.Exp(found[g*classes+s]), 1e-9, "%s %d %d", name, s, g)
			}
		}
	}
}

// Labels that are wrong at random say nothing; labels that move to one class say which.
func TestConfusionTellsKindsOfNoiseApart(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const classes = 5
	suggested, given := noisy(r, 5000, classes, func(t int32) int32 {
		if r.Float64() < 0.5 {
			return int32(r.IntN(classes))
		}
		return t
	})
	for _, l := range confusionOf(suggested, given, classes) {
		require.InDelta(t, 0, l, 0.1)
	}
	suggested, given = noisy(r, 5000, classes, func(t int32) int32 {
		if r.Float64() < 0.3 {
			return (t + 1) % classes
		}
		return t
	})
	for i, l := range confusionOf(suggested, given, classes) {
		switch g, s := i/classes, i%classes; {
		case g == s:
			require.Zero(t, l)
		case g == (s+1)%classes:
			require.InDelta(t, math.Log(classes-1), l, 0.1)
		default:
			require.Less(t, l, -3.0)
		}
	}
}

// A model that is unsure between two classes that look alike confuses them itself. Its sure suggestions show that
// labels which are wrong at random do not.
func TestConfusionLeavesOutUnsureRows(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	const classes, rows = 5, 5000
	suggested, given := noisy(r, rows, classes, func(t int32) int32 {
		if r.Float64() < 0.2 {
			return int32(r.IntN(classes))
		}
		return t
	})
	top := make([]float64, rows)
	for i := range top {
		if top[i] = 0.9; i%4 == 0 && suggested[i] < 2 {
			top[i], suggested[i] = 0.6, 1-suggested[i] // the row's class is the other of the two
		}
	}
	for _, between := range []int{0*classes + 1, 1*classes + 0} {
		require.Greater(t, confusionOf(suggested, given, classes)[between], 1.0)
		require.InDelta(t, 0, confusionOfSure(suggested, top, given, classes)[between], 0.3)
	}
}

// doubt against its formula by plain loops.
func TestDoubtIsOfTheConfusedClasses(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const classes = 3
	s := randomSet(r, 50, 4, classes)
	n := netOn(t, s, s, classes, "softmax")
	y, log := make([]float64, n.start.Size()), make([]float64, classes*classes)
	for i := range y {
		y[i] = r.NormFloat64()
	}
	for i := range log {
		if i/classes != i%classes {
			log[i] = r.NormFloat64()
		}
	}
	j, err := n.judge(context.Background(), n.rows.train, y, &second{confusion: log})
	require.NoError(t, err)
	for i, g := range s.Labels {
		q := probabilities(s, classes, y, i)
		sum := q[g]
		for t := range int32(classes) {
			if t != g {
				sum += q[t] * math.Exp(log[int(g)*classes+int(t)])
			}
		}
		require.InDelta(t, q[g]/sum, j.right(i), 1e-12)
		require.InDelta(t, q[g], j.given(i), 1e-12)
	}
}
