package robust_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

const seed, batch, inputs = 5, 4, 6

// small is a task of 12 rows for a smooth perceptron, with batch normalization or without.
func small(norm bool) robust.Task {
	net := models.MLP{Widths: []int{inputs, 7, 3}, Activation: "tanh", BatchNorm: norm}
	p, state := net.Init(2)
	const n = 12
	x, labels := make([]float64, n*inputs), make([]int32, n)
	for i := range x { // pixels that are 0, 1 and between
		x[i] = min(1, max(0, 0.5+0.7*math.Sin(float64(7*i+1))))
	}
	for i := range labels {
		labels[i] = int32(i*i) % 3
	}
	return robust.Task{
		Name: "small", Model: net, Start: p, State: state, Sampler: problem.Epochs(batch), Eps: 0.15,
		Rows:      problem.Rows{robust.Features: problem.Reals(x, inputs), robust.Labels: problem.Ints(labels)},
		Optimizer: robust.SGD{Rate: 1},
	}
}

// start compiles a run on the float64 reference.
func start(t *testing.T, task robust.Task, m robust.Method, n, each int) *robust.Training {
	t.Helper()
	e, err := robust.New(tensortest.Executor(t, ref.New()), task, m, n, each, seed)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func step(t *testing.T, e *robust.Training, k, n int) {
	t.Helper()
	require.NoError(t, e.Step(context.Background(), k, n))
}

func read(t *testing.T, e *robust.Training, name string) []float64 {
	t.Helper()
	v, err := e.Variable(name).Read()
	require.NoError(t, err)
	return v
}

func method(t *testing.T, name string, settings ...string) robust.Method {
	t.Helper()
	entry, err := robust.ByName(name)
	require.NoError(t, err)
	m, err := entry.With(settings...)
	require.NoError(t, err)
	return m
}

// seen is a method that also keeps the perturbation of the last minibatch, and its rows, in the state.
type seen struct{ robust.Method }

func (s seen) Plan(t robust.Task) (robust.Plan, error) {
	plan, err := s.Method.Plan(t)
	for _, name := range []string{"delta", "images"} {
		plan.State = append(plan.State, engine.Array{Name: name, Values: make([]float64, batch*inputs)})
	}
	build := plan.Step
	plan.Step = func(r *robust.Round) robust.Step {
		step := build(r)
		r.State.Set("delta", step.Delta.Flatten())
		r.State.Set("images", r.Batch.Get(robust.Features).Flatten())
		return step
	}
	return plan, err
}

// moved is what an update subtracts from the parameters in one iteration of rate 1.
func moved(before params.Values, after []float64) []float64 {
	out := make([]float64, len(after))
	for i := range out {
		out[i] = before.Flat[i] - after[i]
	}
	return out
}

// logits is a small network's outputs.
func logits(task robust.Task, p, x *tensor.Node) *tensor.Node {
	z, _ := task.Model.Apply(p, nil, x, params.Train)
	return z
}
