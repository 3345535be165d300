package sparse_test

import (
	"math/rand/v2"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/models/sparse"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// A sparse network has the outputs of the perceptron with the same weights, computed in float64, for each activation,
// with and without batch normalization, in both orders of weights, for one row and many.
func TestNetworkIsThePerceptron(t *testing.T) {
	dev := ref.New()
	ex, r := tensor.NewExecutor(dev), rand.New(rand.NewPCG(1, 2))
	trial := 0
	for _, activation := range []models.Activation{models.Relu, models.Tanh, models.Sigmoid, models.Softplus, ""} {
		for _, batch := range []int{1, 5, 64} {
			m := models.MLP{
				Widths: []int{20, 12, 9, 4}, Activation: activation, BatchNorm: trial%2 == 0, InputsFirst: trial%3 == 0,
				NoBias: trial%5 == 0,
			}
			trial++
			p, state := m.Init(uint64(trial))
			for _, a := range p.Layout {
				for i, v := range p.Of(a.Name) {
					if p.Of(a.Name)[i] = v + 0.1*r.NormFloat64(); models.IsWeight(a) && r.Float64() < 0.8 {
						p.Of(a.Name)[i] = 0
					}
				}
			}
			for i := range state.Flat {
				state.Flat[i] += r.Float64()
			}
			layers, err := m.Layers(p, state)
			require.NoError(t, err)
			n, err := sparse.New(layers, batch, 1+trial%2)
			require.NoError(t, err)
			x := make([]float64, batch*20)
			for i := range x {
				n.In[i] = float32(r.NormFloat64())
				x[i] = float64(n.In[i])
			}
			require.NoError(t, n.Run())
			want := apply(t, ex, m, p, state, x, batch)
			for i := range want { // three layers of at most 20 terms of the size of 1, in float32
				require.InDelta(t, want[i], n.Out[i], 1e-5, "%+v, batch %d", m, batch)
			}
			require.NoError(t, n.Close())
		}
	}
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

func apply(t *testing.T, ex *tensor.Executor, m models.MLP, p, state params.Values, x []float64, rows int) []float64 {
	t.Helper()
	sc := ex.Scope()
	put := func(values []float64, shape ...int) *tensor.Node {
		v := sc.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	var s *tensor.Node
	if state.Size() > 0 {
		s = put(state.Flat, state.Size())
	}
	var to *tensor.Variable
	f := sc.Compile("outputs", func() []tensor.Update {
		z, _ := m.Apply(put(p.Flat, p.Size()), s, put(x, rows, len(x)/rows), params.Eval)
		to = sc.Variable("out", tensor.Real, z.Shape()...)
		return []tensor.Update{{Var: to, Value: z}}
	})
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	list, err := to.Read()
	require.NoError(t, err)
	require.NoError(t, sc.Close())
	return list
}

func TestRefusals(t *testing.T) {
	_, err := sparse.New(nil, 1, 1)
	require.ErrorContains(t, err, "wants at least 1 of each")
	odd := models.Affine{In: 1, Out: 1, Weight: []float64{1}, Bias: []float64{0}, Activation: "odd"}
	_, err = sparse.New([]models.Affine{odd}, 2, 1)
	require.ErrorContains(t, err, `the activation "odd"`)
	m := models.MLP{Widths: []int{1, 1}, Normalize: models.Normalization{Mean: []float64{0}, Deviation: []float64{1}}}
	p, state := m.Init(1)
	_, err = m.Layers(p, state)
	require.ErrorContains(t, err, "normalizes its inputs")
}
