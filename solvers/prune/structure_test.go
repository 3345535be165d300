package prune_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
)

// layers are three ranked arrays with arrays between them that are not.
func layers(t *testing.T) prune.Structure {
	l := params.Layout{}.With("0.weight", 3, 4).With("0.bias", 3).With("2.weight", 5, 3).With("2.bias", 5).
		With("4.weight", 1, 5)
	s, err := prune.Weights(l, func(a params.Array) bool { return len(a.Shape) == 2 })
	require.NoError(t, err)
	return s
}

// sorted is the k largest by sorting: larger absolute values first, equals in the order in which they lie.
func sorted(s prune.Structure, scores []float64, arrays []params.Array, k int, marks []float64) {
	var places []int
	for _, a := range arrays {
		for i := range a.Size() {
			places = append(places, a.Off+i)
			marks[a.Off+i] = 0
		}
	}
	slices.SortStableFunc(places, func(i, j int) int {
		switch a, b := math.Abs(scores[i]), math.Abs(scores[j]); {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	for _, i := range places[:k] {
		marks[i] = 1
	}
}

// Exactly k are kept, those that sorting would keep, whatever ties there are: few different values, zeros of both
// signs, neighbours in float32, subnormal numbers, all equal.
func TestTopKIsSorting(t *testing.T) {
	next := float64(math.Nextafter32(1, 2))
	tables := [][]float64{{1, -1}, {0, math.Copysign(0, -1)}, {0, 1, -1, 2, -2}, {1, -next, next, -1},
		{math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0, 1e-40}, {7}, {math.MaxFloat32, -1e30, 1e30}}
	for _, device := range []string{"ref", "cpu", "cuda-sim"} {
		ex, s, r := executor(t, device), layers(t), rand.New(rand.NewPCG(1, 2))
		for _, table := range tables {
			scores := make([]float64, s.Scores.Size())
			for i := range scores {
				scores[i] = table[r.IntN(len(table))]
			}
			for _, k := range []int{1, 2, r.IntN(s.Count()-3) + 2, s.Count() - 1, s.Count()} {
				want := slices.Repeat([]float64{1}, len(scores))
				sorted(s, scores, s.Ranked, k, want)
				marks, mask, err := s.Pick(ex, scores, prune.Kept{k})
				require.NoError(t, err)
				require.Equal(t, want, marks, "%s, %d of %v", device, k, scores)
				require.Equal(t, marks, mask)
			}
			for _, part := range []float64{0.2, 0.5, 1} {
				k, err := s.Keep(part, prune.Layer)
				require.NoError(t, err)
				want := slices.Repeat([]float64{1}, len(scores))
				for i, a := range s.Ranked {
					sorted(s, scores, []params.Array{a}, k[i], want)
				}
				marks, _, err := s.Pick(ex, scores, k)
				require.NoError(t, err)
				require.Equal(t, want, marks)
			}
		}
	}
}

func TestKeep(t *testing.T) {
	s := layers(t)
	require.Equal(t, 32, s.Count())
	for part, want := range map[float64]int{1: 32, 0.5: 16, 0.05: 2, 0.016: 1} {
		k, err := s.Keep(part, "")
		require.NoError(t, err)
		require.Equal(t, prune.Kept{want}, k)
	}
	for _, c := range []struct {
		part  float64
		scope prune.Scope
		says  string
	}{
		{0, "", "keep is 0"}, {1.5, "", "keep is 1.5"}, {math.NaN(), "", "keep is NaN"}, {-1, "", "keep is -1"},
		{0.001, "", "nothing would be left of 32 elements"},
		{0.5, "rows", `scope is "rows"`},
	} {
		_, err := s.Keep(c.part, c.scope)
		require.ErrorContains(t, err, c.says)
	}
	k, err := s.Keep(0.05, prune.Layer)
	require.NoError(t, err)
	require.Equal(t, 1, k[len(k)-1], "a twentieth of 5 elements")
	require.Equal(t, []string{"4.weight"}, s.Emptied(0.05))
	require.Empty(t, s.Emptied(0.1))
	ex := executor(t, "ref")
	_, _, err = s.Pick(ex, make([]float64, 3), prune.Kept{1})
	require.ErrorContains(t, err, "3 scores: wants 40")
	_, _, err = s.Pick(ex, make([]float64, 40), prune.Kept{33})
	require.ErrorContains(t, err, "33 kept elements of 32")
	_, _, err = s.Pick(ex, make([]float64, 40), prune.Kept{1, 2})
	require.ErrorContains(t, err, "2 numbers of kept elements for 3 layers")
	_, err = prune.Weights(params.Layout{}.With("b", 3), func(params.Array) bool { return false })
	require.ErrorContains(t, err, "nothing to prune")
}

// A layer that lost all gets its best element back for the worst element elsewhere; the number stays.
func TestFill(t *testing.T) {
	s, ex := layers(t), executor(t, "ref")
	scores := make([]float64, s.Scores.Size())
	for i := range scores {
		scores[i] = float64(100 + i)
	}
	last := s.Ranked[2]
	for i := range last.Size() {
		scores[last.Off+i] = 0.1 * float64(i%3)
	}
	marks, _, err := s.Pick(ex, scores, prune.Kept{5})
	require.NoError(t, err)
	require.Equal(t, []string{"0.weight", "4.weight"}, s.Fill(marks, scores))
	total := 0
	for _, h := range s.Shares(marks) {
		require.Positive(t, h.Kept, h.Layer)
		total += h.Kept
	}
	require.Equal(t, 5, total)
	require.Equal(t, 1.0, marks[last.Off+2], "the first of the largest")
	require.Empty(t, s.Fill(marks, scores))
}

// A parameter is masked where one of its units is, and the derivative of the mask is the sum over a unit's parameters.
func TestUnitsAreCoupled(t *testing.T) {
	m, ex := newSmall(t, true, false, 0).byUnit(t), executor(t, "ref")
	s, l := m.task.Structure, m.Params()
	require.Equal(t, "0: 5 units, each one slice of 0.weight along axis 0, 1.weight along axis 0, "+
		"1.bias along axis 0, 3.weight along axis 1, 1.running_mean along axis 0, 1.running_var along axis 0",
		s.String())
	mask, err := s.Of(ex, []float64{1, 0, 1, 1, 0})
	require.NoError(t, err)
	for unit := range 5 {
		on := 1.0
		if unit == 1 || unit == 4 {
			on = 0
		}
		for i := range 4 {
			require.Equal(t, on, mask[index(t, l, "0.weight", unit*4+i)])
		}
		require.Equal(t, on, mask[index(t, l, "1.weight", unit)])
		require.Equal(t, on, mask[index(t, l, "1.bias", unit)])
		for i := range 3 {
			require.Equal(t, on, mask[index(t, l, "3.weight", i*5+unit)])
		}
	}
	require.Equal(t, 1.0, mask[index(t, l, "3.bias", 0)])
	two := models.MLP{Widths: []int{2, 2, 3, 1}}
	deep, err := prune.Units(two.Params(), two.Units())
	require.NoError(t, err)
	mask, err = deep.Of(ex, []float64{1, 0, 0, 1, 1})
	require.NoError(t, err)
	weights := two.Params()[2] // [3, 2]: row 0 and column 1 are masked
	require.Equal(t, []float64{0, 0, 1, 0, 1, 0}, mask[weights.Off:weights.Off+6])
	scores, err := prune.Magnitude(background, ex, s, m.theta)
	require.NoError(t, err)
	of := func(array string, i int) float64 { return m.theta[index(t, l, array, i)] }
	square := of("1.weight", 2)*of("1.weight", 2) + of("1.bias", 2)*of("1.bias", 2)
	for i := range 4 {
		square += of("0.weight", 8+i) * of("0.weight", 8+i)
	}
	require.InDelta(t, math.Sqrt(square), scores[2], 1e-14)
}

func TestRounds(t *testing.T) {
	plan, err := prune.Rounds{}.Plan(1000, 100)
	require.NoError(t, err)
	require.Equal(t, []int{800, 640, 512, 410, 328, 262, 210, 168, 134, 107, 100}, plan)
	plan, err = prune.Rounds{Part: 0.5}.Plan(8, 8)
	require.NoError(t, err)
	require.Equal(t, []int{8}, plan)
	for _, c := range []struct {
		r    prune.Rounds
		k    int
		says string
	}{
		{prune.Rounds{Part: 1}, 1, "part is 1"}, {prune.Rounds{Rewind: "back"}, 1, `rewind is "back"`},
		{prune.Rounds{Rewind: prune.ToEpoch}, 1, "epochs is 0"}, {prune.Rounds{}, 0, "0 kept elements"},
		{prune.Rounds{}, 9, "9 kept elements"},
	} {
		_, err := c.r.Plan(8, c.k)
		require.ErrorContains(t, err, c.says)
	}
}
