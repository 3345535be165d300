package robust

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/models/params"
	adversary "bilevel/solvers/attack"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"
)

// task is one seed's training on a device.
type task struct {
	TrainConfig
	ex       *tensor.Executor
	scope    *tensor.Scope
	data     train.Rows
	white    float64 // of the values that rows have on the device: 1 where they were divided before
	seed     uint64
	method   robust.Method
	net      network // the point that evaluations look at
	training *robust.Training
	each     int // iterations of an epoch
	attacker *adversary.Attacker
	guide    *certifier // nil: nothing is certified
}

// watched is how many training rows the course of a run is judged by, and validated how many validation rows.
const watched, validated = 256, 512

// columns of the curve.
var columns = []string{"iteration", "epoch", "seconds", "samples", "loss", "accuracy", "inside", "implicit",
	"train_clean_acc", "train_fgsm_acc", "train_pgd_acc", "val_clean_acc", "val_pgd_acc"}

// firstMeasure is the first column that says how good a model is, and not where a run stands.
const firstMeasure = 4

// columns are those of the task's curve.
func (t *task) columns() []string {
	if t.Certificate > 0 {
		return append(slices.Clone(columns), experiments.DirectionColumns...)
	}
	return columns
}

// Run does one seed.
func (Train) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	t := &task{TrainConfig: cell.Config.(TrainConfig), ex: env.Executor, scope: env.Executor.Scope(), seed: cell.Seed}
	r, err := t.run(ctx, env)
	return experiments.Ended(ctx, t.scope, cell, r, err)
}

func (t *task) run(ctx context.Context, env *experiments.Env) (*experiments.Record, error) {
	if err := t.prepare(env.Data); err != nil {
		return nil, err
	}
	n := t.each * t.Epochs
	env.Begin("train", n)
	if t.Certificate > 0 {
		var err error
		if t.guide, err = newCertifier(t); err != nil {
			return nil, err
		}
		t.scope.Own(t.guide.close)
	}
	_, log := env.Keeper.Restore(t.columns()...)
	resume, checkpoint, every := env.Keeper.Stage("train", log)
	out, err := t.training.Run(ctx, engine.Limits{
		Iterations: n, Every: t.each, Progress: env.Done, Resume: resume, Checkpoint: checkpoint,
		CheckpointEvery: every,
		Record: func(p engine.Progress) error {
			row, err := t.look(ctx, p)
			if err != nil {
				return err
			}
			log.Add(row, nil)
			t.say(env, log.Curve())
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	if err := env.Keeper.Leave("train", out, log); err != nil {
		return nil, err
	}
	r, err := t.report(ctx, env, out, log.Curve())
	if err == nil && t.From != "" {
		r.WarnOfSeenRows(env.Data)
	}
	if err == nil && env.Data.Renumbered() {
		r.NameClasses(env.Data)
	}
	return r, err
}

// prepare splits the data and compiles training and the evaluations of its course.
func (t *task) prepare(set *data.Dataset) (err error) {
	if err := checkPixels(set, t.White); err != nil {
		return err
	}
	p := data.Preparation{Train: t.Train, Val: t.Val, NoOnes: true, White: t.White}
	if t.data, err = train.Prepare(set, t.Model, t.Augment, p, t.seed); err != nil {
		return err
	}
	t.white = 1
	if models.IsNetwork(t.Model) { // rows are as they were
		t.white = t.White
	}
	if err := experiments.CheckBatch(t.Batch, t.Train); err != nil {
		return err
	}
	most := t.evaluated().N()
	for _, n := range []struct {
		name string
		rows int
	}{{"n_examples", t.Examples}, {"ensemble_examples", t.EnsembleExamples}} {
		if n.rows > most && (n.name == "n_examples" || t.Ensemble != nil) {
			return experiments.Usagef("%s is %d, and there are %d %s rows", n.name, n.rows, most, t.Evaluate)
		}
	}
	model, start, state, err := t.network()
	if err != nil {
		return err
	}
	if t.method, err = t.TrainConfig.method(); err != nil {
		return err
	}
	t.net = network{Model: model, inputs: t.data.Train.Dim, classes: t.data.Classes,
		image: imageOf(shapeOf(set)), p: t.scope.Variable("parameters", tensor.Real, start.Size())}
	if state.Size() > 0 {
		t.net.state = t.scope.Variable("state", tensor.Real, state.Size())
	}
	if err := t.compile(model, start, state); err != nil {
		return err
	}
	o := adversary.Options{Seed: t.seed}
	if models.IsNetwork(t.Model) { // whose intermediate values are most of what a run takes
		o.Batch = t.Batch
	}
	t.attacker, err = adversary.New(t.ex, t.net.attacked(), o)
	if err == nil {
		t.scope.Own(t.attacker.Close)
	}
	return err
}

// network is the model that reads pixels in [0, 1], with its start values.
func (t *task) network() (m models.Model, start, state params.Values, err error) {
	in := t.data.Inputs
	in.Normalize = in.Normalize.Over(t.white)
	if t.From != "" {
		n, err := train.ReadNetwork(t.From, train.Reading{Name: t.Model, BatchNorm: t.BatchNorm, Inputs: in,
			Classes: t.data.Classes, White: t.White, Pixels: true})
		if err == nil {
			err = n.Fits(t.From, in.Count, t.data.Classes)
		}
		t.BatchNorm = n.BatchNorm
		return n.Model, n.Params, n.State, err
	}
	if m, err = train.Architecture(t.Model, t.BatchNorm, t.Start, in, t.data.Classes); err != nil {
		return m, start, state, err
	}
	if err := train.StartFits(t.Model, m.Params().Size()); err != nil {
		return m, start, state, err
	}
	start, state = m.Init(t.seed)
	return m, start, state, nil
}

// evaluated are the rows that the end is judged by.
func (t *task) evaluated() *data.Set {
	if t.Evaluate == ValidationRows {
		return t.data.Val
	}
	return t.data.Test
}

// compile readies training.
func (t *task) compile(model models.Model, start, state params.Values) error {
	rows, err := experiments.Upload(t.scope, t.data.Train) // the names are those of package robust
	if err != nil {
		return err
	}
	t.each = t.data.Train.N() / t.Batch
	t.training, err = robust.New(t.ex, robust.Task{
		Name: "robust training", Model: model, Start: start, State: state,
		Rows: rows, Images: t.images, Sampler: problem.Epochs(t.Batch), Eps: t.Eps, Optimizer: t.optimizer(),
		Smoothing: t.LabelSmoothing, Average: t.WeightAverage,
	}, t.method, t.each*t.Epochs, t.each, t.seed)
	if err == nil {
		t.scope.Own(func() error { return t.training.Close() })
	}
	return err
}

// images are those of a minibatch, with pixels in [0, 1].
func (t *task) images(b problem.Batch) *tensor.Node {
	x := t.data.Features(b)
	if t.white != 1 {
		x = x.Scale(1 / t.white)
	}
	return x
}

// look is a row of the curve: what training measured in the epoch that ended, and how the model stands under attack.
func (t *task) look(ctx context.Context, p engine.Progress) ([]float64, error) {
	m, err := t.training.Metrics()
	if err != nil {
		return nil, err
	}
	if math.IsNaN(m.Loss) || math.IsInf(m.Loss, 0) {
		return nil, fmt.Errorf("the training loss is %g after iteration %d: use a smaller --lr", m.Loss, p.Iteration)
	}
	if err := t.show(p.Engine); err != nil {
		return nil, err
	}
	row := []float64{float64(p.Iteration), float64(p.Iteration) / float64(t.each), p.Seconds,
		float64(p.Counts.Samples), m.Loss, m.Accuracy, m.Inside, m.Implicit}
	fgsm, err := t.attack(ctx, t.data.Train, watched, oneStep)
	if err != nil {
		return nil, err
	}
	pgd, err := t.attack(ctx, t.data.Train, watched, manySteps)
	if err != nil {
		return nil, err
	}
	val, err := t.attack(ctx, t.data.Val, validated, manySteps)
	row = append(row, fgsm.clean, fgsm.robust, pgd.robust, val.clean, val.robust)
	if err != nil || t.guide == nil {
		return row, err
	}
	d := experiments.NoDirection()
	if epoch := p.Iteration / t.each; epoch > 0 && t.certifies(epoch) {
		d, err = t.guide.look(ctx)
	}
	return append(row, d...), err
}

// show makes the network that evaluations look at the one that training is at, or its averages.
func (t *task) show(e *engine.Engine) error {
	if t.WeightAverage > 0 {
		averages, err := e.Variable(robust.Averages).Read()
		if err != nil {
			return err
		}
		return t.net.write(averages[:t.net.p.Size()], averages[t.net.p.Size():])
	}
	err := t.net.p.CopyFrom(e.Variable(robust.Parameters))
	if t.net.state != nil {
		err = errors.Join(err, t.net.state.CopyFrom(e.Variable(engine.StateName)))
	}
	return err
}

// ended is the network that training ended with, or its averages.
func (t *task) ended(last *engine.Snapshot) (p, state []float64) {
	if averages := last.Arrays[robust.Averages]; t.WeightAverage > 0 {
		return averages[:t.net.p.Size()], averages[t.net.p.Size():]
	}
	return last.Arrays[robust.Parameters], last.Arrays[engine.StateName]
}

// say shows the last row of the curve beside the progress.
func (t *task) say(env *experiments.Env, c experiments.Curve) {
	last := func(name string) float64 { v := c.Column(name); return v[len(v)-1] }
	text := fmt.Sprintf("training accuracy clean %.1f %%, robust %.1f %%", 100*last("train_clean_acc"),
		100*last("train_pgd_acc"))
	if last("iteration") > 0 {
		text = fmt.Sprintf("loss %.3g, %s, inside C %.1f %%", last("loss"), text, 100*last("inside"))
	}
	if v := last("implicit"); v > 0 {
		text += fmt.Sprintf(", |implicit| / |gradient| %.2g", v)
	}
	if overfitted(c) >= 0 {
		text += ", catastrophic overfitting"
	}
	env.Say("%s", text)
}

// overfitted is the row of the curve in which catastrophic overfitting is seen first (Wong, Rice, Kolter, ICLR 2020):
// accuracy under PGD is below half its best so far, while that under FGSM is above what it was then. It
// is -1 where there is none.
func overfitted(c experiments.Curve) int {
	fgsm, pgd := c.Column("train_fgsm_acc"), c.Column("train_pgd_acc")
	best := 0
	for i, v := range pgd {
		if v < pgd[best]/2 && fgsm[i] > fgsm[best] {
			return i
		}
		if v > pgd[best] {
			best = i
		}
	}
	return -1
}
