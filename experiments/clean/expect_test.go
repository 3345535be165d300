package clean

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/experiments"
)

// Four rows by hand: the second is flagged though its label is right, of the fourth nothing is suggested. Flipped as
// counts say, class 0 turns into 1 three times out of four and into 2 else; of class 1 nothing is known.
func TestStanding(t *testing.T) {
	s := standing{truth: []int32{0, 0, 1, 1}, suggested: []int32{0, 1, 2, -1}}
	require.Equal(t, 0.25+0.25, s.flagged())
	counts := []map[int32]float64{{1: 3, 2: 1}, nil, nil}
	// Row 0 is flagged whatever its label turns into, row 1 unless it turns into 1, row 2 unless into 2, row 3 never.
	require.Equal(t, (1+0.25+0.5+0)/4, s.flaggedOnceFlipped(counts))
}

func TestClopperPearson(t *testing.T) {
	for _, c := range []struct{ share, n, low, high float64 }{ // the tables of the binomial's exact intervals
		{0, 10, 0, 0.3085}, {1, 10, 0.6915, 1}, {0.5, 10, 0.1871, 0.8129}, {0.1, 10, 0.0025, 0.4450},
	} {
		low, high := clopperPearson(c.share, c.n)
		require.InDelta(t, c.low, low, 5e-5)
		require.InDelta(t, c.high, high, 5e-5)
	}
}

// Some right labels of two overlapping classes look wrong to a model, and the trusted rows show how many:
// those that are judged by the models of confident learning, and those that were among the training rows.
func TestRightRowsAreFlaggedAsTrustedOnesAre(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	sample := func(n int) *data.Set {
		s := &data.Set{Dim: 2}
		for i := range n {
			s.Features = append(s.Features, float32(2*(i%2))+float32(r.NormFloat64()), float32(r.NormFloat64()))
			s.Labels = append(s.Labels, int32(i%2))
		}
		return s
	}
	trusted := sample(400)
	n := netOn(t, sample(2000), trusted, 2, "softmax")
	o, err := n.confident(t.Context(), indexedLabels(2000), trusted.Labels, 4, 300, 1, func(int) {})
	require.NoError(t, err)
	found := 0.0
	for _, f := range o.found {
		if f {
			found++
		}
	}
	require.Equal(t, 400, o.right.rows)
	require.Len(t, o.right.truth, 4*400)
	require.Greater(t, found/2000, 0.05, "the classes overlap")
	require.InDelta(t, found/2000, o.right.flagged(), 0.03)

	c := guidedConfig(Auto, "softmax")
	for seed := range uint64(3) {
		run := mustClean(t, c, cpudevice.New(1), digits(t), seed+1)
		v := run.Scalars
		require.Contains(t, run.Texts["expected"], "judged as the training rows are")
		require.InDelta(t, v["precision"], v["expected_precision"], 0.12, "%s", run.Texts["expected"])
	}
}

// Where there is no memory for the estimate, the output says so.
func TestTheEstimateIsLeftOutWithoutMemory(t *testing.T) {
	g := &guided{r: experiments.NewRecord(), data: &data.Judged{Classes: 2}}
	g.expect(&ending{held: &held{rows: []int32{0}}}, []verdict{{judged: true, flagged: true}})
	require.Contains(t, g.r.Texts["expected"], "is not estimated")
}

// indexedLabels are 0, 1, 0, 1, …
func indexedLabels(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i % 2)
	}
	return out
}
