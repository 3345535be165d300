package compare

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"

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

// scaled multiplies the steps that an algorithm has chosen, by the factors of the configuration and by inner and outer.
func (c Config) scaled(a solvers.Algorithm, inner, outer float64) solvers.Algorithm {
	return solvers.StepsOf(a, func(name string, v reflect.Value) {
		if slices.Contains(innerSteps, name) {
			v.SetFloat(v.Float() * cmp.Or(c.StepFactor, 1) * inner)
		}
		if slices.Contains(outerSteps, name) {
			v.SetFloat(v.Float() * cmp.Or(c.OuterFactor, 1) * outer)
		}
	})
}

// keepSteps writes down the steps that an algorithm ran with.
func keepSteps(r *experiments.Record, a solvers.Algorithm) {
	solvers.StepsOf(a, func(name string, v reflect.Value) { r.Scalars["settings."+name] = v.Float() })
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
func (c Config) compile(ctx context.Context, env *experiments.Env, b *problem.Bound, t *task, seed uint64) (
	e *engine.Engine, a solvers.Algorithm, n int, err error) {
	batch := t.batch
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
		n, err = experiments.IterationsWithin(probe, float64(c.Calls), batch)
	}
	if err = errors.Join(err, probe.Close()); err != nil {
		return nil, nil, 0, err
	}
	inner, outer, err := c.searched(ctx, b, seed)
	if err != nil {
		return nil, nil, 0, err
	}
	a = c.scaled(a, inner, outer)
	if c.Tune == "trial" {
		if a, err = tried(ctx, b, t, a, n, seed); err != nil {
			return nil, nil, 0, err
		}
	}
	e, a, err = solvers.Init(ctx, b, a, n, seed)
	return e, a, n, err
}

// mostTrials is how many runs look for a step of x with which none diverges. The last one's is a millionth of the
// first one's.
const mostTrials = 11

// tried is an algorithm with a quarter of its step of x, a quarter of that, and so on, until a run of n iterations with
// these start values and minibatches neither diverges nor ends at a higher value than it began with. Steps that are
// measured at the start values say little about a problem whose curvature changes by orders of magnitude with x. The
// steps of y stay: what they must not exceed is measured on minibatches, and a shorter one makes y follow x worse.
func tried(ctx context.Context, b *problem.Bound, t *task, a solvers.Algorithm, n int, seed uint64) (
	solvers.Algorithm, error) {
	for range mostTrials {
		diverged, err := trial(ctx, b, t, a, n, seed)
		if err != nil || !diverged {
			return a, err
		}
		a = Config{OuterFactor: 0.25}.scaled(a, 1, 1)
	}
	return a, nil // the run will diverge, and say so
}

// trial tells whether a run goes to infinity, or ends at a higher value than it began with.
func trial(ctx context.Context, b *problem.Bound, t *task, a solvers.Algorithm, n int, seed uint64) (
	diverged bool, err error) {
	e, _, err := solvers.Init(ctx, b, a, n, seed)
	if err != nil {
		return false, err
	}
	var values []float64 // of the start and of the end
	out, err := e.Run(ctx, engine.Limits{Iterations: n, Every: n, Record: func(p engine.Progress) error {
		v, err := t.look(ctx, p.Engine)
		if err == nil {
			values = append(values, v[slices.Index(t.columns, "value")])
		}
		return err
	}})
	diverged = errors.Is(err, errDiverged) || err == nil && out.Status == engine.NotFinite ||
		len(values) == 2 && values[1] > values[0]
	if diverged {
		err = nil
	}
	if err == nil && out.Status == engine.Cancelled {
		err = out.Err()
	}
	return diverged, errors.Join(err, e.Close())
}
