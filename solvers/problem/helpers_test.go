package problem_test

import (
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// executor is a fresh one on the float64 reference device.
func executor(t *testing.T) *tensor.Executor { return tensortest.Executor(t, ref.New()) }

// narrow is a fresh executor in float32.
func narrow(t *testing.T) *tensor.Executor { return tensortest.Executor(t, cpudevice.New(2)) }

// compute gives the values of nodes.
func compute(t *testing.T, ex *tensor.Executor, build func() []*tensor.Node) [][]float64 {
	return compiled(t, ex, build)()
}

// compiled is compute for one graph and many values of its variables.
func compiled(t *testing.T, ex *tensor.Executor, build func() []*tensor.Node) func() [][]float64 {
	var vars []*tensor.Variable
	f, err := ex.Compile("compute", func() (updates []tensor.Update) {
		for _, n := range build() {
			v := ex.Variable("value", n.Type(), n.Shape()...)
			vars = append(vars, v)
			updates = append(updates, tensor.Update{Var: v, Value: n})
		}
		return updates
	})
	require.NoError(t, err)
	return func() (out [][]float64) {
		require.NoError(t, f.Run(1))
		for _, v := range vars {
			values, err := v.Read()
			require.NoError(t, err)
			out = append(out, values)
		}
		return out
	}
}

// vector puts values on the device.
func vector(t *testing.T, ex *tensor.Executor, values []float64) *tensor.Node {
	v := ex.Variable("vector", tensor.Real, len(values))
	require.NoError(t, v.Write(values))
	return v.Node()
}

// half is ½|z|².
func half(z *tensor.Node) *tensor.Node { return tensor.Dot(z, z).Scale(0.5) }

// square is a problem with nothing but ½|y|² and ½|x|².
func square(y, x problem.Values) *problem.Problem {
	return &problem.Problem{
		Name: "square",
		Lower: problem.Level{Start: y,
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y) })},
		Upper: problem.Level{Start: x,
			Value: problem.Flat(func(x, _ *tensor.Node, _ problem.Batch) *tensor.Node { return half(x) })},
	}
}

func bind(t *testing.T, ex *tensor.Executor, p *problem.Problem) *problem.Bound {
	b, err := p.Bind(ex)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// noise is values between -1 and 1 that look random.
func noise(n, from int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Sin(float64(12345*(from+i+1)) * 0.37)
	}
	return out
}
