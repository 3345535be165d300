package prune_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"bilevel/device/open"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

var background = context.Background()

// executor opens a device for a test.
func executor(t testing.TB, device string) *tensor.Executor {
	t.Helper()
	dev, err := open.Open(device, open.Options{Threads: 1})
	require.NoError(t, err)
	ex := tensor.NewExecutor(dev)
	t.Cleanup(func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex
}

// small is a small network on a few random rows. Its classes do not follow from its inputs, so that losses stay away
// from 0. rows of the two levels differ unless shared.
type small struct {
	models.Shrinkable
	task  prune.Task
	theta []float64
}

func newSmall(t testing.TB, batchNorm, shared bool, batch int) small {
	t.Helper()
	m := models.MLP{Widths: []int{4, 5, 3}, Activation: models.Tanh, BatchNorm: batchNorm}
	return newTask(t, m, 4, shared, batch)
}

// newResidual is a network of two stages of one block, with a convolution in the shortcut of the second, on images of
// 4×4.
func newResidual(t testing.TB) small {
	t.Helper()
	n, err := models.ResNet{Name: "residual", Image: models.Image{Height: 4, Width: 4, Channels: 1}, Classes: 3,
		Widths: []int{2, 3}, Blocks: []int{1, 1}, Shortcut: models.ShortcutB}.Network()
	require.NoError(t, err)
	s := newTask(t, n, 16, false, 0)
	for i := range s.theta {
		s.theta[i] += 0.03 // no shift is 0, where a channel without weights would be at the kink of relu
	}
	return s
}

// newTask is a network that reads rows of so many inputs.
func newTask(t testing.TB, m models.Shrinkable, inputs int, shared bool, batch int) small {
	t.Helper()
	structure, err := prune.Weights(m.Params(), models.IsWeight)
	require.NoError(t, err)
	theta, state := m.Init(3)
	level := func(seed uint64) prune.Level {
		r := rand.New(rand.NewPCG(seed, 1))
		x, a := make([]float64, 12*inputs), make([]int32, 12)
		for i := range x {
			x[i] = r.NormFloat64()
		}
		for i := range a {
			a[i] = int32(r.IntN(3))
		}
		l := prune.Level{
			Rows: problem.Rows{"x": problem.Reals(x, inputs), "a": problem.Ints(a)},
			Loss: func(z *tensor.Node, b problem.Batch, p problem.Pass) problem.Loss {
				out, next := m.Apply(z, p.State.Flat(), b.Get("x"), p.Mode)
				return problem.Loss{Value: tensor.CrossEntropy(out, b.Get("a")).Mean(), State: next}
			},
		}
		if batch > 0 {
			l.Sampler = problem.Epochs(batch)
		}
		return l
	}
	task := prune.Task{Name: "small", Structure: structure, Lower: level(5), Upper: level(6), State: state}
	if shared {
		task.Upper = task.Lower
	}
	for i := range theta.Flat { // biases and normalizations away from their start values
		theta.Flat[i] += 0.1 * float64(i%7-3)
	}
	return small{m, task, theta.Flat}
}

// mask is the mask of the largest half of the weights.
func (s small) mask(t testing.TB, ex *tensor.Executor) []float64 {
	t.Helper()
	scores, err := prune.Magnitude(background, ex, s.task.Structure, s.theta)
	require.NoError(t, err)
	k, err := s.task.Structure.Keep(0.5, prune.Global)
	require.NoError(t, err)
	_, mask, err := s.task.Structure.Pick(ex, scores, k)
	require.NoError(t, err)
	return mask
}

// byUnit is the task with whole neurons pruned.
func (s small) byUnit(t testing.TB) small {
	t.Helper()
	var err error
	s.task.Structure, err = prune.Units(s.Params(), s.Units())
	require.NoError(t, err)
	return s
}

func (s small) bind(t testing.TB, ex *tensor.Executor, mask []float64) *problem.Bound {
	t.Helper()
	b, err := s.task.Bind(ex, s.theta, mask)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// index is the place of an element in the parameters.
func index(t testing.TB, l params.Layout, array string, i int) int {
	t.Helper()
	a, err := l.Find(array)
	require.NoError(t, err)
	return a.Off + i
}
