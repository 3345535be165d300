package table

import (
	"math"
	"strings"
	"testing"

	"bilevel/experiments"

	"github.com/stretchr/testify/require"
)

const tuned = small + `
tune:
  by: loss
  seeds: [4, 6]
  settings: {data: b}
  grid: {size: [1, 3], kind: [p, q]}
  grids: {two: {kind: [r, s]}}
`

// Every combination of a method's grid is a trial, at every value that varies, and what they came to decides: the
// lowest mean over the seeds that a number came of, for each value that varies on its own.
func TestTuning(t *testing.T) {
	r := parse(t, tuned)
	text, err := r.YAML()
	require.NoError(t, err)
	require.Equal(t, r, parse(t, string(text)))

	trials := r.Trials()
	require.Nil(t, trials.Tune)
	require.Equal(t, []uint64{4, 6}, trials.Seeds)
	require.Len(t, trials.Methods, 4+2)
	require.Equal(t, Method{Name: "one: size 1, kind q", Settings: map[string]any{
		"size": uint64(1), "kind": "q", "data": "b",
	}, likeness: "one"}, trials.Methods[1])

	table := &Table{Recipe: trials}
	losses := map[string][2][2]float64{ // at the noise 0 and 0.5, with both seeds
		"one: size 1, kind p": {{3, 3}, {2, 9}},
		"one: size 1, kind q": {{1, math.NaN()}, {5, 5}},
		"one: size 3, kind p": {{2, 3}, {4, 8}},
		"one: size 3, kind q": {{9, 9}, {6, 6}},
		"two: kind r":         {{math.NaN(), math.NaN()}, {1, 1}},
		"two: kind s":         {{math.NaN(), math.NaN()}, {0.5, 1}},
	}
	var outcomes []Outcome
	for _, m := range trials.Methods {
		for k := range 2 {
			table.Rows = append(table.Rows, Row{Method: m.Name})
			for s := range 2 {
				record := experiments.NewRecord()
				record.Scalars["loss"] = losses[m.Name][k][s]
				outcomes = append(outcomes, Outcome{Cell: Cell{Row: len(table.Rows) - 1}, Record: record})
			}
		}
	}
	chosen := r.Chosen(table, outcomes)
	require.Nil(t, chosen.Tune)
	require.NotNil(t, r.Tune, "the recipe itself stays as it is")
	require.Equal(t, []Method{
		{Name: "one", Settings: map[string]any{
			"size": byValue{"0": uint64(3), "0.5": uint64(1)}, "kind": byValue{"0": "p", "0.5": "q"},
		}},
		{Name: "two", Settings: map[string]any{"size": uint64(2), "kind": byValue{"0": "r", "0.5": "s"}}},
	}, chosen.Methods)
	require.Equal(t, []string{
		"Settings were chosen by the lowest loss of the seeds [4 6], data b, among 4 combinations: size [1 3], " +
			"kind [p q].",
		"one, noise 0: size 3, kind p (loss 2.5; one of 4, 1 without a number).",
		"one, noise 0.5: size 1, kind q (loss 5; one of 4).",
		"two, noise 0: none of 2 combinations ended with a number.",
		"two, noise 0.5: kind s (loss 0.75; one of 2).",
	}, chosen.About)
	text, err = chosen.YAML()
	require.NoError(t, err)
	require.Equal(t, chosen, parse(t, string(text)), "what was chosen is a recipe of its own")

	r.Set("kind", "z")
	require.Len(t, r.Trials().Methods, 2, "what is given to every cell is not tried: nothing of two is left")
}

// With a minus before its name the highest value of a measure decides.
func TestTuningByTheHighest(t *testing.T) {
	r := parse(t, strings.Replace(tuned, "by: loss", `by: "-accuracy"`, 1))
	trials := r.Trials()
	require.Equal(t, []string{"accuracy"}, trials.Measures)
	table := &Table{Recipe: trials}
	var outcomes []Outcome
	for i, m := range trials.Methods {
		for range 2 {
			table.Rows = append(table.Rows, Row{Method: m.Name})
			for range 2 {
				record := experiments.NewRecord()
				record.Scalars["accuracy"] = float64((i + 2) % 4) // 2 3 0 1 for one, 2 3 for two
				outcomes = append(outcomes, Outcome{Cell: Cell{Row: len(table.Rows) - 1}, Record: record})
			}
		}
	}
	about := r.Chosen(table, outcomes).About
	require.Contains(t, about[0], "Settings were chosen by the highest accuracy of the seeds [4 6]")
	require.Equal(t, "one, noise 0: size 1, kind q (accuracy 3; one of 4).", about[1])
	require.Equal(t, "two, noise 0.5: kind s (accuracy 3; one of 2).", about[4])
}

func TestTuningOfTwoAxesIsRefused(t *testing.T) {
	_, err := Parse([]byte(tuned + "vary: {noise: [0], other: [1, 2]}\n"))
	require.Error(t, err)
	two := parse(t, small)
	two.Vary = append(two.Vary, Axis{"other", []any{1.0, 2.0}})
	two.Tune = &Tuning{By: "loss", Seeds: []uint64{1}}
	require.ErrorContains(t, two.check(), "tune: the recipe varies 2 settings; settings can be chosen for the "+
		"values of one")
}
