package prune

import (
	"context"
	"errors"
	"fmt"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/tensor"
)

// task is one seed's run.
type task struct {
	Config
	method
	ex        *tensor.Executor
	scope     *tensor.Scope
	env       *experiments.Env
	seed      uint64
	parts     [3]*data.Set // training, validation, test
	rows      train.Rows   // the same, and how the model reads them
	scaler    *data.Scaler // of a perceptron's inputs, or of the channels that a network of images normalizes
	model     models.Model
	prune     prune.Task
	kept      prune.Kept
	start     [2]params.Values // parameters and state, drawn
	val, test *problem.Evaluator
	x, y, s   *tensor.Variable // what the evaluators look at: mask, weights, and state or nil
	log       *experiments.Log
	record    *experiments.Record

	// Where the run stands.
	theta, mask, marks, state []float64
	rewound                   [2][]float64 // weights and state that rounds go back to
	filled                    []float64    // 1 for layers that lost everything and got an element back
	solves                    prune.Solves
	term                      prune.Term
	spent                     [parts]spent
	counts                    problem.Counts
	iterations                int
}

// Run does one seed.
func (Experiment) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	c, m, err := cell.Config.(Config).settled()
	if err != nil {
		return nil, err
	}
	t := &task{Config: c, method: m, ex: env.Executor, scope: env.Executor.Scope(), env: env, seed: cell.Seed,
		record: experiments.NewRecord()}
	err = t.run(ctx)
	return experiments.Ended(ctx, t.scope, cell, t.record, err)
}

func (t *task) run(ctx context.Context) error {
	if err := t.prepare(); err != nil {
		return err
	}
	stage, log := t.env.Keeper.Restore("iteration", "epoch", "seconds", "val_error", "val_loss")
	t.log = log
	steps := t.method.steps(t)
	names := map[string]bool{}
	for _, s := range steps {
		names[s.name] = s.name != ""
	}
	common, done := t.beginnings(steps), 0
	if !names[stage] {
		var err error
		if done, err = t.takeShared(common); err != nil {
			return err
		}
	}
	for i, s := range steps {
		if i < done || names[stage] && s.name != stage { // done by another cell, or before the checkpoint
			continue
		}
		stage = ""
		if err := s.run(ctx, t); err != nil {
			return err
		}
		if common[i] != nil {
			if err := t.share(common[i]); err != nil {
				return err
			}
		}
	}
	return t.report(ctx)
}

// prepare splits and standardizes the data, and builds the task and its evaluators.
func (t *task) prepare() (err error) {
	set := t.env.Data
	if err := t.open(train.InputsOf(set)); err != nil {
		return err
	}
	if err := t.split(set); err != nil {
		return err
	}
	if err := experiments.CheckBatch(t.Batch, t.parts[0].N()); err != nil {
		return err
	}
	if t.From == "" {
		t.model, err = train.Architecture(t.Model, t.BatchNorm, t.Start, t.rows.Inputs, set.Classes)
		if err != nil {
			return err
		}
		if err := train.StartFits(t.Model, t.model.Params().Size()); err != nil {
			return err
		}
		t.start[0], t.start[1] = t.model.Init(t.seed)
	}
	if err := t.structure(); err != nil {
		return err
	}
	if t.kept, err = t.prune.Structure.Keep(t.Keep, t.Scope); err != nil {
		return err
	}
	if empty := t.prune.Structure.Emptied(t.Keep); t.Scope == prune.Layer && empty != nil {
		if t.Strict {
			return fmt.Errorf("the layers %v would lose all their elements: keep more", empty)
		}
		t.record.Warn("the layers %v would have lost all their elements; each keeps one", empty)
	}
	t.prune.Name, t.prune.State = "pruning", t.start[1]
	t.theta, t.state, t.mask = t.start[0].Flat, t.start[1].Flat, t.prune.Ones()
	t.marks = make([]float64, t.prune.Structure.Scores.Size())
	for i := range t.marks {
		t.marks[i] = 1
	}
	t.filled = make([]float64, len(t.prune.Structure.Ranked))
	t.x, t.y = t.scope.Variable("mask", tensor.Real, len(t.mask)), t.scope.Variable("theta", tensor.Real, len(t.mask))
	if len(t.state) > 0 {
		t.s = t.scope.Variable("state", tensor.Real, len(t.state))
	}
	rows, err := experiments.Upload(t.scope, t.parts[0])
	if err != nil {
		return err
	}
	// Each level has a sampler of its own, which keeps the order of its epoch.
	t.prune.Lower = prune.Level{Rows: rows, Sampler: problem.Epochs(t.Batch), Loss: t.loss(nil)}
	t.prune.Upper = prune.Level{Rows: rows, Sampler: problem.Epochs(t.Batch), Loss: t.loss(nil)}
	if t.LowerLoss == Adversarial || t.UpperLoss == Adversarial {
		b, err := t.ball()
		if err != nil {
			return err
		}
		if t.LowerLoss == Adversarial {
			t.prune.Lower.Loss = t.loss(b)
		}
		if t.UpperLoss == Adversarial {
			t.prune.Upper.Loss = t.loss(b)
		}
	}
	for i, to := range []**problem.Evaluator{&t.val, &t.test} {
		rows, err := experiments.Upload(t.scope, t.parts[i+1])
		if err != nil {
			return err
		}
		metrics := []problem.Metric{
			{Name: "mistakes", Of: func(b problem.Batch) *tensor.Node {
				return models.Mistakes(t.logits(b), b.Get("label"))
			}},
			{Name: "loss", Of: func(b problem.Batch) *tensor.Node {
				return tensor.CrossEntropy(t.logits(b), b.Get("label"))
			}},
		}
		if *to, err = problem.NewEvaluator(t.ex, rows, 0, metrics, nil); err != nil {
			return err
		}
		t.scope.Own((*to).Close)
	}
	return nil
}

// logits are the outputs of the network that the evaluators look at.
func (t *task) logits(b problem.Batch) *tensor.Node {
	var state *tensor.Node
	if t.s != nil {
		state = t.s.Node()
	}
	z, _ := t.model.Apply(t.x.Node().Mul(t.y.Node()), state, b.Get("features"), params.Eval)
	return z
}

// look puts the network where the evaluators read it.
func (t *task) look() error {
	err := errors.Join(t.x.Write(t.mask), t.y.Write(t.theta))
	if t.s != nil {
		err = errors.Join(err, t.s.Write(t.state))
	}
	return err
}

// lookAt is look for the network that an engine is at work on.
func (t *task) lookAt(e *engine.Engine) error {
	err := errors.Join(t.x.CopyFrom(e.Variable("x")), t.y.CopyFrom(e.Variable("y")))
	if t.s != nil {
		err = errors.Join(err, t.s.CopyFrom(e.Variable(engine.StateName)))
	}
	return err
}

// epoch is the number of iterations in which the training rows pass once.
func (t *task) epoch() int { return t.parts[0].N() / t.Batch }
