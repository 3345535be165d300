package engine_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"testing"
	"time"

	"bilevel/solvers/engine"

	"github.com/stretchr/testify/require"
)

// A stop in a record is no error: the run goes on from there, and makes the record again. So does one that was stopped
// in the record at the end of its budget, which is not exceeded.
func TestStopInARecord(t *testing.T) {
	p := newToy(1, 1).problem()
	for _, budget := range []int64{0, 81, 90} { // 3 calls an iteration
		limits := func(records *[]int, end func(at engine.Progress) error) engine.Limits {
			return engine.Limits{Iterations: 40, Calls: budget, Every: 10,
				Record: func(at engine.Progress) error {
					*records = append(*records, at.Iteration)
					return end(at)
				},
				Monitor: func(at engine.Progress) (float64, error) {
					x, err := at.Engine.Variable("x").Number()
					return math.Abs(x - 0.3), errors.Join(err, end(at))
				}}
		}
		var all []int
		never := func(engine.Progress) error { return nil }
		whole := run(t, start(t, p, descent(0.05)), limits(&all, never))
		for _, at := range all {
			for inMonitor := range 2 { // whether the stop comes in Record or in Monitor
				ctx, cancel := context.WithCancel(t.Context())
				var before, after []int
				calls := 0
				part, err := start(t, p, descent(0.05)).Run(ctx, limits(&before, func(p engine.Progress) error {
					if p.Iteration == at {
						if calls++; calls > inMonitor {
							cancel()
						}
					}
					return ctx.Err()
				}))
				require.NoError(t, err)
				require.Equal(t, engine.Cancelled, part.Status)
				require.Equal(t, at, part.Last.Iteration)
				require.Less(t, part.Last.Recorded, at)
				l := limits(&after, never)
				l.Resume = part.Last
				rest := run(t, start(t, p, descent(0.05)), l)
				require.Equal(t, whole.Status, rest.Status)
				require.Equal(t, whole.Counts, rest.Counts)
				require.Equal(t, whole.Last.Arrays, rest.Last.Arrays)
				require.Equal(t, whole.Best.Iteration, rest.Best.Iteration)
				require.Equal(t, whole.BestValue, rest.BestValue)
				require.Equal(t, at, before[len(before)-1])
				require.Equal(t, all, append(before[:len(before)-1], after...))
			}
		}
	}
}

// What the caller's functions do, they do in the caller's goroutine: it may recover from their panics, it ends where
// they end it, and none of them is at work when Run has returned.
func TestCallbacksAreTheCallers(t *testing.T) {
	p := newToy(1, 1).problem()
	at := func(do func()) map[string]engine.Limits {
		return map[string]engine.Limits{
			"Record":   {Record: func(engine.Progress) error { do(); return nil }},
			"Monitor":  {Monitor: func(engine.Progress) (float64, error) { do(); return 0, nil }},
			"Progress": {Progress: func(int) { do() }},
			"Checkpoint": {CheckpointEvery: 1, Checkpoint: func(*engine.Snapshot) error {
				do()
				return nil
			}},
		}
	}
	for name, l := range at(func() { panic("at home") }) {
		l.Iterations = 5
		require.PanicsWithValue(t, "at home", func() { run(t, start(t, p, descent(0.1)), l) }, name)
	}
	for name, l := range at(runtime.Goexit) {
		l.Iterations = 5
		e, returned, ended := start(t, p, descent(0.1)), false, make(chan struct{})
		go func() {
			defer close(ended)
			e.Run(context.Background(), l)
			returned = true
		}()
		<-ended
		require.False(t, returned, name)
	}
	for name := range at(nil) {
		ctx, cancel := context.WithCancel(t.Context())
		done := false
		l := at(func() {
			cancel()
			time.Sleep(100 * time.Millisecond) // longer than an iteration is waited for
			done = true
		})[name]
		l.Iterations = 1000
		out, err := start(t, p, descent(1e-3)).Run(ctx, l)
		require.NoError(t, err)
		require.Equal(t, engine.Cancelled, out.Status, name)
		require.True(t, done, name)
		require.False(t, out.Busy, name)
	}
}

// A rule of the algorithm that ends its goroutine ends the run with an error.
func TestGoexitInTheAlgorithm(t *testing.T) {
	spec := descent(0.1)
	spec.Rates[0].At = func(int) float64 { runtime.Goexit(); return 0 }
	_, err := start(t, newToy(1, 1).problem(), spec).Run(context.Background(), engine.Limits{Iterations: 5})
	require.EqualError(t, err, "descent: a function of the algorithm ended its goroutine in iteration 1")
}
