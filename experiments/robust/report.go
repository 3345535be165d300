package robust

import (
	"context"
	"fmt"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	adversary "bilevel/solvers/attack"
	"bilevel/solvers/engine"
)

// report evaluates the model that training ended with on validation and test rows: the only place that reads the
// latter.
func (t *task) report(ctx context.Context, env *experiments.Env, out *engine.Outcome, c experiments.Curve) (
	*experiments.Record, error) {
	parameters, state := t.ended(out.Last)
	if err := t.net.write(parameters, state); err != nil {
		return nil, err
	}
	r := experiments.NewRecord()
	r.Curve = c
	r.Counts["iterations"] = int64(out.Iterations)
	r.Count(out.Counts)
	r.Scalars["seconds"], r.Scalars["epoch_seconds"] = out.Seconds, out.Seconds/float64(t.Epochs)
	for _, name := range columns[firstMeasure:] {
		v := c.Column(name)
		r.Scalars[name] = v[len(v)-1]
	}
	if t.Certificate > 0 {
		r.Directions(c.Directions())
	}
	if err := t.evaluate(ctx, env, r); err != nil {
		return nil, err
	}
	if at := overfitted(c); at >= 0 {
		r.Warn("catastrophic overfitting in epoch %.0f: on training rows the accuracy under FGSM rose to %.1f %%, and "+
			"that under PGD fell to %.1f %%: take a smaller step of the attack or more noise, or a method that guards "+
			"against it (grad-align, n-fgsm, pgd, fast-bat-official)", c.Column("epoch")[at],
			100*c.Column("train_fgsm_acc")[at], 100*c.Column("train_pgd_acc")[at])
	}
	r.Models = []experiments.Model{train.File{Architecture: t.Model, BatchNorm: t.BatchNorm, Model: t.net.Model,
		Data: t.scaled(), Source: env.Data}.Of(parameters, state)}
	return r, nil
}

// scaled is the data with the scaling that the model's file tells of: its first layer, in the data's values.
func (t *task) scaled() *data.Prepared {
	p := *t.data.Prepared
	if n, ok := t.net.Model.(models.Network); ok {
		values := n.Normalization().Over(1 / t.white)
		p.Scaler = &data.Scaler{Mean: values.Mean, Deviation: values.Deviation}
	}
	return &p
}

// evaluate attacks the rows that the end is judged by. Test rows are read here alone, and once. What it finds on
// validation rows has keys of its own.
func (t *task) evaluate(ctx context.Context, env *experiments.Env, r *experiments.Record) error {
	prefix := ""
	if t.Evaluate == ValidationRows {
		prefix = "val_"
	}
	env.Begin("evaluate", 1)
	strong := adversary.PGD{Steps: t.AttackSteps, Restarts: t.Restarts, Step: 0.25}
	a, err := t.attack(ctx, t.evaluated(), t.Examples, strong)
	if err != nil {
		return err
	}
	env.Done(1)
	r.Warnings = append(r.Warnings, a.warnings...)
	r.Scalars[prefix+"clean_acc"], r.Scalars[prefix+"clean_acc_std"] = a.clean, a.cleanError
	r.Scalars[prefix+"robust_acc"], r.Scalars[prefix+"robust_acc_std"] = a.robust, a.robustError
	r.Counts["n_examples"] = int64(t.Examples)
	r.Texts["threat_model"], r.Texts["method"] = "Linf", t.Method
	r.Texts["evaluation"] = fmt.Sprintf("%s: clean accuracy %.1f %% ± %.1f, robust accuracy %.1f %% ± %.1f (one "+
		"standard deviation of %d %s rows; l_inf %g, PGD of %d steps with %d restarts)", t.Method, 100*a.clean,
		100*a.cleanError, 100*a.robust, 100*a.robustError, t.Examples, t.Evaluate, t.Eps, t.AttackSteps, t.Restarts)
	attacks, err := t.ensemble()
	if err != nil || attacks == nil {
		return err
	}
	env.Begin("evaluate by "+strings.Join(t.Ensemble, ", "), 1)
	if a, err = t.attack(ctx, t.evaluated(), t.EnsembleExamples, attacks...); err != nil {
		return err
	}
	env.Done(1)
	r.Warnings = append(r.Warnings, a.warnings...)
	r.Scalars[prefix+"ensemble_acc"], r.Scalars[prefix+"ensemble_acc_std"] = a.robust, a.robustError
	r.Counts["ensemble_examples"] = int64(t.EnsembleExamples)
	r.Texts["evaluation"] += fmt.Sprintf("; %.1f %% ± %.1f of the first %d withstand %s", 100*a.robust,
		100*a.robustError, t.EnsembleExamples, strings.Join(t.Ensemble, ", "))
	return nil
}

// Report is what `bilevel robust train` shows.
func (Train) Report() experiments.Report {
	return experiments.Report{
		After: []string{"evaluation"},
		Rows: []experiments.Row{
			{Title: "clean accuracy", Scalar: "clean_acc", Percent: true},
			{Title: "robust accuracy", Scalar: "robust_acc", Percent: true},
			{Title: "  under the ensemble of attacks", Scalar: "ensemble_acc", Percent: true},
			{Title: "  on validation rows, clean", Scalar: "val_clean_acc", Percent: true},
			{Title: "  on validation rows, PGD-10", Scalar: "val_pgd_acc", Percent: true},
			{Title: "  on validation rows, all attacks", Scalar: "val_robust_acc", Percent: true},
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
