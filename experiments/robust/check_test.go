package robust

import (
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// Both parametrizations of Fast-BAT, on networks with and without batch normalization in each mode, make the update
// that a dense computation makes, and where it is the gradient of a function of θ, that of central differences. So do
// TRADES and gradient alignment.
func TestUpdatesAgainstDense(t *testing.T) {
	rows, err := Check(t.Context(), tensortest.Executor(t, ref.New()), 3)
	require.NoError(t, err)
	differences := 0
	for _, r := range rows {
		if math.IsNaN(r.Share) { // another method
			continue
		}
		what := r.Method + " on " + r.Net + ", " + r.BN
		require.Less(t, r.Dense, 1e-8, what)
		require.Positive(t, r.Free, what)
		require.Positive(t, r.Held, what)
		require.Greater(t, r.Share, 1e-4, "%s: the implicit term must be seen", what)
		if !math.IsNaN(r.Differences) {
			// Central differences with h = 1e-5 err by h²/6 times a third derivative and by 2⁻⁵³/h, about 1e-11 each.
			require.Less(t, r.Differences, 1e-7, what)
			differences++
		}
	}
	require.Equal(t, 18, differences)
	require.Len(t, rows, 48+8)
	methods := map[string]int{}
	for _, r := range rows[48:] {
		what := r.Method + " on " + r.Net + ", " + r.BN
		require.Less(t, r.Dense, 1e-8, what)
		require.Less(t, r.Differences, 1e-7, what)
		require.Positive(t, r.Held, what)
		methods[r.Method]++
	}
	require.Equal(t, map[string]int{"trades": 4, "grad-align": 4}, methods)
}
