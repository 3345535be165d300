package models_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// pass holds one batch and what PyTorch computes from it: the outputs, the mean cross-entropy, its gradient, its
// Hessian times v, and the state after the pass. All arrays are flat.
type pass struct {
	X        []float64 `json:"x"`
	Labels   []int32   `json:"labels"`
	Outputs  []float64 `json:"outputs"`
	Loss     float64   `json:"loss"`
	Gradient []float64 `json:"gradient"`
	V        []float64 `json:"v"`
	HVP      []float64 `json:"hvp"`
	State    []float64 `json:"state"`
}

// golden is the content of testdata/batchnorm.json, which batchnorm.py wrote.
type golden struct {
	Names      []string  `json:"names"`
	StateNames []string  `json:"stateNames"`
	Params     []float64 `json:"params"`
	Train      []pass    `json:"train"`
	Eval       pass      `json:"eval"`
}

func loadGolden(t *testing.T) (g golden) {
	t.Helper()
	text, err := os.ReadFile("testdata/batchnorm.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &g))
	return g
}

var normalized = models.MLP{Widths: []int{3, 5, 4, 3}, Activation: models.Tanh, BatchNorm: true}

// run makes one pass with parameters p and a state on a device.
func run(t *testing.T, dev device.Device, m models.Model, p, state []float64, in pass, mode params.Mode) (out pass) {
	t.Helper()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	variable := func(values []float64, shape ...int) *tensor.Node {
		v := ex.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	rows := len(in.Labels)
	labels := ex.Variable("labels", tensor.Int, rows)
	require.NoError(t, labels.WriteInts(in.Labels))
	pn, sn, vn := variable(p, len(p)), variable(state, len(state)), variable(in.V, len(in.V))
	xn := variable(in.X, rows, len(in.X)/rows)
	var loss float64
	into := []*[]float64{&out.Outputs, {}, &out.Gradient, &out.HVP, &out.State}
	var updates []tensor.Update
	f, err := ex.Compile("pass", func() []tensor.Update {
		z, next := m.Apply(pn, sn, xn, mode)
		mean := tensor.CrossEntropy(z, labels.Node()).Mean()
		hvp := tensor.HVP(mean, []*tensor.Node{pn}, []*tensor.Node{vn})[0]
		for _, n := range []*tensor.Node{z, mean, tensor.Grad(mean, pn)[0], hvp, next} {
			updates = append(updates, tensor.Update{Var: ex.Variable("out", tensor.Real, n.Shape()...), Value: n})
		}
		return updates
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	for i, u := range updates {
		values, err := u.Var.Read()
		require.NoError(t, err)
		if i == 1 {
			loss = values[0]
		}
		*into[i] = values
	}
	out.Loss = loss
	return out
}

// near requires two passes to be equal up to a tolerance.
func near(t *testing.T, want, got pass, tol float64) {
	t.Helper()
	require.InDelta(t, want.Loss, got.Loss, tol)
	require.InDeltaSlice(t, want.Outputs, got.Outputs, tol)
	require.InDeltaSlice(t, want.Gradient, got.Gradient, tol)
	require.InDeltaSlice(t, want.HVP, got.HVP, 10*tol)
	require.InDeltaSlice(t, want.State, got.State, tol)
}

// devices are the reference device in float64 and the processor in float32. The key is the tolerance, a few thousand
// times the unit round-off, which leaves room for sums of a few tens of numbers near 1.
func devices() map[float64]device.Device {
	return map[float64]device.Device{1e-12: ref.New(), 1e-4: cpudevice.New(2)}
}

func TestBatchNormIsPyTorch(t *testing.T) {
	g := loadGolden(t)
	require.Equal(t, g.Names, normalized.Params().Names())
	require.Equal(t, g.StateNames, normalized.State().Names())
	for tol, dev := range devices() {
		_, start := normalized.Init(1)
		state := start.Flat
		for _, want := range g.Train {
			got := run(t, dev, normalized, g.Params, state, want, params.Train)
			near(t, want, got, tol)
			frozen := run(t, dev, normalized, g.Params, state, want, params.TrainFrozen)
			want.State = state
			near(t, want, frozen, tol)
			state = got.State
		}
		require.NotEqual(t, start.Flat, state)
		near(t, g.Eval, run(t, dev, normalized, g.Params, state, g.Eval, params.Eval), tol)
		require.NoError(t, dev.Close())
	}
}

// A state_dict that PyTorch saved is read as parameters and state, and gives PyTorch's outputs. Files of other networks
// are refused with the names of the arrays that do not fit.
func TestStateDict(t *testing.T) {
	g := loadGolden(t)
	read, err := params.ReadNPZ("testdata/batchnorm.npz", normalized.Params(), normalized.State())
	require.NoError(t, err)
	require.Equal(t, g.Params, read[0].Flat)
	require.Equal(t, g.Train[2].State, read[1].Flat)
	dev := ref.New()
	near(t, g.Eval, run(t, dev, normalized, read[0].Flat, read[1].Flat, g.Eval, params.Eval), 1e-12)
	require.NoError(t, dev.Close())

	wider := normalized
	wider.Widths = []int{3, 5, 4, 2}
	_, err = params.ReadNPZ("testdata/batchnorm.npz", wider.Params(), wider.State())
	require.ErrorContains(t, err, "6.weight is [3 4], not [2 4], 6.bias is [3], not [2]")
	plain := models.MLP{Widths: normalized.Widths}
	_, err = params.ReadNPZ("testdata/batchnorm.npz", plain.Params())
	require.ErrorContains(t, err, "missing 0.bias, 2.weight, 2.bias; not asked for 1.weight, 1.bias, 1.running_mean")
}

// plainBatchNorm is batch normalization in plain loops. Under train it uses the statistics of the rows in x, otherwise
// the given mean and variance. It also returns the mean and the unbiased variance of the rows.
func plainBatchNorm(x, weight, bias, mean, variance []float64, train bool) (out, batchMean, unbiased []float64) {
	width := len(weight)
	rows := len(x) / width
	out, batchMean, unbiased = make([]float64, len(x)), make([]float64, width), make([]float64, width)
	for j := range width {
		for r := range rows {
			batchMean[j] += x[r*width+j] / float64(rows)
		}
		squares := 0.0
		for r := range rows {
			squares += (x[r*width+j] - batchMean[j]) * (x[r*width+j] - batchMean[j])
		}
		unbiased[j] = squares / float64(rows-1)
		mu, sigma2 := mean[j], variance[j]
		if train {
			mu, sigma2 = batchMean[j], squares/float64(rows)
		}
		for r := range rows {
			out[r*width+j] = (x[r*width+j]-mu)/math.Sqrt(sigma2+1e-5)*weight[j] + bias[j]
		}
	}
	return out, batchMean, unbiased
}

// Passes chain inside one graph: the next state of one is the state of the following. Here the first two passes update
// the running statistics and the third uses them; the results are those of plain loops.
func TestPassesChain(t *testing.T) {
	m := models.MLP{Widths: []int{2, 3, 2}, BatchNorm: true}
	start, state := m.Init(4)
	p := sequence(start.Size(), 1.7)
	batches := [][]float64{sequence(5*2, 0.3), sequence(4*2, 2.1), sequence(3*2, 0.9)}
	modes := []params.Mode{params.Train, params.Train, params.Eval}
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) (out []*tensor.Node) {
		pn, s := v(p, len(p)), v(state.Flat, state.Size())
		for i, x := range batches {
			var z *tensor.Node
			z, s = m.Apply(pn, s, v(x, len(x)/2, 2), modes[i])
			out = append(out, z)
		}
		return append(out, s)
	})
	at := start.Like(p)
	mean, variance := []float64{0, 0, 0}, []float64{1, 1, 1}
	for i, x := range batches {
		one := models.MLP{Widths: []int{2, 3}, NoBias: true}
		h := plainMLP(one, nil, at.Of("0.weight"), x)
		train := modes[i] == params.Train
		h, mu, unbiased := plainBatchNorm(h, at.Of("1.weight"), at.Of("1.bias"), mean, variance, train)
		for j := range h {
			h[j] = max(h[j], 0)
		}
		last := models.MLP{Widths: []int{3, 2}}
		affine := slices.Concat(at.Of("3.weight"), at.Of("3.bias"))
		require.InDeltaSlice(t, plainMLP(last, nil, affine, h), got[i], 1e-13)
		for j := range mean {
			if train {
				mean[j], variance[j] = 0.9*mean[j]+0.1*mu[j], 0.9*variance[j]+0.1*unbiased[j]
			}
		}
	}
	require.InDeltaSlice(t, slices.Concat(mean, variance, []float64{2}), got[3], 1e-14)
}

// No derivative passes through the updated statistics.
func TestStateHasNoDerivative(t *testing.T) {
	m := models.MLP{Widths: []int{2, 3, 1}, BatchNorm: true}
	start, state := m.Init(4)
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
		p, s := v(sequence(start.Size(), 1.7), start.Size()), v(state.Flat, state.Size())
		_, next := m.Apply(p, s, v(sequence(8, 0.3), 4, 2), params.Train)
		g := tensor.Grad(next.Sum(), p, s)
		return []*tensor.Node{g[0], g[1], next}
	})
	require.Equal(t, make([]float64, start.Size()), got[0])
	require.Equal(t, make([]float64, state.Size()), got[1])
	require.NotZero(t, got[2][0])
}

// Derivatives up to the second order in parameters and inputs agree with central differences.
func TestBatchNormDerivatives(t *testing.T) {
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	m := models.MLP{Widths: []int{3, 4, 2}, Activation: models.Tanh, BatchNorm: true}
	m.Normalize = models.Normalization{Mean: []float64{0.3}, Deviation: []float64{0.5}}
	s := ex.Variable("state", tensor.Real, m.State().Size())
	require.NoError(t, s.Write([]float64{0.1, -0.2, 0.3, 0.4, 0.5, 1.5, 2, 0.7, 3}))
	for _, mode := range []params.Mode{params.Train, params.TrainFrozen, params.Eval} {
		require.NoError(t, tensortest.Check(ex, tensortest.Case{
			Name: mode.String(), Shapes: [][]int{{m.Params().Size()}, {5, 3}},
			Build: func(x []*tensor.Node) *tensor.Node {
				z, _ := m.Apply(x[0], s.Node(), x[1], mode)
				return z
			},
		}, 2, 11))
	}
}

// The variance is computed as the mean of (x - μ)². As the mean of x² minus μ², with a mean of 1000 and a deviation
// near 1, it would keep fewer than two of float32's seven digits, and the outputs would be wrong by some hundredths.
func TestVarianceIsCentred(t *testing.T) {
	m := models.MLP{Widths: []int{1, 1, 1}, Activation: models.Identity, BatchNorm: true}
	start, state := m.Init(1)
	copy(start.Of("0.weight"), []float64{1})
	copy(start.Of("3.weight"), []float64{1})
	x := sequence(64, 0.7)
	for i := range x {
		x[i] = float64(float32(1000 + 2*x[i]))
	}
	want, mean, unbiased := plainBatchNorm(x, []float64{1}, []float64{0}, []float64{0}, []float64{1}, true)
	dev := cpudevice.New(2)
	in := pass{X: x, Labels: make([]int32, len(x)), V: start.Flat}
	got := run(t, dev, m, start.Flat, state.Flat, in, params.Train)
	require.NoError(t, dev.Close())
	// The mean is rounded by up to 1000·2⁻²⁴ = 6e-5, and the outputs are relative to a deviation of √2.
	require.InDeltaSlice(t, want, got.Outputs, 3e-4)
	require.InDelta(t, 0.1*mean[0], got.State[0], 1e-4)
	require.InDelta(t, 0.9+0.1*unbiased[0], got.State[1], 1e-4)
}
