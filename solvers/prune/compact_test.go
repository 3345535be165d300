package prune_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/prune"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// outputs are a network's outputs on rows.
func outputs(
	t *testing.T, ex *tensor.Executor, m models.Model, p, state params.Values, x []float64, rows int,
) []float64 {
	t.Helper()
	put := func(values []float64, shape ...int) *tensor.Node {
		v := ex.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	var s *tensor.Node
	if state.Size() > 0 {
		s = put(state.Flat, state.Size())
	}
	z, _ := m.Apply(put(p.Flat, p.Size()), s, put(x, rows, len(x)/rows), params.Eval)
	to := ex.Variable("out", tensor.Real, z.Shape()...)
	f, err := ex.Compile("outputs", func() []tensor.Update { return []tensor.Update{{Var: to, Value: z}} })
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	list, err := to.Read()
	require.NoError(t, err)
	return list
}

// The compacted network is the masked one, for random masks of units and of weights, with emptied layers among them,
// for activations that are not 0 at 0, with and without batch normalization, in both orders of weights.
func TestCompactedIsMasked(t *testing.T) {
	ex, r := executor(t, "ref"), rand.New(rand.NewPCG(3, 4))
	cut, emptied := 0, 0
	for trial := range 60 {
		m := models.MLP{
			Widths: []int{6, 7, 5, 4, 3}, BatchNorm: trial%2 == 0, InputsFirst: trial%4 < 2, NoBias: trial%7 == 0,
			Activation: []models.Activation{models.Relu, models.Sigmoid, models.Tanh}[trial%3],
		}
		p, state := m.Init(uint64(trial))
		for i := range p.Flat {
			p.Flat[i] += 0.2 * r.NormFloat64()
		}
		for i := range state.Flat {
			state.Flat[i] += r.Float64()
		}
		s, err := prune.Units(m.Params(), m.Units())
		require.NoError(t, err)
		keep := []float64{0.1, 0.5, 0.9}[trial/3%3]
		marks := make([]float64, s.Scores.Size())
		for i := range marks {
			if r.Float64() < keep {
				marks[i] = 1
			}
		}
		byUnit := trial%5 != 0
		mask, err := s.Of(ex, marks)
		require.NoError(t, err)
		z := p.Like(make([]float64, p.Size()))
		for i, w := range p.Flat {
			if !byUnit {
				mask[i] = math.Round(r.Float64()*0.4 + keep*0.6)
			}
			if mask[i] != 0 {
				z.Flat[i] = w
			}
		}
		c, err := prune.Compact(m.Units(), z, state)
		require.NoError(t, err)
		small, err := m.WithUnits(c.Counts)
		require.NoError(t, err)
		require.Equal(t, small.Params(), c.Params.Layout)
		if m.BatchNorm {
			require.Equal(t, small.State(), c.State.Layout)
		}
		for i, h := range s.Shares(marks) {
			if byUnit {
				require.LessOrEqual(t, c.Counts[i], max(1, h.Kept))
			}
			cut += h.Count - c.Counts[i]
		}
		emptied += len(c.Emptied)
		for _, name := range c.Emptied {
			require.Zero(t, floats.Norm(c.Params.Of(name+".weight"), 1), "what is left of an emptied layer")
		}
		x := make([]float64, 8*6)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		want, got := outputs(t, ex, m, z, state, x, 8), outputs(t, ex, small, c.Params, c.State, x, 8)
		require.InDeltaSlice(t, want, got, 1e-13, "%+v", m) // sums of at most 7 numbers of the size of 1
	}
	require.Greater(t, cut, 100)
	require.Greater(t, emptied, 10)
}

// Units that only units read which are cut are cut, too; a network that fits not is refused.
func TestCompactFollowsTheChain(t *testing.T) {
	m := models.MLP{Widths: []int{2, 3, 2, 1}}
	p, _ := m.Init(1)
	w := p.Of("4.weight") // [1, 2]: nothing reads neuron 1 of the second layer
	w[1] = 0
	second := p.Of("2.weight") // [2, 3]: neuron 2 of the first layer is read by that neuron alone
	second[2] = 0
	c, err := prune.Compact(m.Units(), p, params.Values{})
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, c.Counts)
	require.Empty(t, c.Emptied)
	_, err = prune.Compact(models.MLP{Widths: []int{2, 4, 2, 1}}.Units(), p, params.Values{})
	require.ErrorContains(t, err, "units 0: axis 0 of 0.weight [3 2] does not have 4 elements")
	_, err = m.WithUnits([]int{1})
	require.ErrorContains(t, err, "1 widths for the 2 hidden layers")
}
