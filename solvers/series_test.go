package solvers_test

import (
	"math"
	"testing"

	"bilevel/solvers"

	"github.com/stretchr/testify/require"
)

// The lengths that a run draws are uniform, and functions of seed and iteration alone.
func TestLengthsAreUniform(t *testing.T) {
	const n, limit = 20_000, 5
	r := solvers.Run{Iterations: 10, Seed: 3}
	var count [limit]float64
	differ := 0
	for k := range n {
		length := solvers.Draw(r, k, limit)
		count[length]++
		require.Equal(t, length, solvers.Draw(solvers.Run{Iterations: 99, Seed: 3}, k, limit))
		if length != solvers.Draw(solvers.Run{Seed: 4}, k, limit) {
			differ++
		}
	}
	deviation := math.Sqrt(n * (1.0 / limit) * (1 - 1.0/limit))
	for length, c := range count {
		require.InDelta(t, n/limit, c, 5*deviation, "length %d", length)
	}
	require.InDelta(t, n*(1-1.0/limit), differ, 5*deviation, "another seed, other lengths")
	require.Zero(t, solvers.Draw(r, 7, 1), "a series of one term has no factors")
}
