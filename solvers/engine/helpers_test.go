package engine_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// executor is a fresh one on the float64 reference device.
func executor(t *testing.T) *tensor.Executor { return tensortest.Executor(t, ref.New()) }

// toy is a problem of one upper and one lower number, whose derivatives are written down by hand below:
//
//	G = mean over lower rows of ½ a_i (y - x - b_i)²,   F = mean over upper rows of ½ (y - c_j)² + 0.05 x²
type toy struct{ a, b, c []float64 }

// newToy has rows of sines.
func newToy(lower, upper int) toy {
	var m toy
	for i := range lower {
		m.a = append(m.a, 1+0.5*math.Sin(float64(3*i+1)))
		m.b = append(m.b, math.Sin(float64(5*i+2)))
	}
	for j := range upper {
		m.c = append(m.c, math.Cos(float64(7*j)))
	}
	return m
}

func (m toy) problem() *problem.Problem {
	return &problem.Problem{
		Name: "toy",
		Lower: problem.Level{
			Start: problem.Vector(2), Rows: problem.Rows{"a": problem.Reals(m.a), "b": problem.Reals(m.b)},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return y.Sub(x).Sub(b.Get("b")).Square().Mul(b.Get("a")).Mean().Scale(0.5)
			}),
		},
		Upper: problem.Level{
			Start: problem.Vector(1), Rows: problem.Rows{"c": problem.Reals(m.c)},
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return y.Sub(b.Get("c")).Square().Mean().Scale(0.5).Add(x.Square().Sum().Scale(0.05))
			}),
		},
	}
}

// mean is that of a function over rows; nil: over all n.
func mean(rows []int32, n int, of func(i int) float64) float64 {
	if rows == nil {
		for i := range n {
			rows = append(rows, int32(i))
		}
	}
	sum := 0.0
	for _, i := range rows {
		sum += of(int(i))
	}
	return sum / float64(len(rows))
}

// gy is ∇yG, which is -∇xG; h is H, which is -C; fy and fx are ∇yF and ∇xF.
func (m toy) gy(x, y float64, rows []int32) float64 {
	return mean(rows, len(m.a), func(i int) float64 { return m.a[i] * (y - x - m.b[i]) })
}

func (m toy) h(rows []int32) float64 {
	return mean(rows, len(m.a), func(i int) float64 { return m.a[i] })
}

func (m toy) fy(y float64, rows []int32) float64 {
	return mean(rows, len(m.c), func(j int) float64 { return y - m.c[j] })
}

func (m toy) fx(x float64) float64 { return 0.1 * x }

// drawn gives the minibatches of one level and stream one after another, as an engine draws them.
type drawn struct {
	sampler problem.Sampler
	source  problem.Source
	next    uint64
}

const seed = 11

func lowerDraws(s problem.Sampler, rows int) *drawn {
	return &drawn{s, problem.Source{Seed: seed, Stream: philox.StreamLowerBatch, Rows: rows}, 0}
}

func upperDraws(s problem.Sampler, rows int) *drawn {
	return &drawn{s, problem.Source{Seed: seed, Stream: philox.StreamUpperBatch, Rows: rows}, 0}
}

func (d *drawn) take(t *testing.T) []int32 {
	out := make([]int32, d.sampler.Size())
	require.NoError(t, d.sampler.Fill(out, d.source, d.next))
	d.next++
	return out
}

// start compiles a specification for a problem.
func start(t *testing.T, p *problem.Problem, spec engine.Spec) *engine.Engine {
	b, err := p.Bind(executor(t))
	require.NoError(t, err)
	e, err := engine.New(b, spec)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func step(t *testing.T, e *engine.Engine, k, n int) {
	require.NoError(t, e.Step(context.Background(), k, n))
}

// state reads the whole state by name.
func state(t *testing.T, e *engine.Engine) map[string][]float64 {
	out := make(map[string][]float64)
	for _, name := range e.Names() {
		values, err := e.Variable(name).Read()
		require.NoError(t, err)
		out[name] = values
	}
	return out
}

func constant(name string, value float64) engine.Rate {
	return engine.Rate{Name: name, At: func(int) float64 { return value }}
}

func scalar(name string, value float64) engine.Array {
	return engine.Array{Name: name, Values: []float64{value}}
}

// sameHowever checks that a run ends with the same bits however its iterations are cut into steps: in one, one by one,
// in uneven pieces, and written back halfway into a fresh engine.
func sameHowever(t *testing.T, n int, fresh func() *engine.Engine) map[string][]float64 {
	whole := fresh()
	step(t, whole, 0, n)
	want := state(t, whole)
	single, uneven := fresh(), fresh()
	for k := range n {
		step(t, single, k, 1)
	}
	require.Equal(t, want, state(t, single), "one by one")
	for k, size := 0, 1; k < n; k, size = k+size, size+3 {
		step(t, uneven, k, min(size, n-k))
	}
	require.Equal(t, want, state(t, uneven), "in uneven pieces")
	half := fresh()
	out, err := half.Run(context.Background(), engine.Limits{Iterations: n/2 + 1})
	require.NoError(t, err)
	require.NotEqual(t, want, state(t, half))
	resumed := fresh()
	out, err = resumed.Run(context.Background(), engine.Limits{Iterations: n, Resume: out.Last})
	require.NoError(t, err)
	require.Equal(t, want, out.Last.Arrays, "resumed")
	require.Equal(t, whole.CountsOf(0, n), out.Counts, "resumed")
	return want
}
