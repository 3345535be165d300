package solvers_test

import (
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// executor is a fresh one on the float64 reference device.
func executor(t *testing.T) *tensor.Executor {
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	t.Cleanup(func() {
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	})
	return ex
}

func load(t *testing.T, ex *tensor.Executor, c solvertest.Closed) *solvers.Problem {
	p, err := solvertest.Load(ex, c)
	require.NoError(t, err)
	return p.Problem
}

func schedule(t *testing.T, name string) solvers.Schedule {
	s, err := solvers.ScheduleByName(name)
	require.NoError(t, err)
	return s
}

// arrays reads a state.
func arrays(t *testing.T, s solvers.State) (out [][]float64) {
	for _, v := range s.Arrays() {
		values, err := v.Read()
		require.NoError(t, err)
		out = append(out, values)
	}
	return out
}

// write puts values into a state.
func write(t *testing.T, s solvers.State, values [][]float64) {
	for i, v := range s.Arrays() {
		require.NoError(t, v.Write(values[i]))
	}
}

func bits(arrays [][]float64) (out [][]uint64) {
	for _, a := range arrays {
		var b []uint64
		for _, v := range a {
			b = append(b, math.Float64bits(v))
		}
		out = append(out, b)
	}
	return out
}

// rows is a sampler that gives listed minibatches: iteration k takes list[k], the last one for ever.
type rows [][]int32

func (r rows) Fill(dst []int32, step uint32) error {
	size := len(r[0])
	for i := 0; i < len(dst); i += size {
		copy(dst[i:i+size], r[min(int(step)+i/size, len(r)-1)])
	}
	return nil
}

// minibatches makes the finite sum's levels draw.
func minibatches(p *solvers.Problem, lower, upper solvers.Sampler, lowerSize, upperSize int) {
	p.Lower.Batch, p.Lower.Size = lower, lowerSize
	p.Upper.Batch, p.Upper.Size = upper, upperSize
}
