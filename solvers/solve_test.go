package solvers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

var small = solvers.SOBA{Step: 0.1, OuterStep: 0.05}

func TestRecords(t *testing.T) {
	for _, c := range []struct {
		n, every int
		want     []int
	}{
		{100, 30, []int{0, 30, 60, 90, 100}}, {100, 50, []int{0, 50, 100}}, {100, 0, []int{0, 100}},
		{3, 1, []int{0, 1, 2, 3}},
		{600, 500, []int{0, 500, 600}}, {5, 10, []int{0, 5}},
	} {
		ex := executor(t)
		var at []int
		seconds, done := 0.0, 0
		res := solve(t, ex, load(t, ex, solvertest.Scalar{}), small, solvers.Options{
			Iterations: c.n, Every: c.every,
			Record: func(p engine.Progress) error {
				at = append(at, p.Iteration)
				require.EqualValues(t, p.Iteration, p.Counts.LowerGradients)
				require.GreaterOrEqual(t, p.Seconds, seconds)
				seconds = p.Seconds
				require.Equal(t, []string{"x", "y", "v"}, p.Engine.Names())
				return nil
			},
			Progress: func(n int) { require.Greater(t, n, done); done = n },
		})
		require.Equal(t, c.want, at)
		require.Equal(t, c.n, done)
		require.Equal(t, engine.Finished, res.Status)
		require.Equal(t, c.n, res.Iterations)
		require.EqualValues(t, c.n, res.Counts.UpperGradients)
	}
}

// How often the host looks does not change the run.
func TestRecordsChangeNothing(t *testing.T) {
	var want []float64
	for _, every := range []int{0, 1, 7, 64, 300} {
		ex := executor(t)
		res := solve(t, ex, load(t, ex, solvertest.NewQuadratic(1, 2, solvertest.Spectrum(3, 4))),
			solvers.SOBA{Step: 0.1, OuterStep: 0.01, Schedule: "cosine"},
			solvers.Options{Iterations: 300, Every: every})
		if want == nil {
			want = append(res.X.Flat, res.Y.Flat...)
		}
		require.Equal(t, want, append(res.X.Flat, res.Y.Flat...))
	}
}

func TestSolveStops(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	ctx, cancel := context.WithCancel(context.Background())
	res, err := solvers.Solve(ctx, p, small,
		solvers.Options{Executor: ex, Iterations: 1 << 30, Progress: func(done int) {
			if done >= 500 {
				cancel()
			}
		}})
	require.NoError(t, err)
	require.Equal(t, engine.Cancelled, res.Status)
	require.False(t, res.Busy, "iterations are short: the run ends by itself")
	require.GreaterOrEqual(t, res.Iterations, 500)
	require.EqualValues(t, res.Iterations, res.Counts.HVP)
	require.ErrorContains(t, res.Err(), fmt.Sprintf("cancelled after iteration %d", res.Iterations))
	require.Equal(t, solve(t, ex, p, small, solvers.Options{Iterations: res.Iterations}).X, res.X,
		"the state is that iteration's")

	res, err = solvers.Solve(ctx, p, small, solvers.Options{Executor: ex, Iterations: 5}) // already cancelled
	require.NoError(t, err)
	require.Equal(t, engine.Cancelled, res.Status)
	require.Equal(t, p.Upper.Start, res.X)

	full := errors.New("disk full")
	_, err = solvers.Solve(context.Background(), p, small,
		solvers.Options{Executor: ex, Iterations: 5, Every: 2, Record: func(p engine.Progress) error {
			if p.Iteration == 4 {
				return full
			}
			return nil
		}})
	require.ErrorIs(t, err, full)
	_, err = solvers.Solve(context.Background(), p, small, solvers.Options{Executor: ex, Iterations: -1})
	require.ErrorContains(t, err, "-1 iterations")
	_, err = solvers.Solve(context.Background(), p, small, solvers.Options{Device: "cpx"})
	require.ErrorContains(t, err, "cpx")
}

// A budget alone is enough: no number of iterations has to be guessed beside it.
func TestBudgetAlone(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	res := solve(t, ex, p, solvers.SOBA{}, solvers.Options{Calls: 10_000})
	require.Equal(t, engine.OutOfCalls, res.Status)
	require.Equal(t, 2500, res.Iterations, "4 calls each")
	require.InDelta(t, 0.5, res.X.Flat[0], 1e-3)
	res = solve(t, ex, p, solvers.SOBA{}, solvers.Options{Time: time.Minute, Tolerance: 1e-6})
	require.Equal(t, engine.Converged, res.Status)
	require.Equal(t, 1000, solve(t, ex, p, solvers.SOBA{}, solvers.Options{}).Iterations)
}

// The schedule multiplies both step sizes: on Q1 the first moves are proportional to it.
func TestScheduleInRun(t *testing.T) {
	ex := executor(t)
	state := begin(t, ex, load(t, ex, solvertest.Scalar{}),
		solvers.SOBA{Step: 0.1, OuterStep: 0.2, Schedule: "linear"}, 8, 0)
	for _, k := range []int{0, 2, 6} {
		write(t, state, [][]float64{{0.5}, {1.5}, {0.25}})
		step(t, state, k, 1)
		f, got := 1-float64(k)/8, arrays(t, state)
		require.InDelta(t, 0.5-0.2*f*0.75, got[0][0], 1e-15)
		require.InDelta(t, 1.5-0.1*f*1, got[1][0], 1e-15)
		require.InDelta(t, 0.25-0.1*f*(0.25-0.5), got[2][0], 1e-15)
	}
}

// Every algorithm solves the scalar problem with the step sizes that it chooses itself. Those with a series of random
// length do so on average over some seeds: H is 1 there and the Neumann steps are 1/L, where it is as noisy as it can
// be.
func TestAlgorithms(t *testing.T) {
	for _, e := range solvers.Algorithms() {
		found, err := solvers.AlgorithmByName(e.Name())
		require.NoError(t, err)
		require.NotEmpty(t, e.Source)
		require.NotEmpty(t, found.Zero.Needs().Why)
		seeds, mean, want := 1, 0.0, 0.5
		if e.Zero.Needs().WantsDirectX {
			want = 0 // where ∇xF = x vanishes
		}
		if e.Name() == "bsg-1" {
			want = 0 // its quotient is 0/0 once y is y*(x), and the implicit term is left out
		}
		if slices.Contains([]string{"alset", "bsa", "mstsa", "pzobo", "sbfw", "sustain", "ttsa"}, e.Name()) {
			seeds = 4
		}
		for seed := range uint64(seeds) {
			ex := executor(t)
			p := load(t, ex, solvertest.Scalar{})
			suit(p, e.Zero)
			res := solve(t, ex, p, found.Zero, solvers.Options{Iterations: 2000, Seed: seed})
			mean += res.X.Flat[0] / float64(seeds)
			require.InDelta(t, want, res.X.Flat[0], 0.15, "%s: %+v", e.Name(), res.Algorithm)
			require.NotEmpty(t, res.Counts.String())
		}
		require.InDelta(t, want, mean, 0.05, e.Name())
	}
	_, err := solvers.AlgorithmByName("sobo")
	require.ErrorContains(t, err, `did you mean "soba"?`)
	_, err = solvers.AlgorithmByName("adam")
	require.ErrorContains(t, err, "unknown algorithm")
	require.NotContains(t, err.Error(), `""`, "nothing is near: nothing is suggested")
}

func TestSettings(t *testing.T) {
	a, err := solvers.Decode(solvers.SOBA{Step: 1}, []byte(`{"outer_step": 2, "schedule": "linear"}`))
	require.NoError(t, err)
	require.Equal(t, solvers.SOBA{Step: 1, OuterStep: 2, Schedule: "linear"}, a)
	a, err = solvers.Decode(solvers.SOBA{Step: 1}, []byte("outer_step: 2 # of x\nschedule: linear\n"))
	require.NoError(t, err)
	require.Equal(t, solvers.SOBA{Step: 1, OuterStep: 2, Schedule: "linear"}, a)
	a, err = solvers.Set(solvers.F2SA{}, "inner_steps=3", "schedule=cosine", "y_step=1e-3", "z_step=.5")
	require.NoError(t, err)
	require.Equal(t, solvers.F2SA{InnerSteps: 3, Schedule: "cosine", YStep: 1e-3, ZStep: 0.5}, a)
	for settings, want := range map[string]string{
		`{"outer_stp": 2}`: `soba has no setting "outer_stp" (there are step, outer_step, schedule); did you mean ` +
			`"outer_step"?`,
		`{"step": "x"}`:       "soba: the setting step wants a number, not a text",
		`{"step": [1]}`:       "soba: the setting step wants a number, not a list",
		`{"step": 1e999}`:     "soba: the setting step wants a number, not 1e999",
		`{"step": 1} x`:       "soba: the settings are no names with values",
		`[1]`:                 "soba: the settings are no names with values",
		`null`:                "soba: the settings are no names with values, in JSON or YAML: ",
		``:                    "there are none",
		"step: x":             "soba: the setting step wants a number, not a text",
		"outer_stp: 2":        `did you mean "outer_step"?`,
		"step: [1":            "soba: the settings are no names with values",
		`{"schedule": "lin"}`: "",
	} {
		_, err := solvers.Decode(solvers.SOBA{}, []byte(settings))
		if want == "" {
			require.NoError(t, err, "the schedule's name is checked when the run begins")
			continue
		}
		require.ErrorContains(t, err, want)
	}
	_, err = solvers.Set(solvers.SOBA{}, "step")
	require.ErrorContains(t, err, "wants NAME=VALUE")
	_, err = solvers.Set(solvers.StocBiO{}, "terms=1.5")
	require.ErrorContains(t, err, "terms wants a whole number, not 1.5")
	_, err = solvers.Set(solvers.SOBA{}, "step=NaN")
	require.ErrorContains(t, err, "step wants a number, not a text")
}

// strange is an algorithm as a caller might write it, with a state of its own.
type strange struct {
	solvers.SOBA
	state string
}

func (s strange) Defaults(func() (solvers.Scale, error)) (solvers.Algorithm, error) { return s, nil }

func (s strange) Spec(b *problem.Bound, _ solvers.Run) (engine.Spec, error) {
	return engine.Spec{
		State:  []engine.Array{{Name: s.state, Values: b.Upper.Start.Flat}, {Name: "y", Values: b.Lower.Start.Flat}},
		Phases: []engine.Phase{{Build: func(*engine.Iteration, *engine.State) {}}},
	}, nil
}

// An algorithm whose state has no x to be read as the result, or whose settings cannot be set, is refused.
func TestStrangeAlgorithms(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	for want, a := range map[string]solvers.Algorithm{
		`soba: its state is theta, y; wants a vector "x" of 1 elements`:                    strange{state: "theta"},
		"an algorithm of type *solvers_test.strange: wants a plain struct, given by value": &strange{state: "x"},
		"an algorithm of type <nil>": nil,
	} {
		_, err := solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, KeepBest: true})
		require.ErrorContains(t, err, want)
	}
	_, err := solvers.Set(&strange{}, "step=1")
	require.ErrorContains(t, err, "wants a plain struct")
	solve(t, ex, p, strange{state: "x"}, solvers.Options{KeepBest: true, Iterations: 3})
}
