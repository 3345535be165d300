package hpo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// errBudget says that the first training alone takes more than the budget.
func (c Config) errBudget(calls float64) error {
	return experiments.Usagef("the first training takes %.0f oracle calls and the budget is %d: allow more calls, "+
		"or a larger tolerance", calls, c.Calls)
}

// tryPoints trains at one point after the other, until the budget does not allow the next one. Where the lower level is
// convex each training begins where the last one ended, else at the model's start values. A point costs what its
// training takes and the loss on the validation rows.
func (t *task) tryPoints(ctx context.Context, env *experiments.Env, propose search) error {
	m, err := t.trainer(t.bound)
	if err != nil {
		return err
	}
	env.Begin("search", int(t.Calls))
	_, log := env.Keeper.Restore(courseColumns...)
	t.course = &course{log: log}
	resume, checkpoint, every := env.Keeper.Stage("search", log)
	y := t.bound.Lower.Start.Flat
	if resume != nil {
		y = resume.Arrays["y"]
	}
	state := func() *engine.Snapshot {
		return &engine.Snapshot{Algorithm: t.Method, Problem: t.bound.Name, Seed: t.seed, Iteration: t.course.len(),
			Arrays: map[string][]float64{"y": y}}
	}
	leave := func(err error) error {
		if t.course.len() == 0 { // nothing has been found that could be kept
			return err
		}
		return env.Keeper.Ended("search", state(), log, err)
	}
	for saved := time.Now(); ; {
		x := t.space.start()
		if done := t.course.trials(); len(done) > 0 {
			x = propose(t.space, t.seed, done)
		}
		from := y
		if t.Search == Layers {
			from = t.bound.Lower.Start.Flat
		}
		out, err := m.train(ctx, x, from)
		if err != nil {
			return leave(err)
		}
		loss, err := t.validate(x, out.y)
		if err != nil {
			return err
		}
		out.cost.Values++
		last := t.course.last()
		p := point{number: last.number + 1, seconds: last.seconds + out.seconds,
			calls: last.calls + experiments.Work(out.cost, 0), loss: loss}
		if p.calls > float64(t.Calls) {
			if t.course.len() == 0 {
				return t.errBudget(p.calls)
			}
			return leave(nil)
		}
		if math.IsNaN(loss) {
			p.loss = math.Inf(1)
		}
		if err := t.note(ctx, p, x); err != nil {
			return leave(err)
		}
		if !math.IsNaN(loss) {
			y = out.y
		}
		env.Done(int(p.calls))
		env.Say("validation loss %.5g", t.course.last().val)
		if checkpoint != nil && time.Since(saved) >= every {
			if err := checkpoint(state()); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
}

// errSpent ends a run of an algorithm that has spent the budget: where it works to tolerances, nobody knows beforehand
// what its iterations cost.
var errSpent = errors.New("the budget is spent")

// solve runs a bi-level algorithm. What it costs is charged as for the other searches, with a value of F for each look
// at the validation rows. The test rows are scored at the y of the time.
func (t *task) solve(ctx context.Context, env *experiments.Env) error {
	e, n, err := t.compile(ctx, func(a solvers.Algorithm) solvers.Algorithm { return a })
	if err != nil {
		return err
	}
	every := 1
	if t.Batch > 0 {
		every = (n + t.Records - 1) / t.Records
	}
	env.Begin("search", int(t.Calls))
	_, log := env.Keeper.Restore(courseColumns...)
	t.course = &course{log: log, late: every == 1}
	resume, checkpoint, pace := env.Keeper.Stage("search", log)
	out, err := e.Run(ctx, engine.Limits{
		Iterations: n, Every: every, Resume: resume, Checkpoint: checkpoint, CheckpointEvery: pace,
		Record: func(p engine.Progress) error {
			if t.course.late && p.Iteration == 0 { // nothing has been trained yet
				t.course.add(t.course.last(), t.bound.Upper.Start.Flat)
				return nil
			}
			looks := t.course.len() + 1
			if t.course.late {
				looks--
			}
			spent := t.passes(p.Counts) + float64(looks)
			if spent > float64(t.Calls) {
				return errSpent
			}
			x, err1 := p.Engine.Variable("x").Read()
			y, err2 := p.Engine.Variable("y").Read()
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			loss, err := t.validate(x, y)
			if err != nil {
				return err
			}
			if math.IsNaN(loss) {
				loss = math.Inf(1)
			}
			env.Done(int(spent))
			env.Say("validation loss %.5g", min(loss, t.course.last().val))
			return t.note(ctx, point{number: p.Iteration, seconds: p.Seconds, calls: spent, loss: loss}, x)
		},
	})
	switch {
	case errors.Is(err, errSpent):
		if t.course.len() < 2 {
			return experiments.Usagef("one iteration of %s takes more than the budget of %d oracle calls: allow more "+
				"calls", t.Method, t.Calls)
		}
		return nil
	case err != nil:
		return err
	case out.Status == engine.NotFinite && t.course.len() < 2:
		return fmt.Errorf("%w; give smaller steps with --set", out.Err())
	case out.Status == engine.NotFinite:
		t.diverged = out.Iterations
		return nil
	}
	return env.Keeper.Leave("search", out, log)
}

// passes is what counted calls are charged as, in calls that see all rows of the lower level.
func (t *task) passes(n problem.Counts) float64 {
	if t.Batch == 0 {
		return experiments.Work(n, 0)
	}
	return experiments.Work(n, t.Batch) * float64(t.Batch) / float64(t.rows)
}

// compile makes the run of the algorithm, as change has it, of as many iterations as the budget may allow.
func (t *task) compile(ctx context.Context, change func(solvers.Algorithm) solvers.Algorithm) (
	*engine.Engine, int, error) {
	a, err := t.algorithm()
	if err != nil {
		return nil, 0, err
	}
	probe, a, err := solvers.Init(ctx, t.bound, change(a), 1, t.seed)
	if err != nil {
		return nil, 0, err
	}
	budget := float64(t.Calls)
	if t.Batch > 0 {
		budget *= float64(t.rows) / float64(t.Batch)
	}
	n, err := experiments.IterationsWithin(probe, budget, t.Batch)
	if err = errors.Join(err, probe.Close()); err != nil {
		return nil, 0, err
	}
	e, _, err := solvers.Init(ctx, t.bound, a, n, t.seed)
	if err == nil {
		t.scope.Own(e.Close)
	}
	return e, n, err
}
