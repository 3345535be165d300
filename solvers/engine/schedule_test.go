package engine_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"

	"github.com/stretchr/testify/require"
)

// The factors at the beginning, within and at the end of a run of 100 iterations, by hand from their formulas.
func TestSchedules(t *testing.T) {
	at := []int{0, 24, 50, 75, 99}
	want := map[engine.Schedule][]float64{
		"constant": {1, 1, 1, 1, 1},
		"":         {1, 1, 1, 1, 1},
		"sqrt":     {1, 0.2, 1 / math.Sqrt(51), 1 / math.Sqrt(76), 0.1},
		"linear":   {1, 0.76, 0.5, 0.25, 0.01},
		"cosine":   {1, 0.5 + 0.5*math.Cos(0.24*math.Pi), 0.5, 0.5 - math.Sqrt2/4, 0.5 - 0.5*math.Cos(0.01*math.Pi)},
		"step":     {1, 1, 0.1, 0.01, 0.01},
		"cyclic":   {0, 0.48, 1, 0.5, 0.02},
		"one-cycle": {0.04, 1 - 0.48*(1+math.Cos(24./29*math.Pi)),
			4e-6 + (1-4e-6)/2*(1+math.Cos(0.3*math.Pi)),
			4e-6 + (1-4e-6)/2*(1+math.Cos(46./70*math.Pi)), 4e-6},
	}
	require.Len(t, want, len(engine.Schedules())+1)
	for s, factors := range want {
		require.NoError(t, s.Check())
		rate := s.Scaled("rate", 3, 100)
		require.Equal(t, "rate", rate.Name)
		for i, k := range at {
			require.InDelta(t, factors[i], s.At(k, 100), 1e-15, "%q at %d", s, k)
			require.InDelta(t, 3*factors[i], rate.At(k), 1e-15, "%q at %d", s, k)
		}
	}
	for _, row := range engine.Schedules() {
		require.NotEmpty(t, row.About)
	}
	require.ErrorContains(t, engine.Schedule("cosin").Check(),
		`unknown schedule "cosin" (there are constant, sqrt, linear, cosine, step, cyclic, one-cycle); `+
			`did you mean "cosine"?`)
}

// Step returns between two chunks when ctx ends, and a rate reaches the iteration that it is for.
func TestStep(t *testing.T) {
	spec := engine.Spec{
		Name: "ramp", State: []engine.Array{scalar("sum", 0)},
		Rates: []engine.Rate{{Name: "k", At: func(k int) float64 { return float64(k * k) }}, constant("one", 1)},
		Phases: []engine.Phase{{Build: func(it *engine.Iteration, s *engine.State) {
			s.Set("sum", s.Get("sum").Add(it.Rate("k")).Add(it.Rate("one")))
		}}},
	}
	e := start(t, newToy(1, 1).problem(), spec)
	require.Equal(t, problem.Counts{}, e.Counts(0))
	step(t, e, 0, 200)
	require.Equal(t, 199.0*200*399/6+200, state(t, e)["sum"][0])
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, e.Step(ctx, 200, 1), context.Canceled)
	require.Equal(t, 199.0*200*399/6+200, state(t, e)["sum"][0], "nothing was done")
}
