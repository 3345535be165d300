// Package hpo searches the hyperparameters of a training on validation rows: by a bi-level algorithm, whose step is a
// hypergradient, or by looking at losses alone (grid, random, TPE), at equal budgets of oracle calls.
package hpo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/nearest"
	"bilevel/models"
	"bilevel/solvers"
	"bilevel/tensor"
)

// Config is one search.
type Config struct {
	Search string `json:"search"` // one of Searches
	Folds  int    `json:"folds"`  // of cross-validation; 0: one part of the rows is held out
	Model  string `json:"model"`  // of the search of layers: mlp:WIDTHS; empty: mlp:32
	// Method is grid, random, tpe, or the name of a bi-level algorithm.
	Method string   `json:"method"`
	Set    []string `json:"set,omitempty"` // NAME=VALUE of the algorithm's own settings, see solvers.Set
	// Calls is the budget in oracle calls of which each sees all rows of its level; a minibatch is a part of one.
	Calls int64 `json:"calls"`
	// Tolerance is the norm of the gradient that a trial is trained to, by L-BFGS in at most Steps steps. 0: 1e-4 in
	// the search of features, 1e-2 in that of layers.
	Tolerance float64 `json:"tolerance"`
	Steps     int     `json:"steps"`
	Batch     int     `json:"batch"` // rows of a minibatch of the bi-level algorithm; 0: all rows
	Train     int     `json:"train"` // rows of the lower level
	Val       int     `json:"val"`   // rows of the upper level
	Records   int     `json:"records"`
}

// Defaults gives the settings for a set.
func Defaults(set *data.Dataset) Config {
	of := train.Defaults(set)
	c := Config{
		Search: Features, Method: "hoag", Calls: 3000, Steps: 1000, Train: of.Train, Val: of.Val,
		Records: 50,
	}
	if set.Classes != 2 {
		c.Search = Layers
	}
	return c
}

// model is the perceptron of the search of layers.
func (c Config) model() string { return cmp.Or(c.Model, "mlp:32") }

// Experiment searches.
type Experiment struct{}

func (Experiment) Name() string { return "hpo" }

// Cells are one for each seed. Its error names the setting that can never work.
func (Experiment) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("hpo: a configuration of type %T", config)
	}
	return experiments.SeedCells("hpo", c, seeds), c.check()
}

// Methods lists the names that a method may have: searches that look at losses alone, and algorithms.
func Methods() []string {
	names := BlackBox()
	for _, e := range solvers.Algorithms() {
		names = append(names, e.Name())
	}
	return names
}

func (c Config) check() error {
	if !slices.Contains(Searches(), c.Search) {
		return fmt.Errorf("search is %q: wants one of %s%s", c.Search, strings.Join(Searches(), ", "),
			nearest.Hint(c.Search, Searches()))
	}
	if c.Search == Features && c.Model != "" {
		return fmt.Errorf("model is %q: the search %s is for logistic regression; leave the model out, or take "+
			"the search %s", c.Model, Features, Layers)
	}
	if c.Search == Layers && !strings.HasPrefix(c.model(), "mlp:") {
		return fmt.Errorf("model is %q: the search %s wants a perceptron, such as mlp:32", c.Model, Layers)
	}
	if c.Search == Layers {
		if _, err := train.CheckName(c.model(), false, ""); err != nil {
			return err
		}
	}
	if !slices.Contains(Methods(), c.Method) {
		return fmt.Errorf("method is %q: wants one of %s, or a bi-level algorithm%s", c.Method,
			strings.Join(BlackBox(), ", "), nearest.Hint(c.Method, Methods()))
	}
	switch {
	case c.Folds < 0 || c.Folds == 1 || c.Folds > mostFolds:
		return fmt.Errorf("folds is %d: wants 2 to %d, or 0 for one part of the rows that is held out", c.Folds,
			mostFolds)
	case c.Calls < 1 || c.Calls > math.MaxInt32 || c.Steps < 1 || c.Records < 1 || c.Records > math.MaxInt32:
		return fmt.Errorf("calls is %d, steps %d and records %d: wants at least 1 of each, and at most %d", c.Calls,
			c.Steps, c.Records, math.MaxInt32)
	case !(c.Tolerance >= 0) || math.IsInf(c.Tolerance, 0):
		return fmt.Errorf("tolerance is %g: wants a positive, finite number, or 0 for what suits the search",
			c.Tolerance)
	case c.Batch < 0:
		return fmt.Errorf("batch is %d: wants the rows of a minibatch, or 0 for all rows", c.Batch)
	}
	if searches[c.Method] != nil {
		if len(c.Set) > 0 || c.Batch > 0 {
			return fmt.Errorf("set and batch are settings of a bi-level algorithm, and %s has none: leave them out",
				c.Method)
		}
		return nil
	}
	_, err := c.algorithm()
	return err
}

// mostFolds bounds the models that are trained side by side.
const mostFolds = 100

// algorithm is the bi-level algorithm with its settings. HOAG finds its steps on the way and begins with ten times the
// tolerance of trials, unless told otherwise.
func (c Config) algorithm() (solvers.Algorithm, error) {
	entry, err := solvers.AlgorithmByName(c.Method)
	if err != nil {
		return nil, err
	}
	a := entry.Zero
	if h, ok := a.(solvers.HOAG); ok {
		h.Adaptive, h.Tolerance = true, 10*c.tolerance()
		a = h
	}
	return solvers.Set(a, c.Set...)
}

// Run does one cell.
func (Experiment) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (*experiments.Record, error) {
	c := cell.Config.(Config)
	t := &task{Config: c, ex: env.Executor, scope: env.Executor.Scope(), seed: cell.Seed}
	r, err := t.run(ctx, env)
	return experiments.Ended(ctx, t.scope, cell, r, err)
}

// Check refuses a search that can never run: settings that do not go with the data, or an algorithm that the problem
// refuses. It compiles the run on ex, whose device need not compute anything.
func (Experiment) Check(ctx context.Context, ex *tensor.Executor, set *data.Dataset, config any) error {
	c := config.(Config)
	if err := c.check(); err != nil {
		return err
	}
	t := &task{Config: c, ex: ex, scope: ex.Scope(), seed: 1}
	err := t.prepare(set)
	if err == nil && searches[c.Method] == nil {
		_, _, err = t.compile(ctx, solvers.WithSteps)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, t.scope.Close())
}

func (c Config) tolerance() float64 {
	if c.Search == Layers {
		return cmp.Or(c.Tolerance, 1e-2)
	}
	return cmp.Or(c.Tolerance, 1e-4)
}

// Report is what a table shows of the records.
func (Experiment) Report() experiments.Report {
	return experiments.Report{Rows: []experiments.Row{
		{Title: "test loss", Scalar: "test_loss"},
		{Title: "test error", Scalar: "test_error", Percent: true},
		{Title: "validation loss", Scalar: "val_loss"},
		{Title: "validation loss, trained anew", Scalar: "refit.val_loss"},
		{Title: "test loss, trained anew", Scalar: "refit.test_loss"},
		{Title: "test error, trained anew", Scalar: "refit.test_error", Percent: true},
		{Title: "points looked at", Scalar: "points", Whole: true},
		{Title: "seconds", Scalar: "seconds"},
	}}
}

// learner makes the model and the space of its hyperparameters for rows of data.
func (c Config) learner(p *data.Prepared, columns []string, seed uint64) (Learner, space, error) {
	if c.Search == Features {
		if p.Classes != 2 {
			return Learner{}, nil, experiments.Usagef("the search %s is for two classes, and the data have %d: take "+
				"--search %s", Features, p.Classes, Layers)
		}
		start, _ := models.Logistic{Inputs: p.Train.Dim, NoBias: true}.Init(seed)
		features := p.Train.Dim - 1 // the last one is 1
		return Logistic(start, features), featureSpace(features, columns), nil
	}
	m, err := train.Architecture(c.model(), false, "", train.Inputs{Count: p.Train.Dim}, p.Classes)
	if err != nil {
		return Learner{}, nil, err
	}
	start, _ := m.Init(seed)
	return Perceptron(m.(models.MLP), start), layerSpace(m.Params()), nil
}
