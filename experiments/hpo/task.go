package hpo

import (
	"context"
	"errors"
	"slices"
	"time"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// task is one seed's search on a device.
type task struct {
	Config
	ex      *tensor.Executor
	scope   *tensor.Scope
	seed    uint64
	learner Learner
	space   space
	rows    int // of the lower level
	bound   *problem.Bound
	single  *problem.Bound // the training that is left once the hyperparameters are chosen
	x, y    *tensor.Variable
	loss    *tensor.Variable // F(x,y) on all rows
	look    *tensor.Function
	test    *problem.Evaluator // at y
	course  *course

	diverged int // the iteration after which the state of an algorithm was not finite; 0: it never was
}

func (t *task) run(ctx context.Context, env *experiments.Env) (*experiments.Record, error) {
	if err := t.prepare(env.Data); err != nil {
		return nil, err
	}
	var err error
	if propose := searches[t.Method]; propose != nil {
		err = t.tryPoints(ctx, env, propose)
	} else {
		err = t.solve(ctx, env)
	}
	if err != nil {
		return nil, err
	}
	return t.report(ctx)
}

// prepare splits the data, and builds the problem and what is measured on it.
func (t *task) prepare(set *data.Dataset) (err error) {
	d, err := data.Prepare(set, data.Preparation{Train: t.Train, Val: t.Val, NoOnes: t.Search == Layers}, t.seed)
	if err != nil {
		return err
	}
	if t.learner, t.space, err = t.Config.learner(d, set.Columns, t.seed); err != nil {
		return err
	}
	start := params.Vector(t.space.start()...)
	var p *problem.Problem
	trained := d.Train
	if t.Folds > 0 {
		if trained, err = joined(d.Train, d.Val, t.Folds); err != nil {
			return err
		}
	}
	rows, err := experiments.Upload(t.scope, trained)
	if err != nil {
		return err
	}
	if t.Folds > 0 {
		all := problem.Rows{FoldName: problem.Ints(foldsOf(trained.N(), t.Folds))}
		for name, of := range rows {
			all[name] = of
		}
		p = t.learner.Folds(start, all, t.Folds)
	} else {
		val, err := experiments.Upload(t.scope, d.Val)
		if err != nil {
			return err
		}
		p = t.learner.HoldOut(start, rows, val)
	}
	t.rows, p.Upper.Set = trained.N(), t.space.bounds()
	if t.Batch > 0 {
		a, err := t.algorithm()
		if err != nil {
			return err
		}
		if err := experiments.DrawMinibatches(p, t.Batch, a.Needs().FixedBatches); err != nil {
			return err
		}
	}
	if t.bound, err = p.Bind(t.ex); err != nil {
		return err
	}
	t.scope.Own(t.bound.Close)
	if t.single, err = t.learner.HoldOut(start, rows, rows).Bind(t.ex); err != nil {
		return err
	}
	t.scope.Own(t.single.Close)
	return t.measures(d.Test)
}

// joined are the rows of two sets, but for some at the end that would make the last of so many folds larger.
func joined(a, b *data.Set, folds int) (*data.Set, error) {
	all := &data.Set{
		Features: slices.Concat(a.Features, b.Features), Labels: slices.Concat(a.Labels, b.Labels), Dim: a.Dim,
	}
	n := all.N() - all.N()%folds
	if n == 0 {
		return nil, experiments.Usagef("%d rows give no %d folds: take fewer", all.N(), folds)
	}
	all.Features, all.Labels = all.Features[:n*all.Dim], all.Labels[:n]
	return all, nil
}

// foldsOf deals n rows to k folds, piece by piece: the rows are in random order.
func foldsOf(n, k int) []int32 {
	folds := make([]int32, n)
	for i := range folds {
		folds[i] = int32(i / (n / k))
	}
	return folds
}

// measures compiles what is looked at: the upper objective on all rows, and loss and mistakes on the test rows. With
// folds those are means over the models of the folds.
func (t *task) measures(test *data.Set) error {
	sc, b := t.scope, t.bound
	t.x = sc.Variable("looked-at x", tensor.Real, b.Upper.Start.Size())
	t.y = sc.Variable("looked-at y", tensor.Real, b.Lower.Start.Size())
	t.loss = sc.Number("validation loss")
	t.look = sc.Compile("validation loss", func() []tensor.Update {
		at := b.Oracle().At(problem.Upper, t.x.Node(), t.y.Node(), b.All(problem.Upper), params.Eval, nil)
		return []tensor.Update{{Var: t.loss, Value: at.Value().Reshape()}}
	})
	rows, err := experiments.Upload(sc, test)
	if err = errors.Join(err, sc.Err()); err != nil {
		return err
	}
	t.test, err = t.score(rows, t.y)
	return err
}

// score compiles mean loss and mistakes over rows of the model, or the models, that y has.
func (t *task) score(rows problem.Rows, y *tensor.Variable) (*problem.Evaluator, error) {
	size := t.learner.Start.Size()
	mean := func(of func(y *tensor.Node, b problem.Batch) *tensor.Node) func(problem.Batch) *tensor.Node {
		return func(b problem.Batch) *tensor.Node {
			sum, n := tensor.Const(0), y.Size()/size
			for i := range n {
				sum = sum.Add(of(y.Node().Slice(0, i*size, (i+1)*size), b))
			}
			return sum.Scale(1 / float64(n))
		}
	}
	e, err := problem.NewEvaluator(t.ex, rows, 0, []problem.Metric{
		{Name: "loss", Of: mean(t.learner.Scores)}, {Name: "mistakes", Of: mean(t.learner.Mistakes)},
	}, nil)
	if err == nil {
		t.scope.Own(e.Close)
	}
	return e, err
}

// validate is the upper objective at a point.
func (t *task) validate(x, y []float64) (float64, error) {
	if err := errors.Join(t.x.Write(x), t.y.Write(y), t.look.Run(1)); err != nil {
		return 0, err
	}
	return t.loss.Number()
}

// note takes in a point that was looked at. Test rows are scored where it is the best so far, so that the course can be
// drawn; nothing is chosen by them.
func (t *task) note(ctx context.Context, p point, x []float64) error {
	best := t.course.last()
	p.val, p.test, p.mistakes = best.val, best.test, best.mistakes
	if p.loss < best.val {
		e, err := t.test.Run(ctx)
		if err != nil {
			return err
		}
		p.val, p.test, p.mistakes = p.loss, e.Mean("loss"), e.Mean("mistakes")
	}
	t.course.add(p, x)
	return nil
}

// trainer trains the lower level of a problem at given hyperparameters.
type trainer struct {
	*minimize.Minimizer
	x         *tensor.Variable
	tolerance float64
}

func (t *task) trainer(b *problem.Bound) (*trainer, error) {
	x := t.scope.Variable("trained x", tensor.Real, b.Upper.Start.Size())
	m, err := minimize.LBFGS{MaxSteps: t.Steps}.Prepare(t.ex, func(y *tensor.Node) *tensor.Node {
		at := b.Oracle().At(problem.Lower, x.Node(), y, b.All(problem.Lower), params.TrainFrozen, nil)
		return at.Value().Reshape()
	}, b.Lower.Start.Size())
	if err = errors.Join(err, t.scope.Err()); err != nil {
		return nil, err
	}
	t.scope.Own(m.Close)
	return &trainer{m, x, t.tolerance()}, nil
}

// outcome is what a training has come to.
type outcome struct {
	y       []float64
	cost    problem.Counts
	seconds float64
	status  minimize.Status
}

// train goes from y to the minimizer at x, as far as the tolerance asks.
func (m *trainer) train(ctx context.Context, x, y []float64) (out outcome, err error) {
	if err := errors.Join(m.x.Write(x), m.Y().Write(y)); err != nil {
		return out, err
	}
	begin := time.Now()
	end, err := m.RunTo(ctx, m.tolerance)
	if err != nil {
		return out, err
	}
	out.seconds, out.status = time.Since(begin).Seconds(), end.Status
	gradients := int64(end.Steps + 1)
	out.cost = problem.Counts{LowerGradients: gradients, Values: int64(end.Values) - gradients}
	out.y, err = m.Y().Read()
	return out, err
}

// report trains once more from the start with the best hyperparameters, which is what the file for `bilevel train` asks
// for: with folds, the models of the folds for the loss on their validation rows, and one model on all rows for the
// test rows. That is no part of the budget.
func (t *task) report(ctx context.Context) (*experiments.Record, error) {
	r := experiments.NewRecord()
	t.course.report(r, float64(t.Calls), t.Records)
	last, x := t.course.last(), t.course.bestX()
	r.Texts["method"] = t.Method
	if t.diverged > 0 {
		r.Warn("the run diverged after iteration %d, before the budget was spent: smaller steps are wanted", t.diverged)
	}
	r.Scalars["val_loss"], r.Scalars["test_loss"], r.Scalars["test_error"] = last.val, last.test, last.mistakes
	y, err := t.anew(ctx, r, t.bound, x)
	if err != nil {
		return nil, err
	}
	if r.Scalars["refit.val_loss"], err = t.validate(x, y); err != nil {
		return nil, err
	}
	if t.Folds > 0 {
		one, err := t.anew(ctx, r, t.single, x)
		if err != nil {
			return nil, err
		}
		if err := t.y.Write(slices.Repeat(one, t.Folds)); err != nil {
			return nil, err
		}
	}
	e, err := t.test.Run(ctx)
	if err != nil {
		return nil, err
	}
	r.Scalars["refit.test_loss"], r.Scalars["refit.test_error"] = e.Mean("loss"), e.Mean("mistakes")
	r.Tables = []experiments.Table{t.space.table(x)}
	return r, nil
}

// anew trains the lower level of a problem from its start.
func (t *task) anew(ctx context.Context, r *experiments.Record, b *problem.Bound, x []float64) ([]float64, error) {
	m, err := t.trainer(b)
	if err != nil {
		return nil, err
	}
	out, err := m.train(ctx, x, b.Lower.Start.Flat)
	if err == nil && out.status != minimize.Converged && out.status != minimize.Stagnated {
		r.Warn("training anew with the best hyperparameters ended after %d steps with a gradient above the tolerance "+
			"of %g: raise steps", t.Steps, m.tolerance)
	}
	return out.y, err
}
