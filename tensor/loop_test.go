package tensor

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// A loop equals the plain function, though most of it runs once.
func TestLoopEqualsFunction(t *testing.T) {
	ex := newRef(t)
	loss, p := network(t, ex)
	x, y := filled(t, ex, 35), ex.Variable("y", Real, 35)
	start, err := x.Read()
	require.NoError(t, err)
	require.NoError(t, y.Write(start))
	h := func(v *Variable) []Update {
		hv := HVP(loss, []*Node{p.Node()}, []*Node{v.Node()})[0]
		return []Update{{v, hv.Add(v.Node()).Scale(0.5)}}
	}
	l, err := ex.CompileLoop("loop", func() []Update { return h(x) })
	require.NoError(t, err)
	f := compiled(t, ex, h(y)...)
	require.NotNil(t, l.SetupFunction())
	require.Positive(t, l.ResidualBytes())
	require.Less(t, len(l.Body(0).Program().Code), len(f.Program().Code))
	for range 2 { // the second time around with other parameters, after another Setup
		require.NoError(t, l.Setup())
		require.NoError(t, l.Run(4))
		require.NoError(t, f.Run(4))
		requireClose(t, contents(t, y), contents(t, x))
		require.NoError(t, p.Write(make([]float64, 35)))
	}
	vars := len(ex.vars)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.Less(t, len(ex.vars), vars, "the residuals are given back")
}

// Random numbers belong to the loop where seed, step or what they depend on change in it, and to its setup where not.
func TestRandomInLoops(t *testing.T) {
	ex := newRef(t)
	seed := integers(t, ex, []int32{1, 2}, 2)
	step := integers(t, ex, []int32{0})
	x, fixed := ex.Variable("x", Real, 4), filled(t, ex, 4)
	l, err := ex.CompileLoop("noise", func() []Update {
		noise := RandomNormal(seed.Node(), step.Node(), 0, 4)
		frozen := RandomNormal(seed.Node(), IntConst(5), 1, 4)
		return []Update{{x, x.Node().Add(noise).Add(frozen).Add(fixed.Node().Exp().Softmax())},
			{step, step.Node().Add(IntConst(1))}}
	})
	require.NoError(t, err)
	require.Equal(t, 1, times("Random", ops(l.Body(0))))
	require.Equal(t, 1, times("Random", ops(l.SetupFunction())))
	require.Zero(t, times("RowSoftmax", ops(l.Body(0))))
	require.NoError(t, l.Setup())
	require.NoError(t, l.Run(3))
	require.Equal(t, []float64{3}, contents(t, step))

	l, err = ex.CompileLoop("nothing to split off", func() []Update { return []Update{{x, x.Node().Exp()}} })
	require.NoError(t, err)
	require.Nil(t, l.SetupFunction())
	require.NoError(t, l.Setup())
}

// Repetition i of a run takes row i of an index table, by a counter that the program itself increments.
func TestStepCounter(t *testing.T) {
	ex := newRef(t)
	data := holding(t, ex, []float64{1, 2, 4, 8, 16, 32}, 6)
	table := integers(t, ex, []int32{0, 1, 2, 3, 4, 5, 1, 1}, 4, 2)
	step := integers(t, ex, []int32{0})
	sum := ex.Variable("sum", Real)
	f := compiled(t, ex,
		Update{sum, sum.Node().Scale(100).Add(Gather(data.Node(),
			Gather(table.Node(), step.Node().Flatten()).Flatten()).Sum())},
		Update{step, step.Node().Add(IntConst(1))})
	require.NoError(t, f.Run(3))
	require.NoError(t, f.Run(1))
	require.Equal(t, []float64{3124804}, contents(t, sum))
	require.Equal(t, []float64{4}, contents(t, step))
	require.Error(t, f.Run(1), "the table has no row 4")
}

// halving repeats x ← f(x) until |x| is below 1.
func halving(t *testing.T, ex *Executor, f func(*Node) *Node, chunk int) (w While, x, k *Variable) {
	x, k = holding(t, ex, []float64{100}), integers(t, ex, []int32{10})
	w = While{Active: ex.Variable("active", Real), Steps: integers(t, ex, []int32{0}), Chunk: chunk}
	var err error
	w.Loop, err = ex.CompileLoop("halving", func() []Update {
		next := f(x.Node())
		goesOn := Const(1).Le(next.Abs().Sum()).Mul(w.Active.Node())
		one := w.Active.Node().ToInt()
		keep := func(v *Variable, next *Node) Update { return Update{v, Where(w.Active.Node(), next, v.Node())} }
		return []Update{keep(x, next), {k, k.Node().Add(one)}, {w.Steps, w.Steps.Node().Add(one)},
			keep(w.Active, goesOn)}
	})
	require.NoError(t, err)
	require.NoError(t, w.Active.Write([]float64{1}))
	return w, x, k
}

func TestWhileStopsAndFreezes(t *testing.T) {
	for _, chunk := range []int{1, 3, 7, 100} {
		ex := newRef(t)
		w, x, k := halving(t, ex, func(x *Node) *Node { return x.Scale(0.5) }, chunk)
		n, err := w.Run(context.Background(), 1000)
		require.NoError(t, err)
		require.Equal(t, 7, n, "100/2⁷ is the first below 1")
		require.Equal(t, []float64{100. / 128}, contents(t, x), "frozen in the rest of the chunk")
		require.Equal(t, []float64{17}, contents(t, k), "counters freeze too")
		require.NoError(t, w.Loop.Run(5))
		require.Equal(t, []float64{100. / 128}, contents(t, x))
	}
}

func TestWhileCountsNaNAsStop(t *testing.T) {
	ex := newRef(t)
	w, x, k := halving(t, ex, func(x *Node) *Node { return x.Sub(Const(101)).Sqrt() }, 4)
	n, err := w.Run(context.Background(), 1000)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.True(t, math.IsNaN(contents(t, x)[0]))
	require.Equal(t, []float64{11}, contents(t, k))

	w, x, _ = halving(t, ex, func(x *Node) *Node { return x.Sub(Const(99)).Div(Const(0)).Sub(x.Div(Const(0))) }, 4)
	require.NoError(t, w.Active.Write([]float64{0}))
	_, err = w.Run(context.Background(), 1000)
	require.NoError(t, err)
	require.Equal(t, []float64{100}, contents(t, x), "a NaN that was not taken stays out")
}

func TestWhileLimits(t *testing.T) {
	ex := newRef(t)
	w, x, _ := halving(t, ex, func(x *Node) *Node { return x }, 4)
	n, err := w.Run(context.Background(), 10)
	require.NoError(t, err)
	require.Equal(t, 10, n)
	require.Equal(t, []float64{100}, contents(t, x))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = w.Run(ctx, 10)
	require.True(t, errors.Is(err, context.Canceled))
	require.NoError(t, w.Loop.Close())
	_, err = w.Run(context.Background(), 10)
	require.Error(t, err)
}
