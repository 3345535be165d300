package hypergrad_test

import (
	"testing"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"

	"github.com/stretchr/testify/require"
)

// What the table says of the costs is what the oracle counts: with T = 40 steps, K = 7, p = 3 upper variables, J = 10
// directions, one gradient more that measures the lower level, and the steps that checkpoints compute twice: of 40
// states, five segments of 7 but for their first step, and of 7 states, two segments of 3.
func TestCostsAsCounted(t *testing.T) {
	const T, K, p, J = 40, 7, 3, 10
	for name, want := range map[string]struct {
		counts problem.Counts
		states int
	}{
		"unrolled":          {problem.Counts{LowerGradients: T + 5*6 + 1, UpperGradients: 1, HVP: T, JVP: T}, 5 + 7},
		"truncated":         {problem.Counts{LowerGradients: T + 2*2 + 1, UpperGradients: 1, HVP: K, JVP: K}, 2 + 3},
		"one-step":          {problem.Counts{LowerGradients: 1 + 1, UpperGradients: 1, JVP: 1}, 1},
		"forward":           {problem.Counts{LowerGradients: T + 1, UpperGradients: 1, HVP: p * T, JVP: p * T}, p},
		"reversible":        {problem.Counts{LowerGradients: 2*T + 1, UpperGradients: 1, HVP: T, JVP: T}, 0},
		"zeroth-order":      {problem.Counts{LowerGradients: (J+1)*T + 1, UpperGradients: 1}, 0},
		"sign-descent":      {problem.Counts{LowerGradients: T + 1, UpperGradients: 1}, 0},
		"min-min-analytic":  {problem.Counts{LowerGradients: 1}, 0},
		"min-min-automatic": {problem.Counts{LowerGradients: T + 5*6 + 1, UpperGradients: 1, HVP: T, JVP: T}, 5 + 7},
	} {
		found := false
		for _, row := range hypergrad.Methods() {
			if row.Name != name {
				continue
			}
			found = true
			ex := executor(t)
			h := on(t, ex, forMethod(t, ex, row), row.New(hypergrad.Settings{Steps: T, Last: K}), bentX, bentY)
			require.Equal(t, want.counts, h.Counts, name)
			require.Equal(t, want.states, h.States, name)
		}
		require.True(t, found, name)
	}
}
