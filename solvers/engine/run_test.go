package engine_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// descent is gradient descent of ½x² on x, with a step by iteration; x is in a set where the problem has one.
func descent(step float64) engine.Spec {
	return engine.Spec{
		Name: "descent", Seed: seed, State: []engine.Array{scalar("x", 1)},
		Rates: []engine.Rate{constant("outer", step)},
		Phases: []engine.Phase{{Build: func(it *engine.Iteration, s *engine.State) {
			x := s.Get("x")
			it.Oracle.Counts.Values += 3 // as if it had asked for three
			s.Set("x", it.Project(problem.Upper, x.Sub(it.Rate("outer").Mul(x)), problem.Batch{}))
		}}},
	}
}

func run(t *testing.T, e *engine.Engine, l engine.Limits) *engine.Outcome {
	out, err := e.Run(context.Background(), l)
	require.NoError(t, err)
	return out
}

// The mean step between two records falls to the tolerance, twice in a row: by a plain loop.
func TestTolerance(t *testing.T) {
	const step, tol, every = 0.1, 1e-3, 3
	p := newToy(1, 1).problem()
	limits := engine.Limits{Iterations: 1000, Every: every, Tolerance: tol}
	out := run(t, start(t, p, descent(step)), limits)
	x, k := 1.0, 0
	for calm := 0; calm < 2; k += every {
		before := x
		for range every {
			x -= step * x
		}
		if before-x <= tol*step*every {
			calm++
		}
	}
	require.Equal(t, engine.Converged, out.Status)
	require.Equal(t, k, out.Iterations)
	require.InDelta(t, x, out.Last.Arrays["x"][0], tolerance)
	require.NoError(t, out.Err())
	require.NotContains(t, out.String(), "Advice")

	limits.Iterations = k - every
	out = run(t, start(t, p, descent(step)), limits)
	require.Equal(t, engine.OutOfIterations, out.Status)
	require.Regexp(t, `^out of iterations after \d+ iterations in .* s \(.*\)\nAdvice: .*tolerance.*\.$`, out.String())

	// On the boundary of a set x stands still, though the gradient does not vanish.
	p.Upper.Set = problem.Box{Lo: 0.5, Hi: 2}
	out = run(t, start(t, p, descent(step)), engine.Limits{Iterations: 1000, Every: every, Tolerance: tol})
	require.Equal(t, engine.Converged, out.Status)
	require.Equal(t, []float64{0.5}, out.Last.Arrays["x"])
	require.Equal(t, 15, out.Iterations, "7 steps reach the boundary; from record 9 to 12 and on to 15 nothing moves")
}

// Where x turns back it ends an interval where it began, far from any minimum: that is not convergence.
func TestTurningPoint(t *testing.T) {
	const every = 4
	direction := func(k int) float64 { // the second interval goes forth and back, the others go on
		if k == every+2 || k == every+3 {
			return -1
		}
		return 1
	}
	p := newToy(1, 1).problem()
	out := run(t, start(t, p, engine.Spec{
		State: []engine.Array{{Name: "x", Values: []float64{0}}},
		Rates: []engine.Rate{{Name: "outer", At: func(int) float64 { return 1 }}, {Name: "direction", At: direction}},
		Phases: []engine.Phase{{Build: func(it *engine.Iteration, s *engine.State) {
			s.Set("x", s.Get("x").Add(it.Rate("direction")))
		}}},
	}), engine.Limits{Iterations: 40, Every: every, Tolerance: 0.1})
	require.Equal(t, engine.OutOfIterations, out.Status)
	require.Equal(t, []float64{36}, out.Last.Arrays["x"])
}

// In float32 an x of 10,000 does not move by steps of 0.00001: that is rounding, not convergence.
func TestToleranceBelowRounding(t *testing.T) {
	spec := descent(1e-9)
	spec.State[0].Values = []float64{1e4}
	for _, c := range []struct {
		dev  device.Device
		x    float64
		tol  float64
		want engine.Status
	}{
		{cpudevice.New(1), 1e4, 1, engine.OutOfIterations},
		{ref.New(), 1e4 * math.Pow(1-1e-9, 30), 1, engine.OutOfIterations},
		{ref.New(), 1e4 * math.Pow(1-1e-9, 10), 2e4, engine.Converged},
	} {
		b, err := newToy(1, 1).problem().Bind(tensortest.Executor(t, c.dev))
		require.NoError(t, err)
		e, err := engine.New(b, spec)
		require.NoError(t, err)
		out := run(t, e, engine.Limits{Iterations: 30, Every: 5, Tolerance: c.tol})
		require.Equal(t, c.want, out.Status, c.dev.Info().Name)
		require.InDelta(t, c.x, out.Last.Arrays["x"][0], 1e-8)
	}
}

// Every way to end says what to try next, but for convergence.
func TestAdvice(t *testing.T) {
	for s := engine.Finished; s <= engine.NotFinite; s++ {
		require.NotContains(t, s.String(), "Status(", "every status has a name")
		require.Equal(t, s == engine.Converged, s.Advice() == "", "%s: %s", s, s.Advice())
	}
}

// The best state by the monitor is kept, and patience counts the records since.
func TestPatience(t *testing.T) {
	p := newToy(1, 1).problem()
	values := []float64{5, 4, 6, 4, 3, 3, 3.5, 9, 1}
	var seen []int
	limits := engine.Limits{Iterations: 1000, Every: 10, Patience: 3,
		Monitor: func(at engine.Progress) (float64, error) {
			seen = append(seen, at.Iteration)
			return values[len(seen)-1], nil
		}}
	out := run(t, start(t, p, descent(0.01)), limits)
	require.Equal(t, engine.NoProgress, out.Status)
	require.Equal(t, []int{0, 10, 20, 30, 40, 50, 60, 70}, seen, "three records after that of iteration 40")
	require.Equal(t, 3.0, out.BestValue)
	require.Equal(t, 40, out.Best.Iteration)
	require.InDelta(t, math.Pow(0.99, 40), out.Best.Arrays["x"][0], tolerance)
	require.InDelta(t, math.Pow(0.99, 70), out.Last.Arrays["x"][0], tolerance)
	require.Equal(t, out.Best.Counts.Values*7, out.Last.Counts.Values*4)

	limits.Monitor = func(at engine.Progress) (float64, error) { return math.NaN(), nil }
	out = run(t, start(t, p, descent(0.01)), limits)
	require.Equal(t, engine.NoProgress, out.Status, "NaN is no lower value")
	require.Equal(t, 20, out.Iterations)
	require.Nil(t, out.Best)
	broken := errors.New("no validation rows")
	limits.Monitor = func(engine.Progress) (float64, error) { return 0, broken }
	_, err := start(t, p, descent(0.01)).Run(context.Background(), limits)
	require.ErrorIs(t, err, broken)
}

// Stopping rules go on where they stood: a run that stopped at a budget anywhere, between two records too, ends like
// one that never stopped, with the same best state.
func TestStoppingRulesResume(t *testing.T) {
	p := newToy(1, 1).problem()
	// x falls from 1; the monitor is least near x = 0.3, and the tolerance is met later than the patience is used up.
	limits := func(patience int) engine.Limits {
		return engine.Limits{Iterations: 1000, Every: 10, Patience: patience, Tolerance: 0.02,
			Monitor: func(at engine.Progress) (float64, error) {
				x, err := at.Engine.Variable("x").Number()
				return math.Abs(x - 0.3), err
			}}
	}
	for _, patience := range []int{0, 6} {
		whole := run(t, start(t, p, descent(0.02)), limits(patience))
		require.Equal(t, map[int]engine.Status{0: engine.Converged, 6: engine.NoProgress}[patience], whole.Status)
		require.Nil(t, whole.Best.Best, "a best state holds no other one")
		for _, stop := range []int{1, 9, 10, 11, 57, 60, 63, 75, 80, whole.Iterations - 3} {
			l := limits(patience)
			l.Calls = int64(3 * stop)
			part := run(t, start(t, p, descent(0.02)), l)
			require.Equal(t, stop, part.Iterations)
			l = limits(patience)
			l.Resume = part.Last
			rest := run(t, start(t, p, descent(0.02)), l)
			require.Equal(t, whole.Status, rest.Status, "stopped at %d", stop)
			require.Equal(t, whole.Iterations, rest.Iterations, "stopped at %d", stop)
			require.Equal(t, whole.Best.Iteration, rest.Best.Iteration, "stopped at %d", stop)
			require.Equal(t, whole.Best.Arrays, rest.Best.Arrays)
			require.Equal(t, whole.BestValue, rest.BestValue)
			require.Equal(t, whole.Last.Arrays, rest.Last.Arrays)
		}
	}
}

// A budget of oracle calls ends the run with the iteration that reaches it, whatever the host looks at.
func TestCalls(t *testing.T) {
	for _, calls := range []int64{1, 3, 4, 299, 300, 301, 2000} {
		out := run(t, start(t, newToy(1, 1).problem(), descent(1e-3)), engine.Limits{Iterations: 1000, Calls: calls})
		want := int(calls+2) / 3
		require.Equal(t, min(want, 1000), out.Iterations, "%d calls of 3 an iteration", calls)
		require.Equal(t, int64(3*out.Iterations), out.Counts.Calls())
		if want < 1000 {
			require.Equal(t, engine.OutOfCalls, out.Status)
		}
	}
}

func TestTime(t *testing.T) {
	limit := 20 * time.Millisecond
	out := run(t, start(t, newToy(1, 1).problem(), descent(1e-6)), engine.Limits{Iterations: 1 << 30, Time: limit})
	require.Equal(t, engine.OutOfTime, out.Status)
	require.GreaterOrEqual(t, out.Seconds, limit.Seconds())
	require.Equal(t, out.Iterations, out.Last.Iteration)
	require.NoError(t, out.Err())
}

// What is left of a run that diverges is a state that is finite, although the iterations watch only a part of it.
func TestLastIsFinite(t *testing.T) {
	spec := descent(0)
	spec.State[0].Unwatched = true
	spec.Rates[0].At = func(k int) float64 {
		if k == 25 {
			return math.Inf(1)
		}
		return 0.1
	}
	for _, every := range []int{0, 10} {
		out := run(t, start(t, newToy(1, 1).problem(), spec),
			engine.Limits{Iterations: 60, Every: every, Record: func(engine.Progress) error { return nil }})
		require.Equal(t, engine.NotFinite, out.Status)
		require.ErrorContains(t, out.Err(), "use smaller step sizes")
		require.Less(t, out.Last.Iteration, 26)
		require.InDelta(t, math.Pow(0.9, float64(out.Last.Iteration)), out.Last.Arrays["x"][0], tolerance)
	}
}

// A stop in a long iteration: Run returns while the device is still at work, with the copy of an earlier iteration,
// which is the state after exactly that many. Afterwards nobody is called any more.
func TestStopInALongIteration(t *testing.T) {
	const short, shortMS, longMS = 6, 200, 1200
	m := newToy(4, 1)
	repeats := 2000 // of a short iteration; the last one is longer by longMS/shortMS
	spec := engine.Spec{
		Name: "long", Seed: seed, State: []engine.Array{scalar("x", 1), scalar("y", 2)},
		Rates: []engine.Rate{constant("step", 1e-4)},
		Phases: []engine.Phase{
			{Repeat: func(k int) int {
				if k == short {
					return repeats * longMS / shortMS
				}
				return repeats
			}, Build: func(it *engine.Iteration, s *engine.State) {
				y := s.Get("y")
				s.Set("y", y.Sub(it.Rate("step").Mul(it.Lower(s.Get("x"), y, it.All(problem.Lower)).GradY())))
			}},
		},
	}
	measured, fastest := start(t, m.problem(), spec), math.Inf(1)
	for range 5 { // the fastest of some: what else the machine does can only lengthen the iterations below
		begin := time.Now()
		step(t, measured, 0, 1)
		fastest = min(fastest, time.Since(begin).Seconds())
	}
	repeats = max(1, int(float64(repeats)*shortMS/1000/fastest))

	b, err := m.problem().Bind(executor(t))
	require.NoError(t, err)
	e, err := engine.New(b, spec)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := []time.Time{time.Now()} // when iteration 0, 1, … was reached
	reached := make(chan time.Time, 1)
	var out *engine.Outcome
	returned := make(chan time.Time, 1)
	go func() {
		out, err = e.Run(ctx, engine.Limits{Iterations: 100, Progress: func(k int) {
			for len(done) <= k {
				done = append(done, time.Now())
			}
			if k == short {
				reached <- time.Now()
			}
		}})
		returned <- time.Now()
	}()
	began := <-reached
	time.Sleep(100 * time.Millisecond)
	cancelled := time.Now()
	cancel()
	wait := (<-returned).Sub(cancelled)
	require.NoError(t, err)
	require.Equal(t, engine.Cancelled, out.Status)
	require.True(t, out.Busy)
	select {
	case <-out.Idle:
		t.Fatal("the device had finished: the iteration was too short for this test")
	default:
	}
	seen := len(done)
	<-out.Idle
	require.Less(t, 2*wait, time.Since(began), "Run returned long before the iteration ended")
	require.Len(t, done, seen, "nobody is called any more")
	require.NoError(t, e.Close())

	require.Equal(t, out.Iterations, out.Last.Iteration)
	require.LessOrEqual(t, out.Last.Iteration, short)
	age := began.Sub(done[out.Last.Iteration])
	require.Less(t, age, 3*time.Second/2,
		"the copy was about a second old, or one iteration, when the long iteration began")
	again := start(t, m.problem(), spec)
	step(t, again, 0, out.Last.Iteration)
	require.Equal(t, state(t, again), out.Last.Arrays)
	require.Equal(t, again.CountsOf(0, out.Last.Iteration), out.Last.Counts)
	require.ErrorContains(t, out.Err(), "cancelled after iteration")
}

// A long iteration among short ones: the host comes back soon enough to see it alone.
func TestPace(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds under the race detector")
	}
	const period = 20
	spec := engine.Spec{
		Name: "uneven", Seed: seed, State: []engine.Array{scalar("x", 1)},
		Phases: []engine.Phase{{Repeat: func(k int) int {
			if k%period == 0 {
				return 250000 // longer than the time between two looks
			}
			return 1
		}, Build: func(_ *engine.Iteration, s *engine.State) { s.Set("x", s.Get("x").Scale(0.999)) }}},
	}
	var looks []int
	run(t, start(t, newToy(1, 1).problem(), spec),
		engine.Limits{Iterations: 3*period + 1, Progress: func(k int) { looks = append(looks, k) }})
	last := 0
	for _, k := range looks {
		long := 0
		for i := last; i < k; i++ {
			if i%period == 0 {
				long++
			}
		}
		require.LessOrEqual(t, long, 1, "iterations %d to %d between two looks", last, k)
		last = k
	}
}

// A snapshot of the last iteration, which a process that was killed as it ended leaves, gives the end of the run. The
// record of the end is made again only where the snapshot does not have it.
func TestResumeAtTheEnd(t *testing.T) {
	spec := descent(0.1)
	p := newToy(1, 1).problem()
	var snapshots []*engine.Snapshot
	keep := func(s *engine.Snapshot) error {
		snapshots = append(snapshots, s)
		return nil
	}
	want := run(t, start(t, p, spec), engine.Limits{Iterations: 5, CheckpointEvery: 1, Checkpoint: keep})
	last := snapshots[len(snapshots)-1]
	require.Equal(t, 5, last.Iteration)
	for recorded, records := range map[int]int{5: 0, 4: 1} {
		from, made := *last, 0
		from.Recorded = recorded
		limits := engine.Limits{Iterations: 5, Resume: &from, Record: func(p engine.Progress) error {
			require.Equal(t, 5, p.Iteration)
			made++
			return nil
		}}
		got := run(t, start(t, p, spec), limits)
		require.Equal(t, want.Status, got.Status)
		require.Equal(t, want.Last.Arrays, got.Last.Arrays)
		require.Equal(t, want.Counts, got.Counts)
		require.Equal(t, records, made)
	}
}

func TestLimitsRefuse(t *testing.T) {
	spec := descent(0.1)
	p := newToy(1, 1).problem()
	e := start(t, p, spec)
	good := run(t, e, engine.Limits{Iterations: 5}).Last
	monitor := func(engine.Progress) (float64, error) { return 0, nil }
	change := func(of func(*engine.Snapshot)) *engine.Snapshot {
		s := *good
		of(&s)
		return &s
	}
	for _, c := range []struct {
		l    engine.Limits
		want string
	}{
		{engine.Limits{}, "0 iterations: wants at least 1"},
		{engine.Limits{Iterations: 1, Time: -1}, "finite numbers from 0 on"},
		{engine.Limits{Iterations: 1, Tolerance: math.NaN()}, "tolerance NaN"},
		{engine.Limits{Iterations: 1, Tolerance: 1}, "say with Every how many iterations lie between two"},
		{engine.Limits{Iterations: 1, Patience: 1, Every: 1}, "patience wants a Monitor"},
		{engine.Limits{Iterations: 1, Patience: 1, Monitor: monitor}, "say with Every"},
		{engine.Limits{Iterations: 4, Resume: good}, "has done 5 of 4 iterations: there is nothing left to do"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Seed++ })},
			"cannot go on with a snapshot of descent on toy with seed 12"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Algorithm = "soba" })},
			"a snapshot of soba"},
		{engine.Limits{Iterations: 9,
			Resume: change(func(s *engine.Snapshot) { s.Arrays = map[string][]float64{"y": {1}} })},
			`0 elements of "x" (it has y); wants 1`},
		{engine.Limits{Iterations: 9,
			Resume: change(func(s *engine.Snapshot) { s.Arrays = map[string][]float64{"x": {math.NaN()}} })},
			"a start value is NaN or infinite"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Iteration = -5 })},
			"the snapshot is of iteration -5, with records at -1 and 0: wants an iteration from 0 on"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Recorded = 6 })},
			"records at 6 and 0"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.MovedAt = -1 })}, "at -1 and -1"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Moved = []float64{1, 2} })},
			"the snapshot has 2 elements of x at its last record, which are not those of the state"},
		{engine.Limits{Iterations: 9, Resume: change(func(s *engine.Snapshot) { s.Best = &engine.Snapshot{} })},
			`the best state in the snapshot has 0 elements of "x" (it has ); wants 1`},
	} {
		_, err := e.Run(context.Background(), c.l)
		require.ErrorContains(t, err, c.want)
	}
	spec = engine.Spec{Name: "other", State: []engine.Array{scalar("x", 1)},
		Phases: []engine.Phase{{Build: func(*engine.Iteration, *engine.State) {}}}}
	_, err := start(t, p, spec).Run(context.Background(), engine.Limits{Iterations: 1, Every: 1, Tolerance: 1})
	require.ErrorContains(t, err, `a tolerance wants a state "x" and a rate "outer"`)
}

// A description that makes no sense is refused where the engine is made, a misspelt name with the nearest one.
func TestSpecRefuses(t *testing.T) {
	m := newToy(10, 10)
	p := m.problem()
	p.State = problem.Vector(1)
	value := p.Lower.Value
	p.Lower.Loss = func(x, y problem.Vars, b problem.Batch, _ problem.Pass) problem.Loss {
		return problem.Loss{Value: value(x, y, b)}
	}
	p.Lower.Value, p.Lower.Sampler = nil, problem.Epochs(3)
	nothing := func(*engine.Iteration, *engine.State) {}
	lower := engine.Draw{Of: problem.Lower}
	for want, change := range map[string]func(*engine.Spec){
		`not "x" with 1`: func(s *engine.Spec) {
			s.State = append(s.State, scalar("x", 1))
		},
		`not "" with 1`: func(s *engine.Spec) {
			s.State = append(s.State, scalar("", 1))
		},
		`not "z" with 0`: func(s *engine.Spec) {
			s.State = append(s.State, engine.Array{Name: "z"})
		},
		`is the problem's running statistics`: func(s *engine.Spec) {
			s.State = append(s.State, scalar(engine.StateName, 1))
		},
		"0 phases":                func(s *engine.Spec) { s.Phases = nil },
		"chunks of -1 iterations": func(s *engine.Spec) { s.Chunk = -1 },
		`"step" has none, or comes twice`: func(s *engine.Spec) {
			s.Rates = append(s.Rates, constant("step", 1))
		},
		`"nothing" has none, or comes twice`: func(s *engine.Spec) {
			s.Rates = append(s.Rates, engine.Rate{Name: "nothing"})
		},
		"phase 2 has no Build": func(s *engine.Spec) {
			s.Phases = append(s.Phases, engine.Phase{})
		},
		`phase 1 draws two minibatches called "lower"`: func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{lower, lower}
		},
		"minibatches of 0 from 10 rows of the upper level": func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{{Of: problem.Upper, Sampler: problem.WithReplacement(0)}}
		},
		"phase 1, the upper level: fixed minibatches of 3 do not divide 10 rows: 2 do": func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{{Of: problem.Upper, Sampler: problem.Fixed(3)}}
		},
		"minibatches of 3 and of 5 rows of the lower level come from one stream": func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{lower,
				{Name: "large", Of: problem.Lower, Sampler: problem.WithReplacement(5)}}
		},
		"draws from stream 16777216": func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{{Of: problem.Lower, Stream: 1 << 24}}
		},
		`the state has no entry "xx" (there are x, y, model state); did you mean "x"?`: func(s *engine.Spec) {
			s.Phases[0].Build = func(_ *engine.Iteration, s *engine.State) { s.Get("xx") }
		},
		`there is no rate "stepp" (there are: step); did you mean "step"?`: func(s *engine.Spec) {
			s.Phases[0].Build = func(it *engine.Iteration, _ *engine.State) { it.Rate("stepp") }
		},
		`phase 1 draws no minibatch "uper" (it draws: upper); did you mean "upper"?`: func(s *engine.Spec) {
			s.Phases[0].Draws = []engine.Draw{{Of: problem.Upper}}
			s.Phases[0].Build = func(it *engine.Iteration, _ *engine.State) { it.Batch("uper") }
		},
		`the entry "y" of the state is a vector of 1`: func(s *engine.Spec) {
			s.Phases[0].Build = func(_ *engine.Iteration, s *engine.State) { s.Set("y", s.Get("y").Expand(2)) }
		},
		`the entry "y" of the state is set to no node`: func(s *engine.Spec) {
			s.Phases[0].Build = func(_ *engine.Iteration, s *engine.State) { s.Set("y", nil) }
		},
	} {
		spec := engine.Spec{
			Name: "wrong", State: []engine.Array{scalar("x", 1), scalar("y", 1)},
			Rates:  []engine.Rate{constant("step", 1)},
			Phases: []engine.Phase{{Build: nothing}},
		}
		change(&spec)
		b, err := p.Bind(executor(t))
		require.NoError(t, err)
		_, err = engine.New(b, spec)
		require.ErrorContains(t, err, want)
	}
}
