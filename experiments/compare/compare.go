// Package compare runs bi-level algorithms on problems at equal budgets of oracle calls, and measures how far each of
// them is from the solution on the way. Which algorithms at which settings is a table's business (package table).
package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// Config is one algorithm on one problem.
type Config struct {
	Problem   string `json:"problem"` // one of Problems
	Algorithm string `json:"algo"`
	// Calls is the budget in oracle calls, see experiments.Work: the run has as many iterations as it allows.
	// Iterations, where it is not 0, is given instead.
	Calls      int64 `json:"calls"`
	Iterations int   `json:"iters,omitempty"`
	// StepFactor multiplies the steps of y, z and v that the algorithm chooses at the start values, OuterFactor that of
	// x; 0 means 1. Tune "bisls" multiplies them beside by what line searches find, see searched; "trial" shortens the
	// step of x until a run does not diverge, see tried.
	StepFactor  float64     `json:"step_factor,omitempty"`
	OuterFactor float64     `json:"outer_factor,omitempty"`
	Tune        string      `json:"tune,omitempty"`
	Set         Assignments `json:"set,omitempty"` // of the algorithm's own settings, see solvers.Set
	Records     int         `json:"records"`       // points of the curve after the start
	// Target is a value that the squared hypergradient is to stay below, whose cost is told; 0: none.
	Target float64 `json:"target,omitempty"`
	// Certificate is at how many points of the run, spread evenly over its budget, the direction is compared with the
	// certified hypergradient, see certifier; 0: none. It is no part of the time or the budget.
	Certificate int `json:"certificate,omitempty"`

	// Settings of problems with data; what is 0 is what the problem is known with.
	Batch   int     `json:"batch,omitempty"`   // rows of a minibatch
	Train   int     `json:"train,omitempty"`   // rows of the lower level
	Val     int     `json:"val,omitempty"`     // rows of the upper level
	Corrupt float64 `json:"corrupt,omitempty"` // part of the training labels that are drawn anew
	// Reg is the weight of the squared norm of the model's parameters, or, where x has weights of those, of half that
	// of x in the upper objective.
	Reg float64 `json:"reg,omitempty"`
}

// Assignments are texts NAME=VALUE. In files they may also be one text with spaces between them, which several settings
// that are tried together can be.
type Assignments []string

func (a *Assignments) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*a = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// Defaults are the settings that do not depend on the problem.
func Defaults() Config { return Config{Algorithm: "soba", Calls: 4000, Records: 20} }

// Experiment runs one algorithm.
type Experiment struct{}

func (Experiment) Name() string { return "compare" }

// Cells are one for each seed. Its error names the setting that can never work.
func (Experiment) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("compare: a configuration of type %T", config)
	}
	return experiments.SeedCells("compare", c, seeds), c.check()
}

// Check refuses settings that can never work.
func (Experiment) Check(config any) error {
	_, err := Experiment{}.Cells(config, nil)
	return err
}

func (c Config) check() error {
	if _, err := ByName(c.Problem); err != nil {
		return err
	}
	if _, err := c.algorithm(); err != nil {
		return err
	}
	if err := c.checkTune(); err != nil {
		return err
	}
	if c.Iterations < 0 || c.Iterations == 0 && c.Calls < 1 || c.Records < 1 ||
		max(c.Iterations, c.Records) > math.MaxInt32 {
		return fmt.Errorf("calls %d, iters %d and records %d: wants a budget of at least 1 call or 1 iteration, "+
			"and at least 1 record", c.Calls, c.Iterations, c.Records)
	}
	if c.Certificate < 0 || c.Certificate > c.Records {
		return fmt.Errorf("certificate is %d: wants a number of points from 0 to the %d records", c.Certificate,
			c.Records)
	}
	for _, v := range []struct {
		name  string
		value float64
	}{
		{"step_factor", c.StepFactor}, {"outer_factor", c.OuterFactor}, {"target", c.Target}, {"reg", c.Reg},
		{"batch", float64(c.Batch)}, {"train", float64(c.Train)}, {"val", float64(c.Val)},
	} {
		if !(v.value >= 0) || math.IsInf(v.value, 0) {
			return fmt.Errorf("%s is %g: wants a positive, finite number, or 0 for what the problem is known with",
				v.name, v.value)
		}
	}
	if !(c.Corrupt >= 0 && c.Corrupt <= 1) {
		return fmt.Errorf("corrupt is %g: wants a probability from 0 to 1", c.Corrupt)
	}
	return nil
}

// task is a problem on an executor, with what is measured on it.
type task struct {
	problem *problem.Problem
	batch   int // rows of a minibatch; 0: every call sees all rows
	columns []string
	// measure gives a number for each column at a point.
	measure func(ctx context.Context, x, y []float64) ([]float64, error)
	notes   []string
	close   func() error
}

// spentColumns is how many columns of the curve say what a run has cost; those of the task come after them.
const spentColumns = 4

// errDiverged ends a run whose state is no longer finite, or where a measure is none. errSpent ends one that has spent
// its budget: where an algorithm works to a tolerance, nobody knows beforehand what its iterations cost.
var errDiverged, errSpent = errors.New("the run diverged"), errors.New("the budget is spent")

// Run does one cell. A run that diverges is a record, too: with the curve so far, a warning, and no final measures.
func (Experiment) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	c := cell.Config.(Config)
	p, err := ByName(c.Problem)
	if err != nil {
		return nil, err
	}
	t, err := p.open(env.Executor, c, env.Data, cell.Seed)
	if err != nil {
		return nil, err
	}
	r, err := c.run(ctx, env, t, cell.Seed)
	if err != nil && ctx.Err() != nil {
		return nil, err // the device may still be busy: nothing is freed
	}
	return r, errors.Join(err, t.close())
}

// run solves the problem of a task.
func (c Config) run(ctx context.Context, env *experiments.Env, t *task, seed uint64) (*experiments.Record, error) {
	b, err := t.problem.Bind(env.Executor)
	if err != nil {
		return nil, err
	}
	e, a, n, err := c.compile(ctx, env, b, t, seed)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	var guide *certifier
	if c.Certificate > 0 {
		if guide, err = newCertifier(ctx, *t.problem, e, a, n); err != nil {
			return nil, errors.Join(err, e.Close(), b.Close())
		}
	}
	env.Begin("solve", n)
	var last problem.Counts
	columns := append([]string{"iteration", "seconds", "calls", "samples"}, t.columns...)
	if guide != nil {
		columns = append(columns, experiments.DirectionColumns...)
	}
	_, log := env.Keeper.Restore(columns...)
	resume, checkpoint, every := env.Keeper.Stage("solve", log)
	out, err := e.Run(ctx, engine.Limits{
		Iterations: n, Every: (n + c.Records - 1) / c.Records, Progress: env.Done,
		Resume: resume, Checkpoint: checkpoint, CheckpointEvery: every,
		Record: func(p engine.Progress) error {
			if c.Iterations == 0 && experiments.Work(p.Counts, t.batch) > float64(c.Calls) {
				return errSpent
			}
			last = p.Counts
			v, err := t.look(ctx, p.Engine)
			if err != nil {
				return err
			}
			row := append([]float64{
				float64(p.Iteration), p.Seconds, experiments.Work(p.Counts, t.batch), float64(p.Counts.Samples),
			}, v...)
			if guide != nil {
				d, err := guide.look(ctx, p.Iteration, c.certifies(row, log.Curve()))
				if err != nil {
					return err
				}
				row = append(row, d...)
			}
			log.Add(row, nil)
			return nil
		},
	})
	r := experiments.NewRecord()
	r.Curve = log.Curve()
	r.Texts["algorithm"] = a.Name()
	keepSteps(r, a)
	switch {
	case errors.Is(err, errDiverged) || err == nil && out.Status == engine.NotFinite:
		c.diverged(r, t, last)
	case err != nil && !errors.Is(err, errSpent):
		return nil, err
	case err == nil && out.Status == engine.Cancelled:
		return nil, env.Keeper.Leave("solve", out, log)
	default:
		c.conclude(r, t, last)
	}
	for _, note := range t.notes {
		r.Warn("%s", note)
	}
	return r, errors.Join(guide.close(), e.Close(), b.Close())
}

// look measures where a run stands. It fails with errDiverged where a measure is not finite.
func (t *task) look(ctx context.Context, e *engine.Engine) ([]float64, error) {
	x, err1 := e.Variable("x").Read()
	y, err2 := e.Variable("y").Read()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	v, err := t.measure(ctx, x, y)
	if err == nil && slices.ContainsFunc(v, notFinite) {
		return nil, errDiverged
	}
	return v, err
}

func notFinite(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// conclude keeps the measures of the last record, which is within the budget, and what had been spent by then.
func (c Config) conclude(r *experiments.Record, t *task, spent problem.Counts) {
	last := r.Curve.Rows[len(r.Curve.Rows)-1]
	for i, name := range t.columns {
		r.Scalars[name] = last[spentColumns+i]
	}
	if at := slices.Index(r.Curve.Columns, "gap"); at >= 0 && r.Curve.Rows[0][at] > 0 {
		r.Scalars["gap_left"] = last[at] / r.Curve.Rows[0][at] // comparable between problems that seeds draw
	}
	if c.Certificate > 0 {
		r.Directions(r.Curve.Directions())
	}
	r.Counts["iterations"], r.Scalars["seconds"], r.Scalars["calls"] = int64(last[0]), last[1], last[2]
	r.Scalars["diverged"] = 0
	r.Count(spent)
	c.reach(r)
}

// reach keeps the cost after which the squared hypergradient of all records is at most Target. One that only passes
// below it, as on the way past a saddle point, has not come there.
func (c Config) reach(r *experiments.Record) {
	at := slices.Index(r.Curve.Columns, "gradient")
	if c.Target == 0 || at < 0 {
		return
	}
	c.unreached(r)
	for _, row := range slices.Backward(r.Curve.Rows) {
		if row[at]*row[at] > c.Target {
			return
		}
		r.Scalars["target.reached"] = 1
		r.Scalars["target.iterations"], r.Scalars["target.calls"] = row[0], row[2]
		r.Scalars["target.seconds"] = row[1]
	}
}

// unreached says that the target was not reached.
func (c Config) unreached(r *experiments.Record) {
	if c.Target == 0 {
		return
	}
	r.Scalars["target.reached"] = 0
	for _, name := range []string{"target.iterations", "target.calls", "target.seconds"} {
		r.Scalars[name] = math.NaN()
	}
}

// diverged is the record of a run that went to infinity. What it has cost is told up to the last look at it.
func (c Config) diverged(r *experiments.Record, t *task, spent problem.Counts) {
	for _, name := range t.columns {
		r.Scalars[name] = math.NaN()
	}
	after := 0.0
	if n := len(r.Curve.Rows); n > 0 {
		after = r.Curve.Rows[n-1][0]
	}
	r.Count(spent)
	r.Flags["diverged"], r.Scalars["diverged"] = true, 1
	if slices.Contains(t.columns, "gradient") {
		c.unreached(r)
	}
	r.Warn("the run diverged between iteration %.0f and the next record: smaller steps are wanted (--tune trial "+
		"finds some)", after)
}

// Report is what a table shows of the records.
func (Experiment) Report() experiments.Report {
	return experiments.Report{Rows: []experiments.Row{
		{Title: "value", Scalar: "value"},
		{Title: "gap", Scalar: "gap"},
		{Title: "part of the start's gap that is left", Scalar: "gap_left"},
		{Title: "|∇h|", Scalar: "gradient"},
		{Title: "|x - x*|", Scalar: "distance"},
		{Title: "|y - y*(x)|", Scalar: "inner_distance"},
		{Title: "validation error", Scalar: "val_error", Percent: true},
		{Title: "test error", Scalar: "test_error", Percent: true},
	}}
}

// algorithm is the one of the configuration's name, with its own settings.
func (c Config) algorithm() (solvers.Algorithm, error) {
	entry, err := solvers.AlgorithmByName(c.Algorithm)
	if err != nil {
		return nil, err
	}
	return solvers.Set(entry.Zero, c.Set...)
}
