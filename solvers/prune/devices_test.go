package prune_test

import (
	"testing"

	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
)

// The first iterations on a simulated card choose the masks that the processor chooses.
func TestMasksOnCards(t *testing.T) {
	for _, row := range []string{prune.RowBiP, prune.RowNoImplicit, prune.RowExact} {
		masks := map[string][][]float64{}
		for _, device := range []string{"cpu", "cuda-sim"} {
			ex, s := executor(t, device), newSmall(t, true, false, 6)
			k, err := s.task.Structure.Keep(0.4, prune.Global)
			require.NoError(t, err)
			m := prune.BiP{Row: row, WeightStep: 0.1, WeightMomentum: 0.9, WeightDecay: 1e-3, ScoreStep: 1,
				ScoreMomentum: 0.9}
			if row != prune.RowNoImplicit {
				m.InverseGamma = 0.5
			}
			e, err := prune.New(background, m, s.task, s.bind(t, ex, s.task.Ones()), k, 20, 1)
			require.NoError(t, err)
			for i := range 4 {
				require.NoError(t, e.Step(background, i, 1))
				mask, err := e.Variable("x").Read()
				require.NoError(t, err)
				masks[device] = append(masks[device], mask)
			}
			require.NoError(t, e.Close())
		}
		require.Equal(t, masks["cpu"], masks["cuda-sim"], row)
		require.NotEqual(t, masks["cpu"][0], masks["cpu"][3], row)
	}
}
