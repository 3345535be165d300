package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// executor is a fresh one on the float64 reference device.
func executor(t *testing.T) *tensor.Executor { return tensortest.Executor(t, ref.New()) }

func load(t *testing.T, ex *tensor.Executor, c solvertest.Closed) *problem.Problem {
	p, err := solvertest.Load(ex, c)
	require.NoError(t, err)
	return p.Problem
}

// begin prepares an algorithm for n iterations.
func begin(t *testing.T, ex *tensor.Executor, p *problem.Problem, a solvers.Algorithm, n int,
	seed uint64) *engine.Engine {
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, _, err := solvers.Init(context.Background(), b, a, n, seed)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func step(t *testing.T, e *engine.Engine, k, n int) {
	require.NoError(t, e.Step(context.Background(), k, n))
}

// solve runs an algorithm on an executor.
func solve(t *testing.T, ex *tensor.Executor, p *problem.Problem, a solvers.Algorithm,
	o solvers.Options) *solvers.Result {
	o.Executor = ex
	res, err := solvers.Solve(context.Background(), p, a, o)
	require.NoError(t, err)
	return res
}

// arrays reads a state.
func arrays(t *testing.T, e *engine.Engine) (out [][]float64) {
	for _, name := range e.Names() {
		values, err := e.Variable(name).Read()
		require.NoError(t, err)
		out = append(out, values)
	}
	return out
}

// write puts values into a state.
func write(t *testing.T, e *engine.Engine, values [][]float64) {
	for i, name := range e.Names() {
		require.NoError(t, e.Variable(name).Write(values[i]))
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

// rows is a sampler that gives listed minibatches: draw d takes list[d], the last one for ever.
type rows [][]int32

func (r rows) Size() int       { return len(r[0]) }
func (r rows) Check(int) error { return nil }

func (r rows) Fill(dst []int32, _ problem.Source, first uint64) error {
	size := len(r[0])
	for i := 0; i < len(dst); i += size {
		copy(dst[i:i+size], r[min(int(first)+i/size, len(r)-1)])
	}
	return nil
}

// suit gives a problem what an algorithm wants, where it has none: a set of x, which is a box that no optimum touches,
// and a further variable to be maximized over, which comes to 1 and changes nothing else.
func suit(p *problem.Problem, a solvers.Algorithm) {
	if a.Needs().Wants&problem.UpperSaddle != 0 && p.Upper.Value != nil {
		solvertest.Beside(p)
	}
	if a.Needs().Wants&problem.UpperSet != 0 && p.Upper.Set == nil {
		p.Upper.Set = problem.Box{Lo: -3, Hi: 3}
	}
}
