package hypergrad_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// separable is G = ½|y|² - xΣy, F = ½|y - 1|² with q lower variables, whose programs are small however large q is.
func separable(q int) *problem.Problem {
	return &problem.Problem{
		Name: "separable",
		Lower: problem.Level{Start: problem.Vector(make([]float64, q)...),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Square().Sum().Scale(0.5).Sub(x.Reshape().Mul(y.Sum()))
			})},
		Upper: problem.Level{Start: problem.Vector(0.5),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.AddConst(-1).Square().Sum().Scale(0.5)
			})},
	}
}

// inUse is the memory of an executor once a method is prepared and has computed.
func inUse(t *testing.T, p *problem.Problem, m hypergrad.Method) (int64, *hypergrad.Hypergradient) {
	ex := executor(t)
	x, y := ex.Variable("x", tensor.Real, p.Upper.Start.Size()), ex.Variable("y", tensor.Real, p.Lower.Start.Size())
	e, err := m.Prepare(bind(t, ex, p), x, y)
	require.NoError(t, err)
	require.NoError(t, x.Write(p.Upper.Start.Flat))
	h, err := e.Compute(context.Background())
	require.NoError(t, err)
	bytes := ex.MemoryInUse()
	require.NoError(t, e.Close())
	return bytes, h
}

// The states of a path of T steps take at most 3√T places, by what the result says and by what the executor has taken;
// each step is computed at most twice.
func TestCheckpointsTakeTheRootOfTheSteps(t *testing.T) {
	const q = 300
	p := separable(q)
	for name, inner := range map[string]hypergrad.Inner{
		"gradient": hypergrad.GradientSteps{Step: 0.01},
		"adam":     hypergrad.AdamSteps{Step: 0.01},
	} {
		vectors := map[string]int{"gradient": 1, "adam": 3}[name] // of a state
		base, one := inUse(t, p, hypergrad.Unrolled{Inner: inner, Steps: 1})
		require.Equal(t, 1, one.States)
		for _, steps := range []int{2, 3, 10, 17, 1000} {
			bytes, h := inUse(t, p, hypergrad.Unrolled{Inner: inner, Steps: steps})
			places := 3 * math.Sqrt(float64(steps))
			require.LessOrEqual(t, float64(h.States), places)
			state := float64(8 * q * vectors)
			rates := float64(8 * 2 * steps)
			require.LessOrEqual(t, float64(bytes-base)/state, places-1+rates/state, "%s, %d steps", name, steps)
			require.GreaterOrEqual(t, float64(bytes-base)/state, float64(h.States-1), "the states are where it says")
			gradients := 2*steps + 1
			if name == "adam" { // the derivative of a step depends on the gradient, which is computed again
				gradients += steps
			}
			require.LessOrEqual(t, h.Counts.LowerGradients, int64(gradients), "%s: %v", name, h.Counts)
			require.Equal(t, int64(steps), h.Counts.HVP)
			require.Equal(t, int64(steps), h.Counts.JVP)
			require.Equal(t, int64(1), h.Counts.UpperGradients)
		}
	}
	// Truncated keeps the states of the last steps alone, and computes no step of the others twice.
	_, h := inUse(t, p, hypergrad.Truncated{Inner: hypergrad.GradientSteps{Step: 0.01}, Steps: 1000, Last: 9})
	require.Equal(t, 5, h.States)
	require.LessOrEqual(t, h.Counts.LowerGradients, int64(1000+9+1))
	require.Equal(t, int64(9), h.Counts.HVP)
}

// Running backwards takes no memory that grows with the steps, and gives what the stored states give up to the
// round-off that it reports.
func TestReversible(t *testing.T) {
	p := separable(50)
	inner := hypergrad.MomentumSteps{Step: 0.05, Beta: 0.9}
	few, _ := inUse(t, p, hypergrad.Reversible{Inner: inner, Steps: 2})
	many, h := inUse(t, p, hypergrad.Reversible{Inner: inner, Steps: 200})
	require.Equal(t, few, many)
	require.Zero(t, h.States)
	require.Equal(t, problem.Counts{LowerGradients: 2*200 + 1, UpperGradients: 1, HVP: 200, JVP: 200}, h.Counts)

	m := newBent()
	for _, c := range []struct {
		dev   tensor.Device
		steps int
	}{{ref.New(), 10}, {ref.New(), 100}, {cpudevice.New(1), 10}, {cpudevice.New(1), 60}} {
		ex := tensortest.Executor(t, c.dev)
		p := m.problem(t, ex)
		stored := on(t, ex, p, hypergrad.Unrolled{Inner: inner, Steps: c.steps}, bentX, bentY)
		back := on(t, ex, p, hypergrad.Reversible{Inner: inner, Steps: c.steps}, bentX, bentY)
		u := ex.Info().UnitRoundoff()
		// A step back enlarges by up to 1/β what it finds; a few operations round in each of them.
		bound := 10 * u * math.Pow(1/inner.Beta, float64(c.steps)) / (1 - inner.Beta)
		closeTo(t, stored.Gradient, back.Gradient, bound, "reversible")
		require.Len(t, back.Notes, 1)
		t.Logf("%s, %d steps: %s", ex.Info().Name, c.steps, back.Notes[0])
	}
}

// Where rounding would leave nothing of y_0, or a step cannot be undone, the method is refused.
func TestReversibleRefuses(t *testing.T) {
	for _, c := range []struct {
		dev   tensor.Device
		inner hypergrad.MomentumSteps
		steps int
		want  string
	}{
		{ref.New(), hypergrad.MomentumSteps{Step: 0.1}, 3, "Reversible.Inner.Beta is 0: a step without momentum"},
		{ref.New(), hypergrad.MomentumSteps{Step: 0.1, Beta: 0.9}, 284, "take at most 283 steps"},
		{cpudevice.New(1), hypergrad.MomentumSteps{Step: 0.1, Beta: 0.9}, 93, "take at most 92 steps"},
		{ref.New(), hypergrad.MomentumSteps{Step: 0.1, Beta: 0.01}, 8, "take at most 6 steps"},
	} {
		ex := tensortest.Executor(t, c.dev)
		_, err := hypergrad.OnExecutor(context.Background(), ex, separable(3),
			hypergrad.Reversible{Inner: c.inner, Steps: c.steps}, problem.Vector(1), problem.Vector(0, 0, 0))
		require.ErrorContains(t, err, c.want)
	}
	ex := executor(t)
	p := separable(3)
	p.Lower.Set = problem.Box{Lo: -1, Hi: 1}
	_, err := hypergrad.OnExecutor(context.Background(), ex, p,
		hypergrad.Reversible{Inner: hypergrad.MomentumSteps{Step: 0.1, Beta: 0.9}, Steps: 3}, problem.Vector(1),
		problem.Vector(0, 0, 0))
	require.ErrorContains(t, err, "keeps y in a set")
}

// Settings that can never work are refused by name before anything runs.
func TestPathsRefuse(t *testing.T) {
	gradient := hypergrad.GradientSteps{Step: 0.1}
	for _, c := range []struct {
		m    hypergrad.Method
		want string
	}{
		{hypergrad.Unrolled{Steps: 3}, "Unrolled.Inner is missing"},
		{hypergrad.Unrolled{Inner: gradient}, "Unrolled.Steps is 0"},
		{hypergrad.Unrolled{Inner: gradient, Steps: 1, Rows: -1}, "Unrolled.Rows is -1"},
		{hypergrad.Unrolled{Inner: hypergrad.GradientSteps{}, Steps: 1}, "GradientSteps.Step is 0"},
		{hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: math.Inf(1)}, Steps: 1}, "GradientSteps.Step is +Inf"},
		{hypergrad.Unrolled{Inner: hypergrad.MomentumSteps{Step: 1, Beta: 1}, Steps: 1}, "MomentumSteps.Beta is 1"},
		{hypergrad.Unrolled{Inner: hypergrad.AdamSteps{Step: 1, Beta1: -1}, Steps: 1}, "AdamSteps.Beta1 is -1"},
		{hypergrad.Unrolled{Inner: hypergrad.AdamSteps{Step: 1, Beta2: 2}, Steps: 1}, "AdamSteps.Beta2 is 2"},
		{hypergrad.Unrolled{Inner: hypergrad.AdamSteps{Step: 1, Epsilon: -1}, Steps: 1}, "AdamSteps.Epsilon is -1"},
		{hypergrad.Unrolled{Inner: hypergrad.SignSteps{Step: 1, Decay: -1}, Steps: 1}, "SignSteps.Decay is -1"},
		{hypergrad.Truncated{Inner: gradient, Steps: 3}, "Truncated.Last is 0 of 3 steps"},
		{hypergrad.Truncated{Inner: gradient, Steps: 3, Last: 4}, "Truncated.Last is 4 of 3 steps"},
		{hypergrad.OneStep{}, "OneStep.Inner is missing"},
		{hypergrad.Forward{Inner: gradient, Steps: 1, Memory: 23}, "Forward.Memory allows 23 B"},
		{hypergrad.Unrolled{Inner: hypergrad.SignSteps{Step: 1}, Steps: 1}, "the estimate is 0 for every x"},
		{hypergrad.Forward{Inner: hypergrad.SignSteps{Step: 1}, Steps: 1}, "the estimate is 0 for every x"},
	} {
		ex := executor(t)
		before := ex.MemoryInUse()
		_, err := hypergrad.OnExecutor(context.Background(), ex, separable(3), c.m, problem.Vector(1),
			problem.Vector(0, 0, 0))
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "hypergrad: ")
		require.Equal(t, before, ex.MemoryInUse(), "nothing is left behind")
	}
	p := separable(3)
	p.Lower.Prox = func(_ problem.Vars, z, _ *tensor.Node) *tensor.Node { return z }
	try := func(inner hypergrad.Inner) error {
		_, err := hypergrad.OnExecutor(context.Background(), executor(t), p, hypergrad.Unrolled{Inner: inner, Steps: 2},
			problem.Vector(1), problem.Vector(0, 0, 0))
		return err
	}
	require.NoError(t, try(gradient))
	require.ErrorContains(t, try(hypergrad.AdamSteps{Step: 0.1}), "adam steps with the proximal map")
	p.Lower.Set = problem.Box{Lo: -1, Hi: 1}
	require.ErrorContains(t, try(gradient), "a set and a proximal map")
	p.Lower.Prox, p.Lower.Set = nil, problem.Ball{Radius: 1}
	require.NoError(t, try(gradient))
	require.NoError(t, try(hypergrad.MomentumSteps{Step: 0.1, Beta: 0.5}))
	require.ErrorContains(t, try(hypergrad.AdamSteps{Step: 0.1}), "onto the ball of radius 1")
	p.Lower.Start = problem.Values{}.And("a", 0).And("b", 0, 0)
	p.Lower.Set = problem.Sets{"a": problem.Box{Lo: -1, Hi: 1}, "b": problem.Box{Lo: -2, Hi: 1}}
	value := p.Lower.Value
	p.Lower.Value = func(x, y problem.Vars, b problem.Batch) *tensor.Node {
		return value(x, problem.Vars{"": tensor.Concat(0, y.Get("a").Flatten(), y.Get("b").Flatten())}, b)
	}
	p.Upper.Value = p.Lower.Value
	require.NoError(t, try(hypergrad.AdamSteps{Step: 0.1}))
	p.Lower.Set = problem.Sets{"a": problem.Box{Lo: -1, Hi: 1}, "b": problem.Ball{Radius: 1}}
	require.ErrorContains(t, try(hypergrad.AdamSteps{Step: 0.1}), "come to rest at another point")
}

// A path that diverges says so.
func TestPathsNotFinite(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	m := hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: 1e3}, Steps: 200}
	h := on(t, ex, p, m, []float64{1}, []float64{0})
	require.Equal(t, linear.NotFinite, h.Status)
	require.Contains(t, h.Advice(), "smaller steps")
}
