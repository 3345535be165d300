package minimize

import (
	"testing"

	"bilevel/device/ref"
	"bilevel/models/params"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// Decays of single inputs go to their column of each array that a group matches; the last group that has an element
// decides.
func TestDecaysOfInputs(t *testing.T) {
	l := params.Layout{}.With("weight", 2, 3).With("bias", 2)
	d, err := decays(l, 0.5, []Group{
		{Names: "weight", WeightDecay: 1, Inputs: []int{0, 2}}, {Names: "weight", WeightDecay: 7, Inputs: []int{2}},
		{Names: "bias", WeightDecay: 0},
	})
	require.NoError(t, err)
	ex := tensortest.Executor(t, ref.New())
	sc := ex.Scope()
	v := sc.Variable("decays", tensor.Real, l.Size())
	f := sc.Compile("decays", func() []tensor.Update { return []tensor.Update{{Var: v, Value: d}} })
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	got, err := v.Read()
	require.NoError(t, err)
	require.Equal(t, []float64{1, 0.5, 7, 1, 0.5, 7, 0, 0}, got)
	require.NoError(t, sc.Close())
	_, err = decays(l, 0, []Group{{Names: "weight", WeightDecay: 1, Inputs: []int{3}}})
	require.ErrorContains(t, err, "has the input 3, and the array weight has the inputs 0 to 2")
}
