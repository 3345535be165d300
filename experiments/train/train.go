// Package train is plain training of a classifier: the simplest complete use of the library, and the dense start of
// other applications.
package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Config is the settings of one run: the mean cross-entropy over training rows, standardized by the training rows, is
// minimized by minibatches that go through all rows epoch by epoch.
type Config struct {
	// Model is softmax, mlp:300-100 with the widths of its hidden layers, or a network of images such as resnet20.
	Model       string          `json:"model"`
	BatchNorm   bool            `json:"batch_norm"`
	Train       int             `json:"train"` // rows
	Val         int             `json:"val"`
	Epochs      int             `json:"epochs"`
	Batch       int             `json:"batch"`
	Optimizer   string          `json:"optimizer"` // sgd or adam
	Step        float64         `json:"step"`
	Momentum    float64         `json:"momentum"` // of sgd
	WeightDecay float64         `json:"weight_decay"`
	Schedule    engine.Schedule `json:"schedule"`
	Start       models.Start    `json:"start"` // the distribution of start values
	EMA         float64         `json:"ema"`   // factor of an average of the iterates, the model then; 0: none
	Tail        float64         `json:"tail"`  // part of the run, at its end, whose iterates are averaged; 0: none
	// Decay are the weight decays of groups of arrays, PATTERN=WEIGHT: "*.bias=0", or PATTERN:INPUT=WEIGHT for one
	// input of linear maps: "weight:3=0.01".
	Decay []string `json:"decay,omitempty"`
	// LabelSmoothing is the part of each label that is spread evenly over all classes in training.
	LabelSmoothing float64 `json:"label_smoothing,omitempty"`
	From           string  `json:"from"` // a model file to start from; empty: drawn
	// Augment changes training images at random, see CropFlip.
	Augment string `json:"augment,omitempty"`
}

// Defaults gives the settings for a set.
func Defaults(set *data.Dataset) Config {
	n := set.Train.N()
	c := Config{
		Model: "mlp:300-100", Epochs: 5, Batch: 128, Optimizer: "sgd", Step: 0.05, Momentum: 0.9, WeightDecay: 1e-4,
		Schedule: "cosine", Train: n,
	}
	if set.Val == nil {
		c.Val = n / 6
		c.Train -= c.Val
	} else {
		c.Val = set.Val.N()
	}
	if set.Test == nil {
		c.Train -= n / 6
	}
	if n < 5000 {
		c.Epochs, c.Batch = 30, 32
	}
	return c
}

// For gives the settings for a model: networks of images are trained with the steps and the weight decay that they are
// published with, and the batches that suit the set. LeNet, which has no normalizations, takes smaller steps.
func (c Config) For(model string) Config {
	if c.Model = model; models.IsNetwork(model) {
		c.Epochs, c.Step, c.WeightDecay = 20, 0.1, 5e-4
	}
	if model == "lenet" {
		c.Step = 0.02
	}
	return c
}

// Experiment trains.
type Experiment struct{}

func (Experiment) Name() string { return "train" }

func (Experiment) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("train: a configuration of type %T", config)
	}
	if _, err := c.method(); err != nil {
		return nil, err
	}
	switch {
	case c.EMA < 0 || !(c.EMA < 1):
		return nil, fmt.Errorf("ema %g: wants a factor from 0 to below 1", c.EMA)
	case c.Tail < 0 || !(c.Tail <= 1):
		return nil, fmt.Errorf("tail %g: wants a part of the run from 0 to 1", c.Tail)
	case c.LabelSmoothing < 0 || !(c.LabelSmoothing < 1):
		return nil, fmt.Errorf("label_smoothing %g: wants a part from 0 to below 1", c.LabelSmoothing)
	case !(c.Momentum >= 0 && c.Momentum < 1):
		return nil, fmt.Errorf("momentum is %g: wants a number from 0 to below 1", c.Momentum)
	case !(c.WeightDecay >= 0) || math.IsInf(c.WeightDecay, 0):
		return nil, fmt.Errorf("weight_decay is %g: wants a finite number from 0 on", c.WeightDecay)
	case c.BatchNorm && c.Batch == 1:
		return nil, errors.New("batch is 1: batch normalization wants at least 2 rows to train on")
	case c.EMA > 0 && c.Tail > 0:
		return nil, errors.New("ema and tail are two averages of the iterates; the model is one of them")
	}
	if err := CheckAugment(c.Augment); err != nil {
		return nil, err
	}
	m, err := CheckName(c.Model, c.BatchNorm, c.Start)
	if err != nil {
		return nil, err
	}
	return experiments.SeedCells("train", c, seeds), errors.Join(c.checkDecay(m.Params()), c.Schedule.Check())
}

// Shorten is experiments.Shortener's.
func (Experiment) Shorten(config any) any {
	c := config.(Config)
	c.Epochs = min(c.Epochs, 2)
	return c
}

func (c Config) method() (minimize.Method, error) {
	average := minimize.Average{EMA: c.EMA, Tail: c.Tail}
	groups, err := c.groups()
	if err != nil {
		return nil, err
	}
	switch c.Optimizer {
	case "sgd":
		return minimize.SGD{Step: c.Step, Momentum: c.Momentum, WeightDecay: c.WeightDecay, Groups: groups,
			Schedule: c.Schedule, Average: average}, nil
	case "adam":
		return minimize.Adam{Step: c.Step, WeightDecay: c.WeightDecay, Groups: groups, Schedule: c.Schedule,
			Average: average}, nil
	}
	return nil, fmt.Errorf("unknown optimizer %q (there are sgd, adam)", c.Optimizer)
}

// groups reads the weight decays of groups of arrays.
func (c Config) groups() (groups []minimize.Group, err error) {
	for _, text := range c.Decay {
		names, weight, _ := strings.Cut(text, "=")
		w, err := strconv.ParseFloat(weight, 64)
		if err != nil || names == "" || !(w >= 0) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("decay %q: wants PATTERN=WEIGHT with a weight from 0 on, such as *.bias=0", text)
		}
		g := minimize.Group{WeightDecay: w}
		var input string
		var one bool
		if g.Names, input, one = strings.Cut(names, ":"); one {
			i, err := strconv.Atoi(input)
			if err != nil || i < 0 {
				return nil, fmt.Errorf("decay %q: wants PATTERN:INPUT=WEIGHT with the number of an input, counted "+
					"from 0, such as weight:3=0.01", text)
			}
			g.Inputs = []int{i}
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// checkDecay refuses groups that no array of the model belongs to.
func (c Config) checkDecay(l params.Layout) error {
	for _, text := range c.Decay {
		names, _, _ := strings.Cut(text, "=")
		names, _, _ = strings.Cut(names, ":")
		if _, err := path.Match(names, ""); err != nil {
			return fmt.Errorf("decay %q: %q is no pattern of names: %w", text, names, err)
		}
		if !slices.ContainsFunc(l, func(a params.Array) bool { ok, _ := path.Match(names, a.Name); return ok }) {
			return fmt.Errorf("decay %q: no array of the model has such a name; there are %s", text,
				strings.Join(l.Names(), ", "))
		}
	}
	return nil
}

// checkInputs refuses groups of an input that the arrays of the model do not have, which the data decide.
func (c Config) checkInputs(l params.Layout) error {
	groups, err := c.groups()
	if err != nil {
		return err
	}
	for i, g := range groups {
		for _, a := range l {
			if ok, _ := path.Match(g.Names, a.Name); !ok || g.Inputs == nil {
				continue
			}
			n := 1
			if len(a.Shape) > 0 {
				n = a.Shape[len(a.Shape)-1]
			}
			if g.Inputs[0] >= n {
				return experiments.Usagef("decay %q: the array %s has the inputs 0 to %d", c.Decay[i], a.Name, n-1)
			}
		}
	}
	return nil
}

// averages tells whether the model is an average of the iterates.
func (c Config) averages() bool { return c.EMA > 0 || c.Tail > 0 }

// task is one seed's training on a device.
type task struct {
	Config
	ex        *tensor.Executor
	scope     *tensor.Scope
	data      Rows
	seed      uint64
	source    *data.Dataset
	model     models.Model
	bound     *problem.Bound
	y, state  *tensor.Variable // the point that the evaluators look at; state is nil without statistics
	val, test *problem.Evaluator
}

// Run does one seed.
func (Experiment) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	c := cell.Config.(Config)
	t := &task{Config: c, ex: env.Executor, scope: env.Executor.Scope(), seed: cell.Seed}
	r, err := t.run(ctx, env)
	return experiments.Ended(ctx, t.scope, cell, r, err)
}

func (t *task) run(ctx context.Context, env *experiments.Env) (*experiments.Record, error) {
	if err := t.prepare(env.Data); err != nil {
		return nil, err
	}
	method, err := t.method()
	if err != nil {
		return nil, err
	}
	each := t.data.Train.N() / t.Batch // iterations of an epoch
	n := each * t.Epochs
	e, err := minimize.New(t.bound, method, n, t.seed)
	if err != nil {
		return nil, err
	}
	t.scope.Own(func() error { return e.Close() })
	env.Begin("train", n)
	_, log := env.Keeper.Restore("iteration", "epoch", "seconds", "samples", "val_error", "val_loss")
	resume, checkpoint, every := env.Keeper.Stage("train", log)
	out, err := e.Run(ctx, engine.Limits{
		Iterations: n, Every: each, Progress: env.Done, Resume: resume, Checkpoint: checkpoint, CheckpointEvery: every,
		Record: func(p engine.Progress) error {
			v, err := t.validate(ctx, p.Engine)
			if err != nil {
				return err
			}
			if loss := v.Mean("loss"); math.IsNaN(loss) || math.IsInf(loss, 0) {
				return fmt.Errorf("the validation loss is %g after iteration %d: use a smaller --step", loss,
					p.Iteration)
			}
			env.Say("validation loss %.4g", v.Mean("loss"))
			log.Add([]float64{
				float64(p.Iteration), float64(p.Iteration) / float64(each), p.Seconds, float64(p.Counts.Samples),
				v.Mean("mistakes"), v.Mean("loss"),
			}, nil)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	if err := env.Keeper.Leave("train", out, log); err != nil {
		return nil, err
	}
	r, err := t.report(ctx, out, log)
	if err == nil && t.From != "" {
		r.WarnOfSeenRows(env.Data)
	}
	if err == nil && env.Data.Renumbered() {
		r.NameClasses(env.Data)
	}
	return r, err
}

// report scores the model that training ended with: the only place that reads the test rows.
func (t *task) report(ctx context.Context, out *engine.Outcome, log *experiments.Log) (*experiments.Record, error) {
	r := experiments.NewRecord()
	r.Curve = log.Curve()
	last := r.Curve.Rows[len(r.Curve.Rows)-1]
	r.Scalars["seconds"], r.Scalars["val_error"], r.Scalars["val_loss"] = out.Seconds, last[4], last[5]
	r.Counts["iterations"] = int64(out.Iterations)
	r.Count(out.Counts)
	y := out.Last.Arrays["y"]
	if t.averages() {
		y = out.Last.Arrays["average"]
	}
	if err := t.look(y, out.Last.Arrays[engine.StateName]); err != nil {
		return nil, err
	}
	test, err := t.test.Run(ctx)
	if err != nil {
		return nil, err
	}
	r.Scalars["test_error"], r.Scalars["test_loss"] = test.Mean("mistakes"), test.Mean("loss")
	r.Models = []experiments.Model{t.export(y, out.Last.Arrays[engine.StateName])}
	return r, nil
}

// look puts a model where the evaluators read it.
func (t *task) look(y, state []float64) error {
	err := t.y.Write(y)
	if t.state != nil {
		err = errors.Join(err, t.state.Write(state))
	}
	return err
}

// validate evaluates the current model, or the average of its parameters, on the validation rows.
func (t *task) validate(ctx context.Context, e *engine.Engine) (*problem.Evaluation, error) {
	from := "y"
	if t.averages() {
		from = "average"
	}
	err := t.y.CopyFrom(e.Variable(from))
	if t.state != nil {
		err = errors.Join(err, t.state.CopyFrom(e.Variable(engine.StateName)))
	}
	if err != nil {
		return nil, err
	}
	return t.val.Run(ctx)
}

// Report is what `bilevel train` shows.
func (Experiment) Report() experiments.Report {
	return experiments.Report{
		Rows: []experiments.Row{
			{Title: "test error", Scalar: "test_error", Percent: true},
			{Title: "  loss", Scalar: "test_loss"},
			{Title: "validation error", Scalar: "val_error", Percent: true},
			{Title: "  loss", Scalar: "val_loss"},
			{Title: "training seconds", Scalar: "seconds"},
		},
		Plots: []experiments.Plot{{
			File: "error-epochs", X: "epoch", Y: "error (%)", Over: "epoch", ScaleToPercent: true,
			Lines: []experiments.Line{{Name: "validation", Column: "val_error"}},
		}},
	}
}

// logits are the model's outputs on a batch.
func (t *task) logits(b problem.Batch, m params.Mode) *tensor.Node {
	var state *tensor.Node
	if t.state != nil {
		state = t.state.Node()
	}
	z, _ := t.model.Apply(t.y.Node(), state, b.Get("features"), m)
	return z
}
