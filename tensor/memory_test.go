package tensor_test

import (
	"errors"
	"testing"

	"bilevel/device"
	"bilevel/device/null"
	. "bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// network is the gradient of two layers over the given rows.
func network(ex *Executor, rows int) func() []Update {
	x, w1, w2 := ex.Variable("x", Real, rows, 64), ex.Variable("w1", Real, 64, 64), ex.Variable("w2", Real, 64, 64)
	return func() []Update {
		loss := x.Node().MatMul(w1.Node()).Relu().MatMul(w2.Node()).Square().Sum()
		g := Grad(loss, w1.Node(), w2.Node())
		return []Update{{Var: w1, Value: w1.Node().Sub(g[0].Scale(0.1))},
			{Var: w2, Value: w2.Node().Sub(g[1].Scale(0.1))}}
	}
}

// What a function needs is stated before anything is allocated, and comes to what it then takes.
func TestEstimate(t *testing.T) {
	for _, rows := range []int{1, 1000} {
		dev := null.New()
		ex := NewExecutor(dev)
		build := network(ex, rows)
		want, err := ex.Estimate("step", build)
		require.NoError(t, err)
		require.Zero(t, dev.Stats().Allocs)
		require.Zero(t, dev.Stats().Prepared)
		require.Zero(t, ex.MemoryInUse())
		f, err := ex.Compile("step", build)
		require.NoError(t, err)
		require.Equal(t, want, f.Memory())
		require.EqualValues(t, want.Arena+want.Constants+want.Variables, dev.Stats().LiveBytes)
		require.EqualValues(t, dev.Stats().LiveBytes, ex.MemoryInUse())
		require.Positive(t, want.Arena)
		require.NoError(t, f.Close())
		require.EqualValues(t, want.Variables, ex.MemoryInUse())
		require.NoError(t, ex.Close())
		require.Zero(t, ex.MemoryInUse())
	}
	ex := newRef(t)
	_, err := ex.Estimate("bad", func() []Update { return []Update{{}} })
	require.ErrorContains(t, err, "tensor: estimate bad: tensor: build: update 0")
	_, err = ex.Estimate("worse", func() []Update { Zeros(-1); return nil })
	require.ErrorContains(t, err, "tensor: estimate worse: ")
}

// What does not fit the memory given is refused before anything is allocated, with what it needs and what helps; with a
// byte more it is compiled.
func TestLimitMemory(t *testing.T) {
	dev := null.New()
	ex := NewExecutor(dev)
	build := network(ex, 1000)
	m, err := ex.Estimate("step", build)
	require.NoError(t, err)
	all := int64(m.Arena + m.Constants + m.Variables)
	ex.LimitMemory(all - 1)
	_, err = ex.Compile("step", build)
	require.ErrorIs(t, err, device.ErrMemory)
	var short *MemoryError
	require.True(t, errors.As(err, &short))
	require.Equal(t, MemoryError{Need: m, Have: all - 1}, *short)
	require.ErrorContains(t, err, "tensor: compile step: out of memory: it needs ")
	require.ErrorContains(t, err, "work on fewer rows at a time, or give it more memory")
	require.Zero(t, dev.Stats().Allocs)
	ex.LimitMemory(all)
	f, err := ex.Compile("step", build)
	require.NoError(t, err)
	_, err = ex.Compile("again", build) // its variables are there, room for its arena is not
	require.True(t, errors.As(err, &short))
	require.Equal(t, MemoryError{Need: Memory{Arena: m.Arena, Constants: m.Constants}, InUse: all, Have: all}, *short)
	require.NoError(t, f.Close())
	_, err = ex.Compile("again", build)
	require.NoError(t, err)
	require.NoError(t, ex.Close())
}

// Variables count when they get their memory, which is at their first use; those that got it before stay usable.
func TestLimitHoldsVariables(t *testing.T) {
	dev := null.New()
	ex := NewExecutor(dev)
	ex.LimitMemory(1000)
	small, large := ex.Variable("small", Real, 150), ex.Variable("large", Real, 101)
	require.NoError(t, small.Write(make([]float64, 150)))
	err := large.Write(make([]float64, 101))
	require.ErrorIs(t, err, device.ErrMemory)
	var short *MemoryError
	require.True(t, errors.As(err, &short))
	require.Equal(t, MemoryError{Need: Memory{Variables: 404}, InUse: 600, Have: 1000}, *short)
	require.ErrorContains(t, err, "tensor: variable large [101]: out of memory: it needs 404 B (0 B of intermediate")
	require.NoError(t, small.Write(make([]float64, 150)))
	ex.LimitMemory(1004)
	require.NoError(t, large.Write(make([]float64, 101)))
	require.Equal(t, 1004, dev.Stats().LiveBytes)
	require.NoError(t, ex.Close())
}

// Without a limit it is the device's memory that counts: on a simulated card of 80 GB, half a terabyte of activations.
func TestDeviceMemoryIsTheLimit(t *testing.T) {
	onDevice(t, "cuda-sim", func(t *testing.T, ex *Executor) {
		_, err := ex.Compile("large", network(ex, 1<<30))
		require.ErrorIs(t, err, device.ErrMemory)
		require.ErrorContains(t, err, "GB of intermediate values")
	})
}
