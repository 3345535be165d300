package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// Steps that the two factors of a configuration multiply, by their names in configuration files. Those of Neumann
// series are left alone, since above 1/L a series does not converge, and so are those of multipliers.
var (
	innerSteps = []string{"step", "y_step", "z_step", "v_step", "upper_step"}
	outerSteps = []string{"outer_step"}
)

// stepsOf calls f for every step size of a copy of an algorithm, and gives the copy.
func stepsOf(a solvers.Algorithm, f func(name string, v reflect.Value)) solvers.Algorithm {
	v := reflect.New(reflect.TypeOf(a)).Elem()
	v.Set(reflect.ValueOf(a))
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if field := v.Field(i); field.Kind() == reflect.Float64 && strings.HasSuffix(name, "step") {
			f(name, field)
		}
	}
	return v.Interface().(solvers.Algorithm)
}

// scaled multiplies the steps that an algorithm has chosen.
func (c Config) scaled(a solvers.Algorithm) solvers.Algorithm {
	return stepsOf(a, func(name string, v reflect.Value) {
		if slices.Contains(innerSteps, name) {
			v.SetFloat(v.Float() * cmp.Or(c.StepFactor, 1))
		}
		if slices.Contains(outerSteps, name) {
			v.SetFloat(v.Float() * cmp.Or(c.OuterFactor, 1))
		}
	})
}

// keepSteps writes down the steps that an algorithm ran with.
func keepSteps(r *experiments.Record, a solvers.Algorithm) {
	stepsOf(a, func(name string, v reflect.Value) { r.Scalars["settings."+name] = v.Float() })
}

// scale is the step sizes that suit the problem, which cells of one seed share: to measure them can take longer than a
// short run.
func (c Config) scale(ctx context.Context, env *experiments.Env, b *problem.Bound, batch int, seed uint64) (
	s solvers.Scale, err error) {
	of := c
	of.Algorithm, of.Set, of.Calls, of.Iterations, of.StepFactor, of.OuterFactor = "", nil, 0, 0, 0, 0
	of.Records, of.Target, of.Batch = 0, 0, batch
	const name = "scale"
	if was, err := env.Keeper.Shared(of); err != nil {
		return s, err
	} else if was != nil && len(was.Arrays[name]) == 3 {
		a := was.Arrays[name]
		return solvers.Scale{Inner: a[0], Outer: a[1], Gap: a[2]}, nil
	}
	if s, err = solvers.Measure(ctx, b, seed); err != nil {
		return s, err
	}
	return s, env.Keeper.Share(of, &engine.Snapshot{
		Arrays: map[string][]float64{name: {s.Inner, s.Outer, s.Gap}},
	})
}

// compile makes the run of a configuration on a problem: the steps that the algorithm chooses at the start values times
// the factors, and as many iterations as the budget allows.
func (c Config) compile(ctx context.Context, env *experiments.Env, b *problem.Bound, batch int, seed uint64) (
	e *engine.Engine, a solvers.Algorithm, n int, err error) {
	if a, err = c.algorithm(); err != nil {
		return nil, nil, 0, err
	}
	probe, a, err := solvers.InitScaled(ctx, b, a, 1, seed, func() (solvers.Scale, error) {
		return c.scale(ctx, env, b, batch, seed)
	})
	if err != nil {
		return nil, nil, 0, err
	}
	n = c.Iterations
	if n == 0 {
		n, err = iterationsWithin(probe, c.Calls, batch)
	}
	if err = errors.Join(err, probe.Close()); err != nil {
		return nil, nil, 0, err
	}
	a = c.scaled(a)
	e, a, err = solvers.Init(ctx, b, a, n, seed)
	return e, a, n, err
}

// iterationsWithin is how many iterations a budget allows.
func iterationsWithin(e *engine.Engine, calls int64, batch int) (int, error) {
	var spent problem.Counts
	for n := 0; ; n++ {
		next := spent.Plus(e.Counts(n), 1)
		if work(next, batch) <= work(spent, batch) { // it asks for nothing, so that no budget ends it
			return 0, errors.New("an iteration makes no oracle call: give iters in the place of calls")
		}
		switch {
		case work(next, batch) <= float64(calls) && n < math.MaxInt32:
			spent = next
		case n == 0:
			return 0, fmt.Errorf("one iteration takes %.0f oracle calls and the budget is %d: allow more calls",
				work(next, batch), calls)
		default:
			return n, nil
		}
	}
}
