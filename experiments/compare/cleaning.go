package compare

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/clean"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// cleaning is data hyper-cleaning with softmax regression, the problem of `bilevel clean --weights plain`
// (clean.Config) on a data set: half of the training labels are redrawn where nothing else is said. What is measured
// are the upper objective at the y of the time, which is a model that one would use, and its errors; y*(x) would take a
// training of its own at each point.
func cleaning(set string) Problem {
	columns := []string{"value", "val_error", "test_error"}
	return Problem{
		Name: strings.TrimSuffix(set, "-mnist") + "-clean", Data: set, Best: "value",
		measures: always("test_error", columns...),
		About:    "hyper-cleaning of the training labels of " + set + " with softmax regression",
		open: func(ex *tensor.Executor, c Config, of *data.Dataset, seed uint64) (*task, error) {
			t := &task{batch: cmp.Or(c.Batch, dataBatch), columns: columns}
			sc := ex.Scope()
			t.close = sc.Close
			if err := openCleaning(ex, sc, t, c, of, seed); err != nil {
				return nil, errors.Join(err, sc.Close())
			}
			return t, nil
		},
	}
}

func openCleaning(ex *tensor.Executor, sc *tensor.Scope, t *task, c Config, of *data.Dataset, seed uint64) error {
	known := clean.Defaults(of, 0)
	p := data.Preparation{
		Train: whole(cmp.Or(c.Train, known.Train), t.batch), Val: whole(cmp.Or(c.Val, known.Val), t.batch),
		Corrupt: cmp.Or(c.Corrupt, known.Corrupt),
	}
	d, err := data.Prepare(of, p, seed)
	if err != nil {
		return err
	}
	model := models.Softmax{Inputs: d.Train.Dim, Classes: d.Classes, NoBias: true}
	start, _ := model.Init(seed)
	var rows [3]problem.Rows
	for i, s := range []*data.Set{d.Train, d.Val, d.Test} {
		if rows[i], err = experiments.Upload(sc, s); err != nil {
			return err
		}
	}
	t.problem = clean.Plainly(model, start, rows[0], rows[1], cmp.Or(c.Reg, known.Reg))
	if err := c.sample(t.problem, t.batch); err != nil {
		return err
	}
	y := sc.Variable("measured y", tensor.Real, start.Size())
	logits := func(b problem.Batch) *tensor.Node {
		z, _ := model.Apply(y.Node(), nil, b.Get("features"), params.Eval)
		return z
	}
	metrics := []problem.Metric{
		{Name: "mistakes",
			Of: func(b problem.Batch) *tensor.Node { return models.Mistakes(logits(b), b.Get("label")) }},
		{Name: "loss",
			Of: func(b problem.Batch) *tensor.Node { return tensor.CrossEntropy(logits(b), b.Get("label")) }},
	}
	var on [3]*problem.Evaluator
	for i := 1; i < 3; i++ {
		if on[i], err = problem.NewEvaluator(ex, rows[i], 0, metrics, nil); err != nil {
			return err
		}
		sc.Own(on[i].Close)
	}
	t.measure = func(ctx context.Context, _, now []float64) ([]float64, error) {
		if err := y.Write(now); err != nil {
			return nil, err
		}
		val, err1 := on[1].Run(ctx)
		test, err2 := on[2].Run(ctx)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return []float64{val.Mean("loss"), val.Mean("mistakes"), test.Mean("mistakes")}, nil
	}
	return sc.Err()
}
