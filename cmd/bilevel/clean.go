package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"

	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// cleanFlags are the flags of `bilevel clean`. Those not given take the defaults of the data set.
type cleanFlags struct {
	common
	algo            string
	corrupt         float64
	train, val      int
	iters, batch    int
	reg             float64
	step, outerStep float64
	schedule        string
	seeds           int
}

func (a *app) clean() *cobra.Command {
	f := &cleanFlags{}
	var algorithms, schedules []string
	for _, e := range solvers.Algorithms() {
		algorithms = append(algorithms, e.Name)
	}
	for _, s := range solvers.Schedules() {
		schedules = append(schedules, s.Name)
	}
	c := &cobra.Command{
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
		RunE: func(c *cobra.Command, _ []string) error { return a.runClean(c, f) },
	}
	f.register(c, "digits | mnist | fashion-mnist | DIR")
	fs := c.Flags()
	fs.StringVar(&f.algo, "algo", "soba", strings.Join(algorithms, " | "))
	fs.Float64Var(&f.corrupt, "corrupt", 0, "redraw each training label with this probability, to see it found")
	fs.IntVar(&f.train, "train", 0, "training rows")
	fs.IntVar(&f.val, "val", 0, "validation rows")
	fs.IntVar(&f.iters, "iters", 0, "iterations")
	fs.IntVar(&f.batch, "batch", 0, "rows of a minibatch")
	fs.Float64Var(&f.reg, "reg", 0, "weight of the squared norm of the model's parameters")
	fs.Float64Var(&f.step, "step", 0, "step size of the lower level")
	fs.Float64Var(&f.outerStep, "outer-step", 0, "step size of the upper level")
	fs.StringVar(&f.schedule, "schedule", "", strings.Join(schedules, " | "))
	fs.IntVar(&f.seeds, "seeds", 1, "number of seeds to run: --seed, --seed + 1, …")
	return c
}

// check refuses values that can never work, before anything is opened.
func (f *cleanFlags) check(given func(string) bool) error {
	for _, n := range []struct {
		name  string
		value int
	}{{"train", f.train}, {"val", f.val}, {"iters", f.iters}, {"batch", f.batch}, {"seeds", f.seeds}} {
		if given(n.name) && (n.value < 1 || n.value > math.MaxInt32) { // rows and iterations are numbered by int32
			return usagef("--%s %d: wants 1 to %d", n.name, n.value, math.MaxInt32)
		}
	}
	for _, n := range []struct {
		name  string
		value float64
	}{{"step", f.step}, {"outer-step", f.outerStep}, {"reg", f.reg}} {
		if given(n.name) && (!(n.value > 0) || math.IsInf(n.value, 0)) {
			return usagef("--%s %g: wants a positive number", n.name, n.value)
		}
	}
	if last := f.seed + uint64(f.seeds-1); last < f.seed {
		return usagef("--seed %d --seeds %d: the last seed would be above %d", f.seed, f.seeds, uint64(math.MaxUint64))
	}
	if !(f.corrupt >= 0 && f.corrupt <= 1) {
		return usagef("--corrupt %g: wants a probability from 0 to 1", f.corrupt)
	}
	return nil
}

func (a *app) runClean(c *cobra.Command, f *cleanFlags) error {
	given := c.Flags().Changed
	if err := f.check(given); err != nil {
		return err
	}
	algorithm, err := solvers.AlgorithmByName(f.algo)
	if err != nil {
		return usageError{err}
	}
	if given("schedule") {
		if _, err := solvers.ScheduleByName(f.schedule); err != nil {
			return usageError{err}
		}
	}
	if f.out == "" {
		f.out = resultsFolder("clean", f.data)
	}
	if err := checkWritable(f.out); err != nil {
		return err
	}
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	defer dev.Close()
	set, err := a.openData(&f.common)
	if err != nil {
		return err
	}
	d := experiments.DefaultsForClean(set, f.iters)
	override(given, "corrupt", &d.Corrupt, f.corrupt)
	override(given, "train", &d.Train, f.train)
	override(given, "val", &d.Val, f.val)
	override(given, "batch", &d.Batch, f.batch)
	override(given, "reg", &d.Reg, f.reg)
	override(given, "step", &d.Step, f.step)
	override(given, "outer-step", &d.OuterStep, f.outerStep)
	override(given, "schedule", &d.Schedule, f.schedule)
	if !given("batch") {
		d.Batch = min(d.Batch, d.Train) // of a few rows of one's own
	}
	schedule, err := solvers.ScheduleByName(d.Schedule)
	if err != nil {
		return usageError{err}
	}
	experiment := experiments.Clean{
		Corrupt: d.Corrupt, Train: d.Train, Val: d.Val, Algorithm: algorithm, Schedule: schedule,
		Step: d.Step, OuterStep: d.OuterStep, Reg: d.Reg, Iterations: d.Iterations, Batch: d.Batch,
	}
	progress := newProgress(a.stderr, f.quiet)
	var runs []*experiments.CleanRun
	for i := range f.seeds {
		seed := f.seed + uint64(i)
		progress.seed(i, f.seeds, seed)
		ex := tensor.NewExecutor(dev)
		run, err := experiment.Run(c.Context(), ex, set, seed, experiments.CleanEvents{Stage: progress.stage, Progress: progress.set})
		progress.end()
		if e := ex.Close(); err == nil {
			err = e
		}
		if err != nil && c.Context().Err() != nil {
			return errors.New("stopped by Ctrl-C or SIGTERM: no results were written")
		}
		if err != nil {
			return fmt.Errorf("clean %s: %w", set.Name, err)
		}
		runs = append(runs, run)
	}
	return a.reportClean(f, d, set.Name, runs)
}

// override takes a flag's value where the user gave it.
func override[T any](given func(string) bool, name string, to *T, value T) {
	if given(name) {
		*to = value
	}
}

func (a *app) reportClean(f *cleanFlags, d experiments.CleanDefaults, name string, runs []*experiments.CleanRun) error {
	title := "Hyper-cleaning " + filepath.Base(name)
	if d.Corrupt > 0 {
		title += fmt.Sprintf(", %.3g %% corrupted", 100*d.Corrupt)
	}
	if err := experiments.WriteCleanResults(f.out, title+", "+f.algo, runs); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if !f.quiet {
		var w io.Writer = a.stdout
		if f.json {
			w = a.stderr
		}
		if err := experiments.WriteCleanTable(w, runs); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nplots, curves and suspects.csv: %s\n", f.out)
	}
	if !f.json {
		return nil
	}
	summary, err := experiments.Summarize(runs)
	if err != nil {
		return err
	}
	text, err := json.Marshal(summary)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", text)
	return err
}
