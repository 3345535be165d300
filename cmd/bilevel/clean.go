package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments/clean"
	"bilevel/solvers"
	"bilevel/solvers/engine"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) clean() *cobra.Command {
	f := &experimentFlags{}
	var c clean.Config
	var algorithms, schedules []string
	for _, e := range solvers.Algorithms() {
		algorithms = append(algorithms, e.Name())
	}
	for _, s := range engine.Schedules() {
		schedules = append(schedules, string(s.Name))
	}
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Find and down-weight wrong labels in a training set (data hyper-cleaning)",
		Long: `clean learns a weight for every training row so that a model trained with these weights does well on a small set of
trusted validation rows. It prints how the cleaned model compares with models trained on all rows, on the validation
rows alone and (where the truth is known) on the clean rows, and writes suspects.csv: the rows most likely to carry a
wrong label, first.

A folder given as --data holds train_x.npy, train_y.npy [, val_x.npy, val_y.npy] [, test_x.npy, test_y.npy], or the four
MNIST files. Flags not given take defaults that were chosen for the data set.`,
		Example: `  bilevel clean
  bilevel clean --data mnist --corrupt 0.5 --seeds 5 --json
  bilevel clean --data ./mine --corrupt 0 --val 500`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkClean(c, cmd.Flags()); err != nil {
				return err
			}
			return a.runExperiment(cmd, f, clean.Experiment{}, func(set *data.Dataset) (any, string, error) {
				settings := clean.Defaults(set, c.Iterations)
				if err := f.overlay(cmd, &settings); err != nil {
					return nil, "", err
				}
				if !cmd.Flags().Changed("batch") {
					settings.Batch = min(settings.Batch, settings.Train) // of a few rows of one's own
				}
				title := "Hyper-cleaning " + filepath.Base(set.Name)
				if settings.Corrupt > 0 {
					title += fmt.Sprintf(", %.3g %% corrupted", 100*settings.Corrupt)
				}
				return settings, title + ", " + settings.Algorithm, nil
			})
		},
	}
	f.register(cmd, "digits | mnist | fashion-mnist | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Algorithm, "algo", "soba", strings.Join(algorithms, " | "))
	fs.Float64Var(&c.Corrupt, "corrupt", 0, "redraw each training label with this probability, to see it found")
	fs.IntVar(&c.Train, "train", 0, "training rows")
	fs.IntVar(&c.Val, "val", 0, "validation rows")
	fs.IntVar(&c.Iterations, "iters", 0, "iterations")
	fs.IntVar(&c.Batch, "batch", 0, "rows of a minibatch")
	fs.Float64Var(&c.Reg, "reg", 0, "weight of the squared norm of the model's parameters")
	fs.Float64Var(&c.Step, "step", 0, "step size of the lower level")
	fs.Float64Var(&c.OuterStep, "outer-step", 0, "step size of the upper level")
	fs.StringVar((*string)(&c.Schedule), "schedule", "", strings.Join(schedules, " | "))
	f.registerRuns(cmd)
	return cmd
}

// checkClean refuses values that can never work, before anything is opened.
func checkClean(c clean.Config, flags *pflag.FlagSet) error {
	if !(c.Corrupt >= 0 && c.Corrupt <= 1) {
		return usagef("--corrupt %g: wants a probability from 0 to 1", c.Corrupt)
	}
	if _, err := solvers.AlgorithmByName(c.Algorithm); err != nil {
		return usageError{err}
	}
	if err := c.Schedule.Check(); err != nil {
		return usageError{err}
	}
	return wantPositive(flags, "train", "val", "iters", "batch", "step", "outer-step", "reg")
}
