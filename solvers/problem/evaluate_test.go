package problem_test

import (
	"context"
	"math"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// ridge is G = mean ½(zᵀy - t)² + ½ e^x |y|² over n rows of three numbers.
func ridge(n int) *problem.Problem {
	p := square(problem.Vector(0.5, -1, 2), problem.Vector(0.3))
	p.Lower.Rows = problem.Rows{"z": problem.Reals(noise(3*n, 5), 3), "t": problem.Reals(noise(n, 700))}
	p.Lower.Value = problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
		r := b.Get("z").MatMul(y.Reshape(3, 1)).Flatten().Sub(b.Get("t"))
		return r.Square().Mean().Scale(0.5).Add(half(y).Mul(x.Exp().Sum()))
	})
	return p
}

// Sums over pieces are what one pass over all rows gives, for sizes that divide the rows and that do not.
func TestSweep(t *testing.T) {
	const n = 23
	ex := executor(t)
	b := bind(t, ex, ridge(n))
	x, y, v := vector(t, ex, []float64{0.3}), vector(t, ex, []float64{0.5, -1, 2}), vector(t, ex, []float64{1, 2, -1})
	asked := func(rows problem.Batch) []*tensor.Node {
		p := b.Oracle().At(problem.Lower, x, y, rows, params.Eval, nil)
		return []*tensor.Node{p.Value(), p.GradX(), p.GradY(), p.HVP(v), p.Cross(v)}
	}
	want := compute(t, ex, func() []*tensor.Node { return asked(b.All(problem.Lower)) })
	for _, size := range []int{-1, 0, 1, 2, 5, 11, 12, 22, 23, 24, 100} {
		sc := ex.Scope()
		var vars []*tensor.Variable
		for _, w := range want {
			vars = append(vars, sc.Variable("sum", tensor.Real, len(w)))
		}
		most := 0
		sweep := b.NewSweep(sc, "sweep", problem.Lower, size, func(rows problem.Batch) (sums []problem.Sum) {
			if rows.Index != nil {
				most = max(most, rows.Rows)
			}
			for i, n := range asked(rows) {
				sums = append(sums, problem.Sum{Var: vars[i], Value: n.Flatten()})
			}
			return sums
		})
		require.NoError(t, sc.Err())
		require.LessOrEqual(t, most, max(size, 0))
		for range 2 { // a sweep begins from zero each time
			require.NoError(t, sweep.Run(context.Background()))
			for i, w := range want {
				got, err := vars[i].Read()
				require.NoError(t, err)
				require.InDeltaSlice(t, w, got, 1e-13, "pieces of %d, sum %d", size, i)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		sums, err := vars[1].Read()
		require.NoError(t, err)
		for i := range sums {
			sums[i]++
		}
		require.NoError(t, vars[1].Write(sums))
		require.ErrorIs(t, sweep.Run(ctx), context.Canceled)
		left, err := vars[1].Read()
		require.NoError(t, err)
		require.Equal(t, sums, left, "nothing is computed after a stop")
		require.NoError(t, sc.Close())
	}
}

// Metrics and results by row over pieces in a stated memory are those of a plain loop, whatever the number of rows.
func TestEvaluator(t *testing.T) {
	sizes := []int{1, 15, 16, 17, 100, 1023, 4096, 4097, 9000}
	if testing.Short() {
		sizes = sizes[:5]
	}
	for _, n := range sizes {
		for _, ex := range []*tensor.Executor{executor(t), narrow(t)} {
			z := noise(2*n, 1)
			w := ex.Variable("w", tensor.Real, 2)
			score := func(b problem.Batch) *tensor.Node {
				return b.Get("z").MatMul(w.Node().Reshape(2, 1)).Flatten()
			}
			for _, memory := range []int{0, 1 << 14, 4000} {
				e, err := problem.NewEvaluator(ex, problem.Rows{"z": problem.Reals(z, 2)}, memory, []problem.Metric{
					{Name: "square", Of: func(b problem.Batch) *tensor.Node { return score(b).Square() }},
					{Name: "positive", Of: func(b problem.Batch) *tensor.Node {
						return tensor.Const(0).Lt(score(b)).Reshape(b.Rows, 1)
					}},
				}, []problem.PerRow{
					{Name: "score", Type: tensor.Real, Of: score},
					{Name: "class", Type: tensor.Int,
						Of: func(b problem.Batch) *tensor.Node { return tensor.Const(0).Lt(score(b)).ToInt() }},
				})
				require.NoError(t, err)
				require.LessOrEqual(t, e.Batch(), n)
				if memory > 0 {
					require.LessOrEqual(t, e.Memory(), memory)
				}
				for _, at := range [][]float64{{1, -2}, {-0.5, 0.25}} { // where the variables stand at each Run
					require.NoError(t, w.Write(at))
					got, err := e.Run(context.Background())
					require.NoError(t, err)
					sum, positive := 0.0, 0.0
					require.Len(t, got.Reals["score"], n)
					require.Len(t, got.Ints["class"], n)
					for i := range n {
						s := z[2*i]*at[0] + z[2*i+1]*at[1]
						sum += s * s
						require.InDelta(t, s, got.Reals["score"][i], 1e-6)
						if math.Abs(s) > 1e-6 {
							class := int32(0)
							if s > 0 {
								class = 1
							}
							require.Equal(t, class, got.Ints["class"][i])
						}
						positive += float64(got.Ints["class"][i])
					}
					require.InEpsilon(t, sum, got.Sums["square"], 1e-5, "%d rows in batches of %d", n, e.Batch())
					require.Equal(t, positive, got.Sums["positive"])
					require.Equal(t, positive/float64(n), got.Mean("positive"))
					require.True(t, math.IsNaN(got.Mean("positives")), "a name that is not there has no mean")
				}
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_, err = e.Run(ctx)
				require.ErrorIs(t, err, context.Canceled)
				require.NoError(t, e.Close())
			}
		}
	}
}

// 60,000 rows through a layer of 1,000 units, 240 MB at once in float32, in the default memory of 64 MiB.
func TestEvaluationOfManyRows(t *testing.T) {
	const n, units = 60000, 1000
	if testing.Short() {
		t.Skip("takes some seconds under the race detector")
	}
	ex := narrow(t)
	z, w, v := noise(n, 3), noise(units, 50000), noise(units, 90000)
	weights, out := vector(t, ex, w), vector(t, ex, v)
	e, err := problem.NewEvaluator(ex, problem.Rows{"z": problem.Reals(z)}, 0, []problem.Metric{{
		Name: "square",
		Of: func(b problem.Batch) *tensor.Node {
			hidden := b.Get("z").Reshape(b.Rows, 1).MatMul(weights.Reshape(1, units)).Relu()
			return hidden.MatMul(out.Reshape(units, 1)).Square()
		},
	}}, nil)
	require.NoError(t, err)
	require.LessOrEqual(t, e.Memory(), 64<<20)
	got, err := e.Run(context.Background())
	require.NoError(t, err)
	up, down := 0.0, 0.0 // the output is z times one of these, by the sign of z
	for i := range w {
		if w[i] > 0 {
			up += w[i] * v[i]
		} else {
			down += w[i] * v[i]
		}
	}
	want := 0.0
	for _, c := range z {
		slope := up
		if c < 0 {
			slope = down
		}
		want += slope * slope * c * c
	}
	require.InEpsilon(t, want, got.Sums["square"], 1e-4)
	require.NoError(t, e.Close())
}

// Rows of weight 0 that fill up the last batch leave no trace even where what they give is not finite.
func TestPaddingIsSilent(t *testing.T) {
	const n = 5000 // the last batch is not full
	ex := executor(t)
	z := make([]float64, n)
	for i := range z {
		z[i] = 1
	}
	e, err := problem.NewEvaluator(ex, problem.Rows{"z": problem.Reals(z)}, 0,
		[]problem.Metric{{Name: "where", Of: func(b problem.Batch) *tensor.Node {
			seen := b.Get("z")
			return seen.Div(b.Index.ToReal().AddConst(1)) // finite for rows that are there
		}}}, nil)
	require.NoError(t, err)
	require.Less(t, e.Batch(), n)
	require.NotZero(t, n%e.Batch())
	got, err := e.Run(context.Background())
	require.NoError(t, err)
	want := 0.0
	for i := range n {
		want += 1 / float64(i+1)
	}
	require.InDelta(t, want, got.Sums["where"], 1e-10)
	require.NoError(t, e.Close())
}

func TestEvaluatorRefuses(t *testing.T) {
	ex := executor(t)
	rows := problem.Rows{"z": problem.Reals(make([]float64, 200), 2)}
	first := problem.Metric{Name: "first", Of: func(b problem.Batch) *tensor.Node { return b.Get("z").Sum(1) }}
	label := problem.PerRow{Name: "label", Type: tensor.Real,
		Of: func(b problem.Batch) *tensor.Node { return b.Get("z").Sum(1) }}
	for want, try := range map[string]func() (*problem.Evaluator, error){
		"evaluation: there are no rows": func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, nil, 0, nil, nil)
		},
		`evaluation: "z": 201 elements are no whole number of rows of shape [2]`: func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, problem.Rows{"z": problem.Reals(make([]float64, 201), 2)}, 0, nil, nil)
		},
		`evaluation: two metrics are called "first"`: func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0, []problem.Metric{first, first}, nil)
		},
		`evaluation: two results by row are called "label"`: func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0, nil, []problem.PerRow{label, label})
		},
		"evaluation: one row alone needs ": func() (*problem.Evaluator, error) {
			wide := problem.Metric{Name: "wide", Of: func(b problem.Batch) *tensor.Node {
				return b.Get("z").MatMul(tensor.Full(1, 2, 5000)).Exp().MatMul(tensor.Full(1, 5000, 1)).Flatten()
			}}
			return problem.NewEvaluator(ex, rows, 1000, []problem.Metric{wide}, nil)
		},
		`the metric "nothing" gives no node`: func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0,
				[]problem.Metric{{Name: "nothing", Of: func(problem.Batch) *tensor.Node { return nil }}}, nil)
		},
		`the result by row "label" gives Real [100] for a batch of 100 rows; wants one Int for each`: func() (
			*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0, nil, []problem.PerRow{{Name: "label", Type: tensor.Int,
				Of: label.Of}})
		},
		`the metric "wrong" gives Real [100 2] for a batch of 100 rows; wants one Real for each`: func() (
			*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0,
				[]problem.Metric{{Name: "wrong", Of: func(b problem.Batch) *tensor.Node { return b.Get("z") }}}, nil)
		},
		`the level has no rows called "y" (there are: z)`: func() (*problem.Evaluator, error) {
			return problem.NewEvaluator(ex, rows, 0,
				[]problem.Metric{{Name: "wrong", Of: func(b problem.Batch) *tensor.Node { return b.Get("y") }}}, nil)
		},
	} {
		_, err := try()
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, []int{16, 16, 64, 64}, []int{problem.PadRows(1, 16, 64), problem.PadRows(16, 16, 64),
		problem.PadRows(17, 16, 64), problem.PadRows(99, 16, 64)})
}
