package solvers_test

import (
	"context"
	"testing"
	"time"

	"bilevel/device/null"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// An iteration of SOBA on hyper-cleaning with PreActResNet-18, its Hessian product included, is compiled at once, and
// the memory of its intermediate values is known before anything runs. It is less than four times that of the outputs
// of all layers for one batch: a Hessian product has four numbers for each of these outputs (the value, its tangent,
// and the gradients of both), but never all of them at once.
func TestSOBAOverPreActResNet18(t *testing.T) {
	const batch, rows = 64, 128
	image := models.Image{Height: 32, Width: 32, Channels: 3}
	net, err := models.ByName("preactresnet18", models.Spec{Image: image, Classes: 10})
	require.NoError(t, err)
	weights, state := net.Init(1)
	losses := func(y problem.Vars, b problem.Batch, p problem.Pass) (each, next *tensor.Node) {
		z, next := net.Apply(y.Flat(), p.State.Flat(), b.Get("images"), p.Mode)
		return tensor.CrossEntropy(z, b.Get("label")), next
	}
	data := problem.Rows{
		"images": problem.Reals(make([]float32, rows*image.Size()), image.Size()),
		"label":  problem.Ints(make([]int32, rows)),
	}
	p := &problem.Problem{
		Name: "preactresnet18", State: state,
		Lower: problem.Level{Start: weights, Rows: data, Sampler: problem.Epochs(batch),
			Loss: func(x, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				each, next := losses(y, b, p)
				value := b.Of(x["weights"]).Sigmoid().Mul(each).Mean().Add(models.SquaredNorm(y.Flat()).Scale(5e-4))
				return problem.Loss{Value: value, State: next}
			}},
		Upper: problem.Level{
			Start: params.Values{}.And("weights", make([]float64, rows)...), Rows: data, Sampler: problem.Epochs(batch),
			Loss: func(_, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
				each, next := losses(y, b, p)
				return problem.Loss{Value: each.Mean(), State: next}
			}},
	}
	dev := null.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	begin := time.Now()
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, _, err := solvers.Init(context.Background(), b, solvers.SOBA{Step: 0.1, OuterStep: 0.1}, 10, 1)
	require.NoError(t, err)
	outputs := 0
	for _, l := range net.Costs() {
		outputs += l.Activations
	}
	stats := dev.Stats()
	t.Logf("compiled in %.2f s; %s has %d MB of intermediate values; the outputs of all layers have %d MB",
		time.Since(begin).Seconds(), stats.Largest, stats.LargestBytes>>20, 4*batch*outputs>>20)
	require.Zero(t, stats.Runs)
	require.Greater(t, stats.LargestBytes, 4*batch*outputs/4)
	require.Less(t, stats.LargestBytes, 4*4*batch*outputs)
	require.NoError(t, e.Close())
	require.NoError(t, b.Close())
	require.NoError(t, ex.Close())
	require.Zero(t, dev.Stats().LiveBuffers)
}
