package models_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat"
)

// eval computes nodes on the float64 reference device.
func eval(t *testing.T, build func(variable func(values []float64, shape ...int) *tensor.Node) []*tensor.Node) [][]float64 {
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
	var out [][]float64
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

func perceptron(t *testing.T, activation string, widths ...int) models.MLP {
	a, err := models.ActivationByName(activation)
	require.NoError(t, err)
	m, err := models.NewMLP(widths, a)
	require.NoError(t, err)
	return m
}

func TestLayouts(t *testing.T) {
	softmax, err := models.NewSoftmax(4, 3, true)
	require.NoError(t, err)
	logistic, err := models.NewLogistic(5, false)
	require.NoError(t, err)
	plain := perceptron(t, "relu", 4, 6, 3)
	plain.Bias = false
	for _, c := range []struct {
		of   models.Model
		want models.Layout
	}{
		{softmax, models.Layout{{"weight", []int{3, 4}, 0}, {"bias", []int{3}, 12}}},
		{logistic, models.Layout{{"weight", []int{1, 5}, 0}}},
		{perceptron(t, "tanh", 4, 6, 3), models.Layout{{"weight0", []int{4, 6}, 0}, {"bias0", []int{6}, 24}, {"weight1", []int{6, 3}, 30}, {"bias1", []int{3}, 48}}},
		{plain, models.Layout{{"weight0", []int{4, 6}, 0}, {"weight1", []int{6, 3}, 24}}},
	} {
		l := c.of.Layout()
		require.Equal(t, c.want, l)
		total := 0
		for _, p := range l {
			require.Equal(t, total, p.Off, "pieces lie one after the other")
			total += p.Size()
		}
		require.Equal(t, total, l.Size())
		require.Len(t, c.of.Init(1), total)
	}
	require.Zero(t, models.Layout(nil).Size())
}

// Piece.Of shows the piece's elements.
func TestPiece(t *testing.T) {
	l := perceptron(t, "relu", 2, 3, 1).Layout()
	values := sequence(l.Size(), 1)
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) (out []*tensor.Node) {
		params := v(values, l.Size())
		for _, p := range l {
			n := p.Of(params)
			require.Equal(t, p.Shape, n.Shape())
			out = append(out, n)
		}
		return out
	})
	var all []float64
	for _, g := range got {
		all = append(all, g...)
	}
	require.Equal(t, values, all)
}

// plainMLP is the perceptron as a loop.
func plainMLP(m models.MLP, phi func(float64) float64, params, x []float64) []float64 {
	at := 0
	for i := range len(m.Widths) - 1 {
		in, out := m.Widths[i], m.Widths[i+1]
		w, b := params[at:at+in*out], make([]float64, out)
		at += in * out
		if m.Bias {
			copy(b, params[at:at+out])
			at += out
		}
		rows := len(x) / in
		next := make([]float64, rows*out)
		for r := range rows {
			for j := range out {
				s := b[j]
				for k := range in {
					s += x[r*in+k] * w[k*out+j]
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

func TestOutputs(t *testing.T) {
	activations := map[string]func(float64) float64{
		"relu": func(x float64) float64 { return max(x, 0) }, "tanh": math.Tanh, "identity": func(x float64) float64 { return x },
		"sigmoid":  func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
		"softplus": func(x float64) float64 { return math.Log1p(math.Exp(x)) },
	}
	const rows = 5
	for name, phi := range activations {
		for _, widths := range [][]int{{3, 2}, {3, 4, 2}, {3, 5, 4, 1}} {
			for _, bias := range []bool{true, false} {
				m := perceptron(t, name, widths...)
				m.Bias = bias
				params, x := sequence(m.Layout().Size(), 1.3), sequence(rows*3, 0.7)
				got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
					out := m.Outputs(v(params, len(params)), v(x, rows, 3))
					require.Equal(t, []int{rows, widths[len(widths)-1]}, out.Shape())
					return []*tensor.Node{out}
				})
				require.InDeltaSlice(t, plainMLP(m, phi, params, x), got[0], 1e-14, "%s %v", name, widths)
			}
		}
	}
	// Regressions are perceptrons of one layer, whose weights lie the other way.
	softmax, err := models.NewSoftmax(3, 4, true)
	require.NoError(t, err)
	logistic, err := models.NewLogistic(3, true)
	require.NoError(t, err)
	for _, m := range []models.Model{softmax, logistic} {
		outputs := m.Layout()[1].Size()
		params, x := sequence(m.Layout().Size(), 1.3), sequence(rows*3, 0.7)
		got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
			return []*tensor.Node{m.Outputs(v(params, len(params)), v(x, rows, 3))}
		})
		one, turned := models.MLP{Widths: []int{3, outputs}, Bias: true}, slices.Clone(params)
		for i := range 3 * outputs {
			turned[i%3*outputs+i/3] = params[i]
		}
		require.InDeltaSlice(t, plainMLP(one, nil, turned, x), got[0], 1e-14)
	}
}

func TestInit(t *testing.T) {
	const in, out = 300, 200
	draw := func(init models.Init, seed uint64, number uint32) []float64 {
		dst := make([]float64, in*out)
		init(dst, in, out, seed, number)
		return dst
	}
	he, glorot := draw(models.He, 1, 0), draw(models.Glorot, 1, 0)
	// n draws: the mean is within 5 σ/√n of 0, the variance within 5 √((m₄ - σ⁴)/n): m₄ = 3σ⁴ (normal), 9/5 σ⁴ (uniform).
	n := float64(in * out)
	for _, c := range []struct {
		values   []float64
		variance float64
		kurtosis float64
	}{{he, 2.0 / in, 3}, {glorot, 2.0 / (in + out), 1.8}} {
		mean, variance := stat.MeanVariance(c.values, nil)
		require.Less(t, math.Abs(mean), 5*math.Sqrt(c.variance/n))
		require.InDelta(t, c.variance, variance, 5*c.variance*math.Sqrt((c.kurtosis-1)/n))
	}
	limit := math.Sqrt(6.0 / (in + out))
	for _, v := range glorot {
		require.LessOrEqual(t, math.Abs(v), limit*(1+1e-6))
	}
	require.Equal(t, he, draw(models.He, 1, 0))
	require.NotEqual(t, he, draw(models.He, 2, 0), "another seed")
	require.NotEqual(t, he, draw(models.He, 1, 1), "another array")
	for i, v := range he {
		require.Equal(t, v, float64(float32(v)), "element %d: a float32 on every device", i)
	}
}

func TestModelInit(t *testing.T) {
	m := perceptron(t, "relu", 4, 3, 2)
	w := m.Init(7)
	require.Equal(t, w, m.Init(7))
	require.NotEqual(t, w, m.Init(8))
	// Recorded runs depend on these bits. An independent Philox with the exact inverse normal gives 0.29677198…,
	// -0.08338854…, -0.22531239…
	require.Equal(t, []float64{0.2967720031738281, -0.08338852971792221, -0.22531241178512573}, w[:3])
	require.Equal(t, []float64{0.3011641800403595, -0.0869126245379448}, perceptron(t, "tanh", 4, 3, 2).Init(7)[:2])
	require.Equal(t, []float64{0, 0, 0}, w[12:15], "biases start at zero")
	require.NotEqual(t, w[:6], w[15:21], "layers differ")

	m.Start = models.Glorot
	require.NotEqual(t, w, m.Init(7))
	softmax, err := models.NewSoftmax(4, 3, true)
	require.NoError(t, err)
	require.Equal(t, make([]float64, 15), softmax.Init(7))
	logistic, err := models.NewLogistic(4, true)
	require.NoError(t, err)
	require.Equal(t, make([]float64, 5), logistic.Init(7))
}

func TestRefuses(t *testing.T) {
	relu, err := models.ActivationByName("relu")
	require.NoError(t, err)
	for _, widths := range [][]int{nil, {3}, {3, 0}, {0, 3}, {3, -1, 2}} {
		_, err := models.NewMLP(widths, relu)
		require.ErrorContains(t, err, "at least two positive widths", "%v", widths)
	}
	_, err = models.NewMLP([]int{3, 2}, models.Activation{})
	require.ErrorContains(t, err, "wants an activation")
	for _, c := range [][2]int{{0, 3}, {3, 1}, {-1, 2}} {
		_, err := models.NewSoftmax(c[0], c[1], true)
		require.ErrorContains(t, err, "softmax regression")
	}
	_, err = models.NewLogistic(0, true)
	require.ErrorContains(t, err, "logistic regression")
	_, err = models.ActivationByName("rellu")
	require.ErrorContains(t, err, `did you mean "relu"?`)
	_, err = models.ActivationByName("qqqqqqqq")
	require.ErrorContains(t, err, "there are identity, relu, sigmoid, softplus, tanh")
	require.NotContains(t, err.Error(), "did you mean")

	widths := []int{3, 2}
	m, err := models.NewMLP(widths, relu)
	require.NoError(t, err)
	widths[0] = 99
	require.Equal(t, []int{3, 2}, m.Widths, "the caller's slice is not kept")
}
