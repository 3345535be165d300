package solvers_test

import (
	"cmp"
	"context"
	"runtime"
	"testing"
	"time"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// steep is SOBA with a step of y that diverges twice on the scalar problem until it is small enough.
type steep struct {
	Step      float64 `json:"step"`
	OuterStep float64 `json:"outer_step"`
}

func (steep) Name() string         { return "steep" }
func (steep) Needs() solvers.Needs { return solvers.SOBA{}.Needs() }

func (a steep) Defaults(func() (solvers.Scale, error)) (solvers.Algorithm, error) {
	a.Step, a.OuterStep = cmp.Or(a.Step, 30), cmp.Or(a.OuterStep, 0.01)
	return a, nil
}

func (a steep) Spec(b *problem.Bound, r solvers.Run) (engine.Spec, error) {
	return solvers.SOBA{Step: a.Step, OuterStep: a.OuterStep}.Spec(b, r)
}

// A run with step sizes that were chosen here is begun again as often as it takes, and what it took before counts. One
// that is stopped in any attempt goes on to the same bits.
func TestAttempts(t *testing.T) {
	const n, every = 500, 40
	run := func(ctx context.Context, o solvers.Options, record func(at engine.Progress)) (*solvers.Result, error) {
		o.Executor = executor(t)
		o.Iterations, o.Every = n, every
		o.Record = func(at engine.Progress) error { record(at); return nil }
		return solvers.Solve(ctx, load(t, o.Executor, solvertest.Scalar{}), steep{}, o)
	}
	var at []engine.Progress
	whole, err := run(t.Context(), solvers.Options{}, func(p engine.Progress) { at = append(at, p) })
	require.NoError(t, err)
	require.Equal(t, steep{30. / 16, 0.01 / 16}, whole.Algorithm)
	require.Len(t, whole.Warnings, 2)
	require.Regexp(t, "diverged after iteration [0-9]+ and was begun again", whole.Warnings[1])
	last := at[len(at)-1]
	require.Equal(t, n, last.Iteration)
	require.Equal(t, last.Counts, whole.Counts)
	require.Greater(t, whole.Counts.HVP, int64(n+200), "iterations of all three attempts, with a product each")
	var starts []int64 // what earlier attempts have taken
	for i, p := range at {
		require.True(t, i == 0 || p.Counts.HVP > at[i-1].Counts.HVP || p.Iteration == 0)
		if p.Iteration == 0 {
			starts = append(starts, p.Counts.HVP)
		}
	}
	require.Len(t, starts, 3)

	for stop, p := range at {
		ctx, cancel := context.WithCancel(t.Context())
		seen := -1
		part, err := run(ctx, solvers.Options{}, func(engine.Progress) {
			if seen++; seen == stop {
				cancel()
			}
		})
		require.NoError(t, err)
		if p.Iteration == n {
			require.Equal(t, engine.Finished, part.Status)
			continue
		}
		require.Equal(t, engine.Cancelled, part.Status)
		rest, err := run(t.Context(), solvers.Options{Resume: part.Last}, func(engine.Progress) {})
		require.NoError(t, err)
		require.Equal(t, whole.Last.Arrays, rest.Last.Arrays, "stopped in record %d", stop)
		require.Equal(t, whole.Counts, rest.Counts)
		require.Equal(t, whole.Algorithm, rest.Algorithm)
		require.Len(t, append(part.Warnings, rest.Warnings...), 2+min(1, part.Last.Attempts))
	}

	budget := starts[1] * 4 // half an attempt more than the first one: an iteration has 4 calls
	budget += budget / 2
	short, err := run(t.Context(), solvers.Options{Calls: budget}, func(engine.Progress) {})
	require.NoError(t, err)
	require.Equal(t, engine.OutOfCalls, short.Status)
	require.InDelta(t, budget, short.Counts.Calls(), 4)
	require.Len(t, short.Warnings, 1)

	ex := executor(t)
	given := steep{Step: 30, OuterStep: 0.01} // steps that are given are not made smaller
	res, err := solvers.Solve(t.Context(), load(t, ex, solvertest.Scalar{}), given,
		solvers.Options{Executor: ex, Iterations: n})
	require.ErrorContains(t, err, "not finite")
	require.Empty(t, res.Warnings)
}

// Schedules over all iterations want to know how many these are.
func TestScheduleWithoutIterations(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	for _, s := range engine.Schedules() {
		a := solvers.SOBA{Step: 0.1, OuterStep: 0.1, Schedule: s.Name}
		_, err := solvers.Solve(t.Context(), p, a, solvers.Options{Executor: ex, Calls: 40})
		if s.Factor(9, 10) == s.Factor(9, 1000) {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, `soba: the schedule "`+string(s.Name)+`" follows the number of iterations: give `+
			"Options.Iterations beside Time and Calls")
		solve(t, ex, p, a, solvers.Options{Calls: 40, Iterations: 100})
	}
}

// A result's vectors are its own: whoever changes them does not change the snapshot that a run goes on from.
func TestResultsOwnTheirVectors(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	res := solve(t, ex, p, small, solvers.Options{Iterations: 10, Every: 5, KeepBest: true})
	x, y := res.Best.Arrays["x"][0], res.Best.Arrays["y"][0]
	res.X.Flat[0], res.Y.Flat[0] = 99, 99
	require.Equal(t, []float64{x, y}, []float64{res.Best.Arrays["x"][0], res.Best.Arrays["y"][0]})
	res = solve(t, ex, p, small, solvers.Options{Iterations: 10})
	res.X.Flat[0] = 99
	require.NotEqual(t, 99.0, res.Last.Arrays["x"][0])
}

// While step sizes are looked for there is nothing that a stop could leave.
func TestStopInTheSearchForSteps(t *testing.T) {
	ex := executor(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res, err := solvers.Solve(ctx, load(t, ex, solvertest.Scalar{}), solvers.SOBA{}, solvers.Options{Executor: ex})
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, res)
}

// Where a function of the caller ends its goroutine, everything is given back.
func TestEndsInACallback(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	before := ex.MemoryInUse()
	record := func(do func()) solvers.Options {
		return solvers.Options{Executor: ex, Iterations: 5, Record: func(engine.Progress) error { do(); return nil }}
	}
	require.PanicsWithValue(t, "no", func() {
		solvers.Solve(t.Context(), p, small, record(func() { panic("no") }))
	})
	require.Equal(t, before, ex.MemoryInUse())
	done := make(chan struct{})
	go func() {
		defer close(done)
		solvers.Solve(t.Context(), p, small, record(runtime.Goexit))
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Solve hangs")
	}
	require.Equal(t, before, ex.MemoryInUse())
}
