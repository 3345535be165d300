package clean

import (
	"context"
	"errors"
	"math"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// startWeight is the start value of x: all rows begin with weight sigmoid(-2) = 0.12.
const startWeight = -2

// task is one seed's problem on a device.
type task struct {
	Config
	ex               *tensor.Executor
	scope            *tensor.Scope
	data             *data.Prepared
	seed             uint64
	model            models.Softmax
	start            params.Values
	problem          *problem.Problem
	x, y             *tensor.Variable // the point that the evaluators and the certificate look at
	train, val, test part
	log              *experiments.Log // of the solver, with y at each of its rows
	result           *solvers.Result
}

// part is labelled rows on a device, with what is measured on them at y.
type part struct {
	rows      problem.Rows
	evaluator *problem.Evaluator
}

func newTask(ex *tensor.Executor, c Config, d *data.Prepared, seed uint64) (_ *task, err error) {
	t := &task{Config: c, ex: ex, scope: ex.Scope(), data: d, seed: seed}
	t.model = models.Softmax{Inputs: d.Train.Dim, Classes: d.Classes, NoBias: true}
	t.start, _ = t.model.Init(seed)
	t.x, t.y = t.scope.Variable("x", tensor.Real, d.Train.N()), t.scope.Variable("y", tensor.Real, t.start.Size())
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	label := problem.PerRow{Name: "label", Type: tensor.Int,
		Of: func(b problem.Batch) *tensor.Node { return t.logits(t.y.Node(), b).ArgMax() }}
	for _, p := range []struct {
		part   *part
		set    *data.Set
		perRow []problem.PerRow
	}{{&t.train, d.Train, []problem.PerRow{label}}, {&t.val, d.Val, nil}, {&t.test, d.Test, nil}} {
		if p.part.rows, err = experiments.Upload(t.scope, p.set); err != nil {
			return nil, err
		}
		metrics := []problem.Metric{
			{Name: "mistakes", Of: func(b problem.Batch) *tensor.Node {
				return models.Mistakes(t.logits(t.y.Node(), b), b.Get("label"))
			}},
			{Name: "loss", Of: func(b problem.Batch) *tensor.Node { return t.losses(t.y.Node(), b) }},
		}
		if p.part.evaluator, err = problem.NewEvaluator(ex, p.part.rows, 0, metrics, p.perRow); err != nil {
			return nil, err
		}
		t.scope.Own(p.part.evaluator.Close)
	}
	t.problem = t.build()
	return t, nil
}

func (t *task) logits(y *tensor.Node, b problem.Batch) *tensor.Node {
	z, _ := t.model.Apply(y, nil, b.Get("features"), params.Train)
	return z
}

// losses is the cross-entropy of each row of a batch.
func (t *task) losses(y *tensor.Node, b problem.Batch) *tensor.Node {
	return tensor.CrossEntropy(t.logits(y, b), b.Get("label"))
}

// sampler draws minibatches: fixed ones for an algorithm that keeps a table with an entry for each.
func (c Config) sampler() problem.Sampler {
	if e, err := solvers.AlgorithmByName(c.Algorithm); err == nil && e.Zero.Needs().FixedBatches {
		return problem.Fixed(c.Batch)
	}
	return problem.WithReplacement(c.Batch)
}

func (t *task) build() *problem.Problem {
	p := Plainly(t.model, t.start, t.train.rows, t.val.rows, t.Reg)
	p.Lower.Sampler, p.Upper.Sampler = t.sampler(), t.sampler()
	return p
}

// Plainly is the problem that Config describes, for a model that starts with the given parameters, on rows with the
// names that experiments.Upload gives them. Minibatches are left to whoever takes it.
func Plainly(m models.Softmax, start params.Values, train, val problem.Rows, reg float64) *problem.Problem {
	losses := func(y problem.Vars, rows problem.Batch) *tensor.Node {
		z, _ := m.Apply(y.Flat(), nil, rows.Get("features"), params.Train)
		return tensor.CrossEntropy(z, rows.Get("label"))
	}
	return &problem.Problem{
		Name: "hyper-cleaning",
		Lower: problem.Level{
			Start: start, Rows: train,
			Value: func(x, y problem.Vars, rows problem.Batch) *tensor.Node {
				weighted := rows.Of(x.Flat()).Sigmoid().Mul(losses(y, rows))
				return weighted.Mean().Add(models.SquaredNorm(y.Flat()).Scale(reg))
			},
		},
		Upper: problem.Level{
			Start: params.Repeat(startWeight, train.Count()), Rows: val,
			Value: func(_, y problem.Vars, rows problem.Batch) *tensor.Node { return losses(y, rows).Mean() },
		},
		Mu: 2 * reg, WeightPerRow: true,
	}
}

// logitsAtOnce bounds the logits that the certificate and the baselines hold at a time; more rows than that go in
// pieces.
const logitsAtOnce = 1 << 21

// certify computes the hypergradient at the end, on all rows, with its error.
func (t *task) certify(ctx context.Context, env *experiments.Env, r *experiments.Record) (err error) {
	env.Begin("certificate", 1)
	b, err := t.problem.Bind(t.ex)
	if err != nil {
		return err
	}
	e, err := certifier(t.data.Classes).Prepare(b, t.x, t.y)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	h, err := e.Compute(ctx)
	if err == nil {
		r.Certify(h, "a larger --reg makes its linear system easier")
		env.Done(1)
	}
	return errors.Join(err, e.Close(), b.Close())
}

// evaluate looks at the rows of a part with parameters y.
func (t *task) evaluate(ctx context.Context, p part, y []float64) (*problem.Evaluation, error) {
	if err := t.y.Write(y); err != nil {
		return nil, err
	}
	return p.evaluator.Run(ctx)
}

// baseline is how far the models without weights are trained: to the point where float32 cannot go on.
var baseline = minimize.Newton{Tol: 1e-5, MaxSteps: 50, Forcing: 0.05, CGSteps: 200}

// baselines trains on all rows, on the clean ones, and on the validation rows, with the same regularization.
func (t *task) baselines(ctx context.Context, env *experiments.Env, r *experiments.Record) error {
	env.Begin("baselines", 3)
	converged := true
	for i, b := range []struct {
		name string
		rows func() (*data.Set, error)
	}{
		{"all", func() (*data.Set, error) { return t.data.Train, nil }},
		{"clean", func() (*data.Set, error) { return t.data.Train.Rows(t.data.Kept()) }},
		{"validation", func() (*data.Set, error) { return t.data.Val, nil }},
	} {
		rows, err := b.rows()
		if err != nil {
			return err
		}
		name := "baselines." + b.name
		if r.Scalars[name] = math.NaN(); rows.N() > 0 {
			var good bool
			if r.Scalars[name], good, err = t.trained(ctx, rows); err != nil {
				return err
			}
			converged = converged && good
		}
		env.Done(i + 1)
	}
	if r.Flags["baselines.converged"] = converged; !converged {
		r.Warn("a model to compare with was not trained to convergence: a larger --reg makes that easier")
	}
	return nil
}

// trained is the test error of the minimizer of the unweighted mean over rows plus Reg |y|², and whether its training
// ended at one.
func (t *task) trained(ctx context.Context, rows *data.Set) (testError float64, good bool, err error) {
	sc := t.ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	on, err := experiments.Upload(sc, rows)
	if err != nil {
		return 0, false, err
	}
	only := problem.Problem{Name: "baseline", Upper: t.problem.Upper,
		Lower: problem.Level{Start: t.start, Rows: on, Value: t.problem.Lower.Value}}
	b, err := only.Bind(t.ex)
	if err != nil {
		return 0, false, err
	}
	sc.Own(b.Close)
	m, err := baseline.PrepareRows(minimize.RowsObjective{
		Bound: b, Rows: max(64, logitsAtOnce/t.data.Classes),
		Value: func(y *tensor.Node, rows problem.Batch) *tensor.Node {
			return t.losses(y, rows).Mean().Add(models.SquaredNorm(y).Scale(t.Reg))
		},
	})
	if err != nil {
		return 0, false, err
	}
	sc.Own(m.Close)
	if err := m.Y().Write(t.start.Flat); err != nil {
		return 0, false, err
	}
	end, err := m.Run(ctx)
	if err != nil {
		return 0, false, err
	}
	y, err := m.Y().Read()
	if err != nil {
		return 0, false, err
	}
	test, err := t.evaluate(ctx, t.test, y)
	if err != nil {
		return 0, false, err
	}
	return test.Mean("mistakes"), end.Status.Good(), nil
}

func (t *task) close() error { return t.scope.Close() }
