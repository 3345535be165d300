package linear

import (
	"context"
	"testing"

	"bilevel/device/ref"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func TestCGSmoke(t *testing.T) {
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	diag := ex.Variable("diag", tensor.Real, 4)
	require.NoError(t, diag.Write([]float64{1, 2, 3, 10}))
	sys, err := CG{RTol: 1e-12}.Prepare(ex, func(v *tensor.Node) *tensor.Node { return v.Mul(diag.Node()) }, 4)
	require.NoError(t, err)
	require.NoError(t, sys.RHS().Write([]float64{1, 2, 3, 5}))
	st, err := sys.Solve(context.Background())
	require.NoError(t, err)
	v, _ := sys.Solution().Read()
	t.Log(st, v)
	require.InDeltaSlice(t, []float64{1, 1, 1, 0.5}, v, 1e-10)
	require.NoError(t, sys.Close())
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}
