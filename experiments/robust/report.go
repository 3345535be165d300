package robust

import (
	"context"
	"errors"
	"fmt"

	"bilevel/experiments"
	"bilevel/experiments/train"
	adversary "bilevel/solvers/attack"
	"bilevel/solvers/engine"
	"bilevel/solvers/robust"
)

// report evaluates the model that training ended with on validation and test rows: the only place that reads the
// latter.
func (t *task) report(ctx context.Context, env *experiments.Env, out *engine.Outcome, c experiments.Curve) (
	*experiments.Record, error) {
	err := t.net.p.Write(out.Last.Arrays[robust.Parameters])
	if t.net.state != nil {
		err = errors.Join(err, t.net.state.Write(out.Last.Arrays[engine.StateName]))
	}
	if err != nil {
		return nil, err
	}
	r := experiments.NewRecord()
	r.Curve = c
	r.Counts["iterations"] = int64(out.Iterations)
	r.Count(out.Counts)
	r.Scalars["seconds"] = out.Seconds
	for _, name := range columns[firstMeasure:] {
		v := c.Column(name)
		r.Scalars[name] = v[len(v)-1]
	}
	env.Begin("evaluate", 1)
	strong := adversary.PGD{Steps: t.AttackSteps, Restarts: t.Restarts, Step: 0.25}
	a, err := t.attack(ctx, t.data.Test, t.Examples, strong)
	if err != nil {
		return nil, err
	}
	env.Done(1)
	r.Warnings = append(r.Warnings, a.warnings...)
	r.Scalars["clean_acc"], r.Scalars["robust_acc"] = a.clean, a.robust
	r.Scalars["clean_acc_std"], r.Scalars["robust_acc_std"] = a.cleanError, a.robustError
	r.Counts["n_examples"] = int64(t.Examples)
	r.Texts["threat_model"], r.Texts["method"] = "Linf", t.Method
	r.Texts["evaluation"] = fmt.Sprintf("%s: clean accuracy %.1f %% ± %.1f, robust accuracy %.1f %% ± %.1f (one "+
		"standard deviation of %d test rows; l_inf %g, PGD of %d steps with %d restarts)", t.Method, 100*a.clean,
		100*r.Scalars["clean_acc_std"], 100*a.robust, 100*r.Scalars["robust_acc_std"], t.Examples, t.Eps, t.AttackSteps,
		t.Restarts)
	if at := overfitted(c); at >= 0 {
		r.Warn("catastrophic overfitting in epoch %.0f: on training rows the accuracy under FGSM rose to %.1f %%, and "+
			"that under PGD fell to %.1f %%: take a smaller step of the attack or more noise, or a method that guards "+
			"against it (grad-align, n-fgsm, pgd, fast-bat-official)", c.Column("epoch")[at],
			100*c.Column("train_fgsm_acc")[at], 100*c.Column("train_pgd_acc")[at])
	}
	r.Models = []experiments.Model{train.File{Architecture: t.Model, BatchNorm: t.BatchNorm, Model: t.net.Model,
		Data: t.data, Names: env.Data.ClassNames, Columns: env.Data.Columns}.Of(out.Last.Arrays[robust.Parameters],
		out.Last.Arrays[engine.StateName])}
	return r, nil
}

// Report is what `bilevel robust train` shows.
func (Train) Report() experiments.Report {
	return experiments.Report{
		After: []string{"evaluation"},
		Rows: []experiments.Row{
			{Title: "clean accuracy", Scalar: "clean_acc", Percent: true},
			{Title: "robust accuracy", Scalar: "robust_acc", Percent: true},
			{Title: "  on validation rows, clean", Scalar: "val_clean_acc", Percent: true},
			{Title: "  on validation rows, PGD-10", Scalar: "val_pgd_acc", Percent: true},
			{Title: "  on training rows, FGSM", Scalar: "train_fgsm_acc", Percent: true},
			{Title: "  on training rows, PGD-10", Scalar: "train_pgd_acc", Percent: true},
			{Title: "share of coordinates inside C", Scalar: "inside", Percent: true},
			{Title: "|implicit term| / |gradient|", Scalar: "implicit"},
			{Title: "training seconds", Scalar: "seconds"},
		},
		Plots: []experiments.Plot{{
			File: "accuracy-epochs", X: "epoch", Y: "accuracy (%)", Over: "epoch", ScaleToPercent: true,
			Lines: []experiments.Line{{Name: "training, clean", Column: "train_clean_acc"},
				{Name: "training, FGSM", Column: "train_fgsm_acc"}, {Name: "training, PGD", Column: "train_pgd_acc"},
				{Name: "validation, PGD", Column: "val_pgd_acc"}},
		}},
	}
}
