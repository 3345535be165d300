package prune

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/ref"
	"bilevel/solvers/prune"
	"bilevel/tensor"
)

// The check has a row for each variant, network and γ, finds nothing broken, and would: a wrong hypergradient, and a
// status that does not fit the curvature.
func TestCheck(t *testing.T) {
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	c, err := Check(t.Context(), ex, 1)
	require.NoError(t, err)
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
	require.Len(t, c.Rows, 3*len(checkedGammas)*5) // dense, bip, bip-no-implicit, bip-unrolled, bip-exact
	require.Empty(t, c.Broken())
	convex, not := 0, 0
	for i := range c.Rows {
		r := &c.Rows[i]
		if r.Row != prune.RowExact {
			continue
		}
		if r.Smallest <= 0 {
			not++
			r.Status = "converged"
			require.Len(t, c.Broken(), 1)
			r.Status = "negative curvature"
			continue
		}
		convex++
		was := r.Distance
		r.Distance = 1e-5
		require.Len(t, c.Broken(), 1)
		r.Distance, r.Status = was, "negative curvature"
		require.Len(t, c.Broken(), 1)
		r.Status = "converged"
	}
	require.GreaterOrEqual(t, convex, 4)
	require.GreaterOrEqual(t, not, 2)
	var b bytes.Buffer
	require.NoError(t, c.Write(&b))
	require.Contains(t, b.String(), "negative curvature")
}
