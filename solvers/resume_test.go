package solvers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// A run that stops anywhere (here: at a budget of calls) and goes on from its snapshot in a fresh process ends with the
// same bits and the same counts as one that never stopped, for every algorithm and every sampler.
func TestResumeToTheSameBits(t *testing.T) {
	const n = 90 // more than a chunk
	samplers := map[string]func() problem.Sampler{
		"all rows":         func() problem.Sampler { return nil },
		"with replacement": func() problem.Sampler { return problem.WithReplacement(2) },
		"epochs":           func() problem.Sampler { return problem.Epochs(4) },
		"fixed":            func() problem.Sampler { return problem.Fixed(3) },
	}
	m := solvertest.NewFiniteSum(8, 9, 6, 2, solvertest.Spectrum(3, 4))
	for _, row := range rowsByName(t) {
		a := row.small
		for name, sampler := range samplers {
			if _, fixed := sampler().(problem.Slotted); a.Needs().FixedBatches && sampler() != nil && !fixed {
				continue
			}
			about := fmt.Sprintf("%s with %s", a.Name(), name)
			run := func(limit int64, from *engine.Snapshot) *solvers.Result {
				ex := executor(t)
				p := load(t, ex, m)
				p.Lower.Sampler, p.Upper.Sampler = sampler(), sampler()
				suit(p, a)
				res, err := solvers.Solve(context.Background(), p, a,
					solvers.Options{Executor: ex, Iterations: n, Seed: 5, Calls: limit, Resume: from})
				require.NoError(t, err)
				return res
			}
			whole := run(0, nil)
			require.Equal(t, engine.Finished, whole.Status)
			part := run(whole.Counts.Calls()/3, nil)
			require.Equal(t, engine.OutOfCalls, part.Status)
			require.InDelta(t, n/3, part.Iterations, n/6, about) // passes over all rows are calls too
			rest := run(0, part.Last)
			require.Equal(t, whole.Last.Arrays, rest.Last.Arrays, about)
			require.Equal(t, whole.Counts, rest.Counts, about)
			require.NotEqual(t, whole.Last.Arrays, part.Last.Arrays, about)
			require.GreaterOrEqual(t, rest.Seconds, part.Seconds)
		}
	}
}

// A snapshot of another algorithm is refused as such, before its settings are looked at.
func TestResumeOfAnotherAlgorithm(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	part := solve(t, ex, p, small, solvers.Options{Iterations: 10, Calls: 8})
	_, err := solvers.Solve(context.Background(), p, solvers.F2SA{},
		solvers.Options{Executor: ex, Iterations: 10, Resume: part.Last})
	require.EqualError(t, err, "f2sa cannot go on with a snapshot of soba")
}

// The best iterate by a monitor, and the default monitor: the upper objective on all rows.
func TestBestIsKept(t *testing.T) {
	ex := executor(t)
	p := boxed(-10, 10)
	p.Upper.Set = nil
	// x falls beyond the minimum at -1 and comes back only slowly: v lags behind.
	a := solvers.SOBA{Step: 0.05, OuterStep: 0.5}
	values := map[int]float64{}
	res := solve(t, ex, p, a,
		solvers.Options{Iterations: 300, Every: 1, KeepBest: true, Record: func(at engine.Progress) error {
			y, err := at.Engine.Variable("y").Number()
			values[at.Iteration] = (y + 1) * (y + 1) / 2
			return err
		}})
	best := 0
	for k := range 301 {
		if values[k] < values[best] {
			best = k
		}
	}
	require.Len(t, values, 301)
	require.Greater(t, values[300], 2*values[best]+1e-6, "the last iterate is not the best one")
	require.Equal(t, best, res.Best.Iteration)
	require.InDelta(t, values[best], res.BestValue, 1e-14)
	require.Equal(t, res.Best.Arrays["x"], res.X.Flat)
	require.NotEqual(t, res.Last.Arrays["x"], res.X.Flat)
}

// A stop while the device is in an iteration that takes long: Solve returns at once with the last copy, and gives the
// device back when it is idle.
func TestSolveStopsInALongIteration(t *testing.T) {
	const inner = 1 << 21 // a second or more
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	p := boxed(0, 10)
	a := solvers.F2SA{YStep: 1e-3, ZStep: 1e-3, OuterStep: 1e-3, Multiplier: 2, InnerSteps: inner}
	begin := time.Now()
	res, err := solvers.Solve(ctx, p, a, solvers.Options{Device: "ref", Iterations: 3})
	wait := time.Since(begin)
	require.NoError(t, err)
	require.Equal(t, engine.Cancelled, res.Status)
	require.True(t, res.Busy)
	require.Zero(t, res.Iterations)
	require.Equal(t, p.Upper.Start, res.X)
	require.Equal(t, p.Lower.Start, res.Y)
	<-res.Idle
	require.Less(t, 2*wait, time.Since(begin), "Solve returned long before the iteration ended")
}
