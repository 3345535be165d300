package models_test

import (
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// eval computes nodes on the float64 reference device.
func eval(t *testing.T, build func(variable func([]float64, ...int) *tensor.Node) []*tensor.Node) (out [][]float64) {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	defer func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	}()
	nodes := build(func(values []float64, shape ...int) *tensor.Node {
		v := ex.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	})
	var updates []tensor.Update
	for _, n := range nodes {
		updates = append(updates, tensor.Update{Var: ex.Variable("out", tensor.Real, n.Shape()...), Value: n})
	}
	f, err := ex.Compile("test", func() []tensor.Update { return updates })
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	for _, u := range updates {
		values, err := u.Var.Read()
		require.NoError(t, err)
		out = append(out, values)
	}
	return out
}

func sequence(n int, step float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Sin(step * float64(i+1))
	}
	return out
}

// outputs are a stateless model's values for inputs [rows, …].
func outputs(t *testing.T, m models.Model, p, x []float64, shape ...int) []float64 {
	t.Helper()
	return eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
		z, next := m.Apply(v(p, len(p)), nil, v(x, shape...), params.Train)
		require.Nil(t, next, "a model without state returns none")
		return []*tensor.Node{z}
	})[0]
}

func array(name string, shape []int, off int) params.Array {
	return params.Array{Name: name, Shape: shape, Off: off}
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		of            models.Model
		params, state params.Layout
	}{
		{models.Softmax{Inputs: 4, Classes: 3},
			params.Layout{array("weight", []int{3, 4}, 0), array("bias", []int{3}, 12)}, nil},
		{models.Logistic{Inputs: 5, NoBias: true}, params.Layout{array("weight", []int{1, 5}, 0)}, nil},
		{models.MLP{Widths: []int{4, 6, 3}}, params.Layout{
			array("0.weight", []int{6, 4}, 0), array("0.bias", []int{6}, 24),
			array("2.weight", []int{3, 6}, 30), array("2.bias", []int{3}, 48)}, nil},
		{models.MLP{Widths: []int{4, 6, 3}, NoBias: true, InputsFirst: true}, params.Layout{
			array("0.weight", []int{4, 6}, 0), array("2.weight", []int{6, 3}, 24)}, nil},
		{models.MLP{Widths: []int{4, 6, 5, 3}, BatchNorm: true},
			params.Layout{
				array("0.weight", []int{6, 4}, 0), array("1.weight", []int{6}, 24), array("1.bias", []int{6}, 30),
				array("3.weight", []int{5, 6}, 36), array("4.weight", []int{5}, 66), array("4.bias", []int{5}, 71),
				array("6.weight", []int{3, 5}, 76), array("6.bias", []int{3}, 91),
			},
			params.Layout{
				array("1.running_mean", []int{6}, 0), array("1.running_var", []int{6}, 6),
				array("1.num_batches_tracked", nil, 12),
				array("4.running_mean", []int{5}, 13), array("4.running_var", []int{5}, 18),
				array("4.num_batches_tracked", nil, 23),
			}},
	} {
		require.Equal(t, c.params, c.of.Params())
		require.Equal(t, c.state, c.of.State())
		p, state := c.of.Init(1)
		for _, v := range []params.Values{p, state} {
			require.NoError(t, v.Check())
		}
		require.Equal(t, c.params, p.Layout)
		require.Len(t, p.Flat, c.params.Size())
		require.Len(t, state.Flat, c.state.Size())
	}
}

// IsWeight finds the weights of linear maps, and LayerOf names a layer by the part of a name before the dot.
func TestGroupsOfArrays(t *testing.T) {
	l := models.MLP{Widths: []int{2, 1, 2}, BatchNorm: true}.Params()
	require.Equal(t, []string{"0", "1", "3"}, l.Groups(models.LayerOf))
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
		return []*tensor.Node{l.Mask(models.IsWeight), l.ByGroup(v([]float64{5, 6, 7}, 3), models.LayerOf)}
	})
	require.Equal(t, []float64{1, 1, 0, 0, 1, 1, 0, 0}, got[0])
	require.Equal(t, []float64{5, 5, 6, 6, 7, 7, 7, 7}, got[1])
	require.Equal(t, []string{"0"}, models.Softmax{Inputs: 2, Classes: 2}.Params().Groups(models.LayerOf))
}

// weightAt is the weight from input k to output j in a weight array of in × out elements.
func weightAt(m models.MLP, w []float64, k, j, in, out int) float64 {
	if m.InputsFirst {
		return w[k*out+j]
	}
	return w[j*in+k]
}

// plainMLP is a perceptron without batch normalization in plain loops, which take its arrays from the flat vector in
// order.
func plainMLP(m models.MLP, phi func(float64) float64, flat, x []float64) []float64 {
	at := 0
	for i := range len(m.Widths) - 1 {
		in, out := m.Widths[i], m.Widths[i+1]
		w, b := flat[at:at+in*out], make([]float64, out)
		at += in * out
		if !m.NoBias {
			copy(b, flat[at:at+out])
			at += out
		}
		rows := len(x) / in
		next := make([]float64, rows*out)
		for r := range rows {
			for j := range out {
				s := b[j]
				for k := range in {
					s += x[r*in+k] * weightAt(m, w, k, j, in, out)
				}
				if i < len(m.Widths)-2 {
					s = phi(s)
				}
				next[r*out+j] = s
			}
		}
		x = next
	}
	return x
}

// nonlinearities are the activations as plain functions.
var nonlinearities = map[models.Activation]func(float64) float64{
	"":         func(x float64) float64 { return max(x, 0) },
	"relu":     func(x float64) float64 { return max(x, 0) },
	"tanh":     math.Tanh,
	"sigmoid":  func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	"softplus": func(x float64) float64 { return math.Log1p(math.Exp(x)) },
	"identity": func(x float64) float64 { return x },
}

func TestOutputs(t *testing.T) {
	const rows = 5
	for name, phi := range nonlinearities {
		for _, widths := range [][]int{{3, 2}, {3, 4, 2}, {3, 5, 4, 1}} {
			for flags := range 4 {
				m := models.MLP{Widths: widths, Activation: name, NoBias: flags&1 > 0, InputsFirst: flags&2 > 0}
				p, x := sequence(m.Params().Size(), 1.3), sequence(rows*3, 0.7)
				got := outputs(t, m, p, x, rows, 3)
				require.InDeltaSlice(t, plainMLP(m, phi, p, x), got, 1e-14, "%+v", m)
			}
		}
	}
	// Regressions are perceptrons of one layer.
	for _, c := range []struct {
		model   models.Model
		outputs int
		noBias  bool
	}{
		{models.Softmax{Inputs: 3, Classes: 4}, 4, false},
		{models.Softmax{Inputs: 3, Classes: 2, NoBias: true}, 2, true},
		{models.Logistic{Inputs: 3}, 1, false}, {models.Logistic{Inputs: 3, NoBias: true}, 1, true},
	} {
		p, x := sequence(c.model.Params().Size(), 1.3), sequence(rows*3, 0.7)
		one := models.MLP{Widths: []int{3, c.outputs}, NoBias: c.noBias}
		require.InDeltaSlice(t, plainMLP(one, nil, p, x), outputs(t, c.model, p, x, rows, 3), 1e-14)
	}
}

// Inputs of more axes are rows of their elements.
func TestInputsOfManyAxes(t *testing.T) {
	for _, m := range []models.Model{
		models.MLP{Widths: []int{12, 3, 2}}, models.Softmax{Inputs: 12, Classes: 3}, models.Logistic{Inputs: 12},
	} {
		p, x := sequence(m.Params().Size(), 1.3), sequence(5*12, 0.7)
		require.Equal(t, outputs(t, m, p, x, 5, 12), outputs(t, m, p, x, 5, 2, 2, 3))
	}
}

// A model with normalization gives what the same model without it gives for normalized inputs.
func TestNormalization(t *testing.T) {
	const rows = 4
	n := models.Normalization{Mean: []float64{0.5, -1, 2}, Deviation: []float64{0.25, 3, 0.5}}
	one := models.Normalization{Mean: []float64{0.5}, Deviation: []float64{0.25}}
	for _, c := range []struct {
		of            models.Normalization
		plain, normal models.Model
	}{
		{n, models.MLP{Widths: []int{6, 3, 2}}, models.MLP{Widths: []int{6, 3, 2}, Normalize: n}},
		{one, models.MLP{Widths: []int{6, 3, 2}}, models.MLP{Widths: []int{6, 3, 2}, Normalize: one}},
		{n, models.Softmax{Inputs: 6, Classes: 2}, models.Softmax{Inputs: 6, Classes: 2, Normalize: n}},
		{n, models.Logistic{Inputs: 3}, models.Logistic{Inputs: 3, Normalize: n}},
	} {
		p := sequence(c.plain.Params().Size(), 1.3)
		width := 6
		if _, ok := c.plain.(models.Logistic); ok {
			width = 3
		}
		x := sequence(rows*width, 0.7)
		z := make([]float64, len(x))
		for i, v := range x {
			j := i % width % len(c.of.Mean)
			z[i] = (v - c.of.Mean[j]) / c.of.Deviation[j]
		}
		require.Equal(t, c.plain.Params(), c.normal.Params())
		require.InDeltaSlice(t, outputs(t, c.plain, p, z, rows, width), outputs(t, c.normal, p, x, rows, width), 1e-14)
	}
}

func TestRefuses(t *testing.T) {
	by := func(mean []float64, deviation ...float64) models.Normalization {
		return models.Normalization{Mean: mean, Deviation: deviation}
	}
	for _, c := range []struct {
		of   interface{ Check() error }
		says string
	}{
		{models.MLP{}, "perceptron of widths []: wants at least two"},
		{models.MLP{Widths: []int{3}}, "at least two"},
		{models.MLP{Widths: []int{3, 0}}, "positive"},
		{models.MLP{Widths: []int{0, 3}}, "positive"},
		{models.MLP{Widths: []int{3, -1, 2}}, "positive"},
		{models.MLP{Widths: []int{3, 2}, Activation: "rellu"},
			`unknown activation "rellu" (there are relu, tanh, sigmoid, softplus, identity); did you mean "relu"?`},
		{models.MLP{Widths: []int{3, 2}, Start: "pytroch"},
			`unknown start values "pytroch" (there are he, glorot, pytorch); did you mean "pytorch"?`},
		{models.Softmax{Inputs: 0, Classes: 3}, "softmax regression from 0 inputs to 3 classes"},
		{models.Softmax{Inputs: 3, Classes: 1}, "softmax regression"},
		{models.Logistic{}, "logistic regression from 0 inputs"},
		{models.Logistic{Inputs: 4, Normalize: models.Normalization{Mean: []float64{0}}}, "1 means and 0 deviations"},
		{models.Softmax{Inputs: 4, Classes: 2, Normalize: by([]float64{0, 0, 0}, 1, 1, 1)}, "divides the 4 inputs"},
		{models.MLP{Widths: []int{3, 2}, Normalize: by([]float64{0}, 0)}, "mean 0 and deviation 0"},
		{models.MLP{Widths: []int{3, 2}, Normalize: by([]float64{0}, math.Inf(1))}, "deviation +Inf"},
		{models.MLP{Widths: []int{3, 2}, Normalize: by([]float64{math.NaN()}, 1)}, "mean NaN"},
	} {
		require.ErrorContains(t, c.of.Check(), c.says)
		m := c.of.(models.Model)
		var e *tensor.BuildError
		require.ErrorAs(t, tensor.Catch(func() { m.Params() }), &e)
		require.Contains(t, e.Detail, c.of.Check().Error())
		require.ErrorAs(t, tensor.Catch(func() { m.Init(1) }), &e)
	}
	require.NoError(t, models.MLP{Widths: []int{3, 2}}.Check())
	require.NotContains(t, models.MLP{Widths: []int{3, 2}, Activation: "qqqqqqqq"}.Check().Error(), "did you mean")
}

// Arguments that do not fit make Compile return an error that names the model and the caller's file.
func TestApplyRefuses(t *testing.T) {
	mlp, norm := models.MLP{Widths: []int{3, 4, 2}}, models.MLP{Widths: []int{3, 4, 2}, BatchNorm: true}
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	zero := func(shape ...int) *tensor.Node { return tensor.Zeros(shape...) }
	x := zero(5, 3)
	for _, c := range []struct {
		op, says string
		build    func()
	}{
		{"MLP", "it keeps no state, but was given one of shape [9]: wants nil",
			func() { mlp.Apply(zero(26), zero(9), x, params.Train) }},
		{"Softmax", "it keeps no state", func() {
			models.Softmax{Inputs: 3, Classes: 2}.Apply(zero(8), zero(1), x, params.Eval)
		}},
		{"Logistic", "it keeps no state",
			func() { models.Logistic{Inputs: 3}.Apply(zero(4), zero(1), x, params.Eval) }},
		{"MLP", "its state is missing: it keeps 1.running_mean, 1.running_var, 1.num_batches_tracked",
			func() { norm.Apply(zero(30), nil, x, params.Train) }},
		{"MLP", "its state is missing", func() { norm.Apply(zero(30), nil, x, params.Eval) }},
		{"MLP", "its state must be a vector of 9 elements", func() { norm.Apply(zero(30), zero(8), x, params.Train) }},
		{"MLP", "its parameters must be a vector of 26 elements, not ",
			func() { mlp.Apply(zero(27), nil, x, params.Train) }},
		{"MLP", "not nil", func() { mlp.Apply(nil, nil, x, params.Train) }},
		{"MLP", "vector of 26", func() { mlp.Apply(zero(2, 13), nil, x, params.Train) }},
		{"MLP", "inputs of shape [5 4]: wants rows of 3 numbers",
			func() { mlp.Apply(zero(26), nil, zero(5, 4), params.Train) }},
		{"MLP", "inputs of shape [3]", func() { mlp.Apply(zero(26), nil, zero(3), params.Train) }},
		{"MLP", "there is no mode Mode(7)", func() { mlp.Apply(zero(26), nil, x, params.Mode(7)) }},
		{"MLP", "batch normalization of a batch of 1: wants at least 2 rows",
			func() { norm.Apply(zero(30), zero(9), zero(1, 3), params.Train) }},
		{"MLP", "at least 2 rows", func() { norm.Apply(zero(30), zero(9), zero(1, 3), params.TrainFrozen) }},
	} {
		_, err := ex.Compile("wrong", func() []tensor.Update { c.build(); return nil })
		var e *tensor.BuildError
		require.ErrorAs(t, err, &e, c.says)
		require.Equal(t, "models", e.Package)
		require.Equal(t, c.op, e.Op)
		require.Contains(t, e.Detail, c.says)
		require.Contains(t, e.File, "models_test.go")
	}
	// Under Eval, a batch may have a single row.
	require.NoError(t, tensor.Catch(func() { norm.Apply(zero(30), zero(9), zero(1, 3), params.Eval) }))
}
