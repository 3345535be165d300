package models_test

import (
	"math"
	"testing"

	"bilevel/models"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
)

func TestStartValues(t *testing.T) {
	const in, out = 300, 200
	draw := func(start models.Start, seed uint64) (w, b, other []float64) {
		p, _ := models.MLP{Widths: []int{in, out, in, out}, Start: start}.Init(seed)
		return p.Of("0.weight"), p.Of("0.bias"), p.Of("4.weight")
	}
	for _, c := range []struct {
		start    models.Start
		variance float64
		kurtosis float64 // fourth moment / variance²
		limit    float64 // of |w|
		biases   bool
	}{
		{models.He, 2.0 / in, 3, math.Inf(1), false},
		{models.Glorot, 2.0 / (in + out), 1.8, math.Sqrt(6.0 / (in + out)), false},
		{models.PyTorch, 1.0 / 3 / in, 1.8, 1 / math.Sqrt(in), true},
	} {
		w, b, other := draw(c.start, 1)
		require.Len(t, w, in*out)
		check := func(values []float64) {
			// Of n draws, the mean lies within 5σ/√n of 0, and the variance within 5√((m₄ - σ⁴)/n) of σ².
			n := float64(len(values))
			mean, variance := stat.MeanVariance(values, nil)
			require.Less(t, math.Abs(mean), 5*math.Sqrt(c.variance/n), c.start)
			require.InDelta(t, c.variance, variance, 5*c.variance*math.Sqrt((c.kurtosis-1)/n), c.start)
			for i, v := range values {
				require.LessOrEqual(t, math.Abs(v), c.limit*(1+1e-6))
				require.Equal(t, v, float64(float32(v)), "element %d is a float32 number", i)
			}
		}
		check(w)
		if c.biases {
			check(b)
		} else {
			require.Equal(t, make([]float64, out), b)
		}
		again, _, _ := draw(c.start, 1)
		require.Equal(t, w, again)
		another, _, _ := draw(c.start, 2)
		require.NotEqual(t, w, another, "another seed")
		require.NotEqual(t, w, other, "another array of the same shape")
	}
}

func TestModelInit(t *testing.T) {
	m := models.MLP{Widths: []int{4, 3, 2}, InputsFirst: true}
	p, state := m.Init(7)
	require.Empty(t, state.Flat)
	w := p.Flat
	// Recorded runs depend on these bits. An independent Philox followed by the exact inverse of the normal
	// distribution function gives 0.29677198…, -0.08338854…, -0.22531239…
	require.Equal(t, []float64{0.2967720031738281, -0.08338852971792221, -0.22531241178512573}, w[:3])
	tanh, _ := models.MLP{Widths: []int{4, 3, 2}, InputsFirst: true, Activation: models.Tanh}.Init(7)
	require.Equal(t, []float64{0.3011641800403595, -0.0869126245379448}, tanh.Flat[:2])
	require.Equal(t, []float64{0, 0, 0}, w[12:15], "biases start at zero")

	// Weights stored the other way are those of the same function.
	outputsFirst, _ := models.MLP{Widths: []int{4, 3, 2}}.Init(7)
	for k := range 4 {
		for j := range 3 {
			require.Equal(t, w[k*3+j], outputsFirst.Of("0.weight")[j*4+k])
		}
	}
	x := sequence(5*4, 0.7)
	other := models.MLP{Widths: []int{4, 3, 2}}
	require.InDeltaSlice(t, outputs(t, m, w, x, 5, 4), outputs(t, other, outputsFirst.Flat, x, 5, 4), 1e-15)

	norm, state := models.MLP{Widths: []int{4, 3, 2}, BatchNorm: true}.Init(7)
	require.Equal(t, []float64{1, 1, 1}, norm.Of("1.weight"))
	require.Equal(t, []float64{0, 0, 0}, norm.Of("1.bias"))
	require.Equal(t, []float64{0, 0, 0, 1, 1, 1, 0}, state.Flat)

	softmax, _ := models.Softmax{Inputs: 4, Classes: 3}.Init(7)
	require.Equal(t, make([]float64, 15), softmax.Flat)
	logistic, _ := models.Logistic{Inputs: 4}.Init(7)
	require.Equal(t, make([]float64, 5), logistic.Flat)
}
