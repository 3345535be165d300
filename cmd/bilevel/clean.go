package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/clean"
	"bilevel/solvers"
	"bilevel/solvers/engine"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) clean() *application {
	f := &experimentFlags{}
	f.wide = true
	var c clean.Config
	algorithms := algorithmNames()
	schedules := scheduleNames()
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Find wrong labels in a training set, and train a model that they do not mislead",
		Long: `clean judges every label of a training set by a model that learns which labels to believe: it starts on
the trusted rows, and in five rounds every row gets a suggested label and the probability that its given one is right,
while a bi-level problem may decide how much each kind of row counts. It writes suspects.csv, every row, the one whose
given label is least probably right first; labels.csv, the labels with those of flagged rows replaced; and prints how
the model compares with simpler ways.

Trusted rows are rows whose labels you have looked at: some hundred are good. Name them by --trusted FILE or by the file
trusted.npy in the folder, an array with 1 for each trusted training row and 0 for the others, or give them as val_x.npy
and val_y.npy. Without any, the ranking is by out-of-fold self-confidence and the flag by confident learning.

A folder given as --data holds train_x.npy, train_y.npy [, val_x.npy, val_y.npy] [, test_x.npy, test_y.npy], the four
MNIST files, or a folder of images for each class. Images are rows in the order of the names of their classes' folders
and, within a class, of their own, as labels.csv lists them; --trusted marks them in this order. Without
--data the embedded digits are taken, with 20 % of their labels redrawn.`,
		Example: `  bilevel clean
  bilevel clean --data ./mine --trusted looked-at.npy
  bilevel clean --data mnist --corrupt 0.5 --weights table --model mlp:64`,
		Args: noArguments,
	}
	f.register(cmd, "digits | mnist | fashion-mnist | DIR")
	fs := cmd.Flags()
	fs.StringVar(&c.Trusted, "trusted", "",
		"array of 0 and 1 that marks the trusted training rows (default trusted.npy in the folder, or its val files)")
	fs.StringVar(&c.Weights, "weights", clean.Auto,
		strings.Join(clean.Choices(), " | ")+": what the upper level decides, see docs/clean.md")
	fs.StringVar(&c.Model, "model", clean.Auto, strings.Join(clean.Models(), " | "))
	fs.Float64Var(&c.Corrupt, "corrupt", 0,
		"redraw each training label with this probability, to see it found (default 0, and 0.2 without --data)")
	fs.IntVar(&c.Train, "train", 0,
		"training rows, drawn at random; with --corrupt (default: digits 1200, mnist 20000, else what is left)")
	fs.IntVar(&c.Val, "val", 0,
		"trusted rows, drawn at random; with --corrupt (default: digits 200, mnist 5000, else a fifth)")
	fs.IntVar(&c.Iterations, "iters", 0,
		"iterations of a round (default: softmax 1024, mlp:64 2048, more where there are many rows; plain: "+
			"4096 in all)")
	fs.IntVar(&c.Batch, "batch", 0, "rows of a minibatch (default 64)")
	fs.Float64Var(&c.Reg, "reg", 0, "weight of the squared norm of the model's parameters (default 0.005)")
	fs.Float64Var(&c.Step, "step", 0,
		"step size of the lower level (default by model and number of columns, see result.json)")
	fs.Float64Var(&c.OuterStep, "outer-step", 0,
		"step size of the upper level (default 0.1 times the number of its variables)")
	fs.StringVar(&c.Algorithm, "algo", "soba", strings.Join(algorithms, " | ")+"; other than soba with --weights plain")
	fs.StringVar((*string)(&c.Schedule), "schedule", "",
		strings.Join(schedules, " | ")+"; with --weights plain (default linear)")
	fs.BoolVar(&c.Certificate, "certificate", false,
		"certify the end of the last round: its hypergradient with an error figure (always with --weights plain)")
	positive(fs, "train", "val", "iters", "batch", "step", "outer-step", "reg")
	completes(cmd, "weights", clean.Choices()...)
	completes(cmd, "model", clean.Models()...)
	completes(cmd, "algo", algorithms...)
	completes(cmd, "schedule", schedules...)
	f.registerRuns(cmd)
	f.own = func() (names []string) {
		for _, e := range solvers.Algorithms() {
			names = append(names, solvers.Fields(e.Zero)...)
		}
		return names
	}
	return a.run(&application{
		Command: cmd, flags: f,
		files: func(set *data.Dataset) ([]string, error) {
			if c.Weights == clean.Plain {
				return nil, nil
			}
			path, err := data.TrustedPath(set, c.Trusted)
			if err != nil || path == "" {
				return nil, err
			}
			return []string{path}, nil
		},
		check: func() error {
			if len(f.set) > 0 && c.Weights != clean.Plain {
				return usagef("--set %s: an algorithm's own settings go with --weights plain", f.set[0])
			}
			if c.Weights != clean.Plain && !fs.Changed("threads") {
				f.threads = 1 // steps of 64 rows are too small to share: more threads mostly wait for each other
			}
			return checkClean(c, fs)
		},
		settings: func(set *data.Dataset) (experiments.Experiment, any, string, error) {
			guided := c.Weights != clean.Plain
			settings := clean.Defaults(set, c.Iterations).For(c.Algorithm)
			if guided {
				settings = clean.GuidedDefaults(set, c, !fs.Changed("data"))
			}
			if err := f.overlay(cmd, &settings); err != nil {
				return nil, nil, "", err
			}
			if !guided {
				// The name of a cell is made of its settings, and this form had none of these.
				settings.Weights, settings.Model = "", ""
			}
			if !guided && !fs.Changed("batch") {
				settings.Batch = min(settings.Batch, settings.Train) // of a few rows of one's own
			}
			title := "Hyper-cleaning " + filepath.Base(set.Name)
			if settings.Corrupt > 0 {
				title += fmt.Sprintf(", %.3g %% corrupted", 100*settings.Corrupt)
			}
			if !guided {
				title += ", " + settings.Algorithm
			}
			return clean.Experiment{Guided: guided}, settings, title, nil
		},
	})
}

func scheduleNames() (names []string) {
	for _, s := range engine.Schedules() {
		names = append(names, string(s.Name))
	}
	return names
}

// checkClean refuses values that can never work, before anything is opened.
func checkClean(c clean.Config, flags *pflag.FlagSet) error {
	if !(c.Corrupt >= 0 && c.Corrupt <= 1) {
		return usagef("--corrupt %g: wants a probability from 0 to 1", c.Corrupt)
	}
	if c.Weights != clean.Plain {
		if err := checkGuided(c, flags); err != nil {
			return err
		}
	} else if c.Trusted != "" || c.Model != clean.Auto {
		return usagef("--weights plain has a model of its own and takes its trusted rows from the data: --trusted " +
			"and --model do not go with it")
	}
	if _, err := solvers.AlgorithmByName(c.Algorithm); err != nil {
		return usageError{err}
	}
	if err := c.Schedule.Check(); err != nil {
		return usageError{err}
	}
	return checkPositive(flags)
}

// checkGuided refuses flags that the forms other than plain cannot serve.
func checkGuided(c clean.Config, flags *pflag.FlagSet) error {
	if err := c.CheckChoices(); err != nil {
		return usageError{err}
	}
	corrupted := c.Corrupt > 0 || !flags.Changed("data")
	for _, name := range []string{"train", "val"} {
		if flags.Changed(name) && !corrupted {
			return usagef("--%s draws rows at random, and nobody has looked at their labels: it goes with --corrupt, "+
				"where the labels of the source are the truth; "+
				"name trusted rows by --trusted FILE, trusted.npy or val_x.npy and val_y.npy", name)
		}
	}
	if c.Trusted != "" && !flags.Changed("data") {
		return usagef("--trusted marks rows of data of your own: give --data too")
	}
	_, unknown := solvers.AlgorithmByName(c.Algorithm)
	algorithm := unknown == nil && c.Algorithm != "soba"
	schedule := c.Schedule != "" && c.Schedule.Check() == nil
	if algorithm || schedule {
		return usagef("--algo and --schedule go with --weights plain: the other forms run SOBA with steps that fall " +
			"linearly within a round")
	}
	return nil
}
