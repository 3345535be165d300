// Package clean is data hyper-cleaning: it learns a weight for each training row so that a model trained with these
// weights does well on a small set of rows that can be trusted.
package clean

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/engine"
)

// Config is the settings of one run (Franceschi, Frasconi, Salzo, Grazzi, Pontil, ICML 2018, 5.1; settings of Dagréou
// et al., NeurIPS 2022):
//
//	min_x  mean over validation of CE(y*(x); a, b)
//	s.t.   y*(x) = argmin_y  mean over training of sigmoid(x_i) CE(y; a_i, b_i) + Reg |y|²
//
// with softmax regression; the bias is the weight of a column of ones and regularized with the rest. x starts at -2, y
// at 0; minibatches are drawn independently with replacement, fixed ones for algorithms that keep a table of them.
// Train and Val are rows; the test part is what the set brings, or what is left. Records is the number of points of the
// curves; 0 means 40.
type Config struct {
	Algorithm  string          `json:"algo"`
	Corrupt    float64         `json:"corrupt"`
	Train      int             `json:"train"`
	Val        int             `json:"val"`
	Iterations int             `json:"iters"`
	Batch      int             `json:"batch"`
	Reg        float64         `json:"reg"`
	Step       float64         `json:"step"`
	OuterStep  float64         `json:"outer_step"`
	Schedule   engine.Schedule `json:"schedule"`
	Records    int             `json:"records,omitempty"`
	Set        []string        `json:"set,omitempty"` // NAME=VALUE of the algorithm's other settings, see solvers.Set

	// Weights is the form of the weights, one of Choices; empty means Plain, the problem above. The other forms are
	// described at net.run and choose. They begin with a model of Models trained on the trusted rows: those that the
	// array in the file Trusted marks, or trusted.npy in the set's folder, or its validation rows.
	Weights string `json:"weights,omitempty"`
	Model   string `json:"model,omitempty"`
	Trusted string `json:"trusted,omitempty"`
	// Certificate asks for the hypergradient at the end of the last round, with its error. The plain form always has
	// it.
	Certificate bool `json:"certificate,omitempty"`
}

// plain tells whether the configuration asks for one round from equal weights.
func (c Config) plain() bool { return c.Weights == "" || c.Weights == Plain }

// Experiment runs hyper-cleaning. Guided is whether its records are shown as those of the forms other than Plain.
type Experiment struct{ Guided bool }

func (Experiment) Name() string { return "clean" }

func (Experiment) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("clean: a configuration of type %T", config)
	}
	if !c.plain() {
		return experiments.SeedCells("clean", c, seeds), c.CheckChoices()
	}
	_, err := c.algorithm()
	return experiments.SeedCells("clean", c, seeds), errors.Join(err, c.Schedule.Check())
}

// Shorten is experiments.Shortener's.
func (Experiment) Shorten(config any) any {
	c := config.(Config)
	const few = 100
	if c.Iterations == 0 || c.Iterations > few {
		c.Iterations = few
	}
	return c
}

// algorithm is the one of the configuration's name with its settings.
func (c Config) algorithm() (solvers.Algorithm, error) {
	entry, err := solvers.AlgorithmByName(c.Algorithm)
	if err != nil {
		return nil, err
	}
	settings := map[string]any{"outer_step": c.OuterStep}
	if c.Schedule != "" {
		settings["schedule"] = c.Schedule
	}
	if c.Step != 0 {
		settings[cmp.Or(stepOf(entry), "step")] = c.Step
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	a, err := solvers.Decode(entry.Zero, text)
	if err != nil {
		return nil, err
	}
	return solvers.Set(a, c.Set...)
}

// stepOf is the name of an algorithm's step of the lower level, empty where it has none: it then minimizes by a method
// that finds its steps.
func stepOf(e solvers.Entry) string {
	for _, name := range []string{"step", "z_step"} { // the latter of what follows the lower level's minimizer
		if slices.Contains(solvers.Fields(e.Zero), name) {
			return name
		}
	}
	return ""
}

// For gives the settings for an algorithm: without those that it does not have.
func (c Config) For(algorithm string) Config {
	entry, err := solvers.AlgorithmByName(algorithm)
	if err != nil { // told later
		return c
	}
	if stepOf(entry) == "" {
		c.Step = 0
	}
	if !slices.Contains(solvers.Fields(entry.Zero), "schedule") {
		c.Schedule = ""
	}
	return c
}

// Run does one seed.
func (Experiment) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	c := cell.Config.(Config)
	if !c.plain() {
		return runGuided(ctx, env, c, cell.Seed)
	}
	d, err := data.Prepare(env.Data, data.Preparation{Train: c.Train, Val: c.Val, Corrupt: c.Corrupt}, cell.Seed)
	if err != nil {
		return nil, err
	}
	if err := experiments.CheckBatch(c.Batch, c.Train); err != nil {
		return nil, err
	}
	t, err := newTask(env.Executor, c, d, cell.Seed)
	if err != nil {
		return nil, err
	}
	r := experiments.NewRecord()
	for _, stage := range []func(context.Context, *experiments.Env, *experiments.Record) error{t.solve, t.certify,
		t.baselines, t.score} {
		if err := stage(ctx, env, r); err != nil {
			if ctx.Err() != nil { // the device may still be busy: nothing is freed
				return nil, err
			}
			return nil, errors.Join(fmt.Errorf("seed %d: %w", cell.Seed, err), t.close())
		}
	}
	return r, t.close()
}

// solving is the stage that the plain form makes checkpoints in.
const solving = "solve"

// solve runs the algorithm and keeps the curve, with the model at each of its points.
func (t *task) solve(ctx context.Context, env *experiments.Env, r *experiments.Record) error {
	records := t.Records
	if records == 0 {
		records = 40
	}
	algorithm, err := t.algorithm()
	if err != nil {
		return err
	}
	env.Begin(solving, t.Iterations)
	_, t.log = env.Keeper.Restore("iteration", "seconds", "samples", "val_error", "val_loss")
	resume, checkpoint, every := env.Keeper.Stage(solving, t.log)
	res, err := solvers.Solve(ctx, t.problem, algorithm, solvers.Options{
		Executor: t.ex, Iterations: t.Iterations, Seed: t.seed, Every: max(1, t.Iterations/records), Progress: env.Done,
		Resume: resume, Checkpoint: checkpoint, CheckpointEvery: every,
		Record: func(p engine.Progress) error {
			y, err := p.Engine.Variable("y").Read()
			if err != nil {
				return err
			}
			e, err := t.evaluate(ctx, t.val, y)
			if err != nil {
				return err
			}
			if loss := e.Mean("loss"); math.IsNaN(loss) || math.IsInf(loss, 0) {
				return fmt.Errorf("the validation loss is %g after iteration %d: use smaller step sizes, or look "+
					"for very large values in the data",
					loss, p.Iteration)
			}
			t.log.Add([]float64{
				float64(p.Iteration), p.Seconds, float64(p.Counts.Samples), e.Mean("mistakes"), e.Mean("loss"),
			}, y)
			return nil
		},
	})
	if err != nil {
		return err
	}
	if err := env.Keeper.Leave(solving, &res.Outcome, t.log); err != nil {
		return err
	}
	r.Counts["iterations"], r.Scalars["seconds"] = int64(res.Iterations), res.Seconds
	r.Count(res.Counts)
	t.result = res
	t.warnOfRowsNeverDrawn(r)
	return errors.Join(t.x.Write(res.X.Flat), t.y.Write(res.Y.Flat))
}

// neverDrawn is how many of n rows are expected to be in none of so many draws with replacement.
func neverDrawn(n, draws float64) float64 { return n * math.Pow(1-1/n, draws) }

// warnOfRowsNeverDrawn says where so few rows are drawn that more than one in a thousand keeps its start weight.
// Algorithms without a step of the lower level see all rows in each iteration.
func (t *task) warnOfRowsNeverDrawn(r *experiments.Record) {
	if entry, err := solvers.AlgorithmByName(t.Algorithm); err == nil && stepOf(entry) == "" {
		return
	}
	n := float64(t.data.Train.N())
	if never := neverDrawn(n, float64(t.Iterations)*float64(t.Batch)); never > 0.001*n {
		r.Warn("about %.0f of the %.0f training rows were never drawn and keep the weight that they began with: "+
			"--iters %d would draw nearly all",
			never, n, int(math.Ceil(7*n/float64(t.Batch))))
	}
}

// score fills in what is known when the run is over. It is the only place, with the baselines, that reads the test
// rows.
func (t *task) score(ctx context.Context, env *experiments.Env, r *experiments.Record) error {
	r.Curve = experiments.Curve{Columns: append(slices.Clone(t.log.Curve().Columns), "test_error")}
	for i, row := range t.log.Curve().Rows {
		e, err := t.evaluate(ctx, t.test, t.log.Vectors()[i])
		if err != nil {
			return err
		}
		r.Curve.Rows = append(r.Curve.Rows, append(slices.Clone(row), e.Mean("mistakes")))
	}
	last := r.Curve.Rows[len(r.Curve.Rows)-1]
	r.Scalars["val_error"], r.Scalars["val_loss"], r.Scalars["test_error"] = last[3], last[4], last[5]
	if err := t.y.Write(t.result.Y.Flat); err != nil {
		return err
	}
	own, err := t.train.evaluator.Run(ctx)
	if err != nil {
		return err
	}
	weights := make([]float64, t.result.X.Size())
	for i, x := range t.result.X.Flat {
		weights[i] = 1 / (1 + math.Exp(-x))
	}
	detect(weights, t.data.Changed, t.data.Drawn, r.Scalars)
	suspects := experiments.Table{Name: "suspects", Columns: []string{"row", "label", "weight", "own_label"}}
	order := experiments.Ascending(t.result.X.Flat)
	for _, i := range order {
		suspects.Rows = append(suspects.Rows, []string{
			strconv.Itoa(int(t.data.Rows[i])), strconv.Itoa(int(t.data.Train.Labels[i])),
			experiments.Number(weights[i]),
			strconv.Itoa(int(own.Ints["label"][i])),
		})
	}
	suspects.AddFiles(env.Data.Train.Files, func(i int) int32 { return t.data.Rows[order[i]] })
	r.Tables = append(r.Tables, suspects)
	r.Samples = samples(weights, t.data.Changed)
	t.warnOfWeights(r, weights)
	t.keepSettings(r, env.Data)
	return nil
}

// warnOfWeights says where the result cannot tell good rows from bad ones, or good runs from better ones.
func (t *task) warnOfWeights(r *experiments.Record, weights []float64) {
	if saturated(weights) {
		r.Warn(saturatedWeights)
	}
	if r.Scalars["val_error"] == 0 {
		r.Warn("no validation row is judged wrong: %d rows are too few to tell good runs from better ones",
			t.data.Val.N())
	}
}

// keepSettings writes down all settings that were used, and the names of the classes.
func (t *task) keepSettings(r *experiments.Record, set *data.Dataset) {
	for name, x := range map[string]float64{
		"corrupt": t.Corrupt, "train": float64(t.Train), "val": float64(t.Val), "iters": float64(t.Iterations),
		"batch": float64(t.Batch), "reg": t.Reg, "step": t.Step, "outer_step": t.OuterStep,
	} {
		r.Scalars["settings."+name] = x
	}
	r.Texts["settings.data"], r.Texts["settings.weights"], r.Texts["settings.model"] = set.Name, Plain, "softmax"
	r.Texts["settings.algo"], r.Texts["settings.schedule"] = t.Algorithm, string(t.Schedule)
	r.Lists["settings.set"] = append([]string{}, t.Set...)
	r.NameClasses(set)
	keepVersions(r)
}

// samples are the weights by what is known of the label.
func samples(weights []float64, changed []bool) []experiments.Sample {
	if changed == nil {
		return []experiments.Sample{{Name: "all rows", Values: weights}}
	}
	s := []experiments.Sample{{Name: "label kept"}, {Name: "label changed"}}
	for i, w := range weights {
		k := 0
		if changed[i] {
			k = 1
		}
		s[k].Values = append(s[k].Values, w)
	}
	return s
}

// Report is what `bilevel clean` shows.
func (x Experiment) Report() experiments.Report {
	if x.Guided {
		return guidedReport()
	}
	lines := []experiments.Line{{Name: "validation", Column: "val_error"},
		{Name: "test, scored at the end", Column: "test_error"}}
	return experiments.Report{
		Rows: []experiments.Row{
			{Title: "test error, cleaned", Scalar: "test_error", Percent: true},
			{Title: "  trained on all rows", Scalar: "baselines.all", Percent: true},
			{Title: "  on the validation rows", Scalar: "baselines.validation", Percent: true},
			{Title: "  on the truly clean rows", Scalar: "baselines.clean", Percent: true},
			{Title: "validation error", Scalar: "val_error", Percent: true},
			{Title: "detector, area under curve", Scalar: "auc"},
			{Title: "  precision", Scalar: "precision", Percent: true},
			{Title: "  recall", Scalar: "recall", Percent: true},
			{Title: "hypergradient norm at the end", Scalar: "hypergradient.norm"},
			{Title: "  its error figure ({hypergradient.kind})", Scalar: "hypergradient.error"},
			{Title: "  share of the implicit term", Scalar: "hypergradient.implicit_share", Percent: true},
			{Title: "solver seconds", Scalar: "seconds"},
		},
		Plots: []experiments.Plot{
			{File: "error-iterations", X: "iteration", Y: "error (%)", Over: "iteration", Lines: lines,
				ScaleToPercent: true},
			{File: "error-seconds", X: "seconds", Y: "error (%)", Over: "seconds", Lines: lines, ScaleToPercent: true},
		},
		Histogram: experiments.Plot{File: "weights", X: "learned weight"},
	}
}
