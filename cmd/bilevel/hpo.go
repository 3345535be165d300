package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/null"
	"bilevel/experiments"
	"bilevel/experiments/hpo"
	"bilevel/experiments/table"
	"bilevel/internal/atomicfile"
	"bilevel/internal/nearest"
	"bilevel/tensor"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// hpoFlags are the flags of `bilevel hpo`.
type hpoFlags struct {
	tableFlags
	algorithms, against, beside string
	config                      hpo.Config
}

// hpoSettings are the flags that are settings of a search, by their names in a recipe.
var hpoSettings = []string{"search", "folds", "model", "calls", "tolerance", "steps", "train", "val", "records"}

// noSearch is the value of --against without other searches.
const noSearch = "none"

func (a *app) hpo() *cobra.Command {
	f := &hpoFlags{}
	c := &cobra.Command{
		Use:   "hpo",
		Short: "Choose hyperparameters by bi-level optimization, beside grid, random search and TPE",
		Long: `hpo chooses the hyperparameters of a training by the loss on validation rows: a weight of squares for
each feature of a logistic regression (--search features, for two classes), or a weight for each layer of a perceptron
and label smoothing (--search layers). A bi-level algorithm moves all of them at once along the hypergradient; grid,
random search and a tree-structured Parzen estimator train at one point after the other. All have the same budget of
oracle calls, of which each sees all rows of its level; a call on a minibatch is a part of one. With --folds K they are
judged by cross-validation, with a model for each fold.

The best hyperparameters by validation loss are written as a configuration of bilevel train, train.yaml
(train-seed-S.yaml for several seeds), the course of each search to curves.csv and into plots. Results lie in a folder
as those of bilevel table do, where the same command goes on if it was stopped. See docs/hpo.md.`,
		Example: `  bilevel hpo --data digits --model mlp:16 --train 300 --calls 1500
  bilevel hpo --data digits --train 300 --folds 3 --against none --calls 1500 --out best
  bilevel train --config best/train.yaml`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.runHPO(c.Context(), f) },
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.data, "data", "digits", "digits | ijcnn1 | adult | mnist | DIR")
	completes(c, "data", data.Names()...)
	fs.StringVar(&f.label, "label", "",
		"the label column of a table (CSV, TSV) given as --data; A,B,… where it is one-hot")
	fs.StringVar(&f.config.Search, "search", "",
		strings.Join(hpo.Searches(), " | ")+" (default features for two classes, else layers)")
	completes(c, "search", hpo.Searches()...)
	fs.IntVar(&f.config.Folds, "folds", 0, "judge by so many folds (0: by one part of the rows)")
	fs.StringVar(&f.config.Model, "model", "", "of the search of layers: mlp:WIDTHS (default mlp:32)")
	fs.StringVar(&f.algorithms, "algo", "hoag", "names of bi-level algorithms with commas between them")
	fs.StringVar(&f.against, "against", strings.Join(hpo.BlackBox(), ","),
		"other searches, with commas between them, or "+noSearch)
	fs.IntVar(&f.seeds, "seeds", 1, "run with the seeds 1 to N")
	fs.Int64Var(&f.config.Calls, "calls", 0, "budget in oracle calls over all rows (default 3000)")
	fs.Float64Var(&f.config.Tolerance, "tolerance", 0,
		"norm of the gradient that a trial is trained to "+
			"(default 1e-4 for features, 1e-2 for layers)")
	fs.IntVar(&f.config.Steps, "steps", 0, "steps of L-BFGS that a trial takes at most (default 1000)")
	fs.IntVar(&f.config.Batch, "batch", 0, "rows of a minibatch of the bi-level algorithms (default: all rows)")
	fs.IntVar(&f.config.Train, "train", 0, "training rows (default: by data set)")
	fs.IntVar(&f.config.Val, "val", 0, "validation rows (default: by data set)")
	fs.IntVar(&f.config.Records, "records", 0, "points of the curves (default 50)")
	fs.StringArrayVar(&f.set, "set", nil, "NAME=VALUE: a setting of the bi-level algorithms; repeat it for more")
	fs.StringVar(&f.beside, "beside", "", "draw the searches of this CSV file, in the form of curves.csv, as well")
	fs.IntVar(&f.workers, "workers", 1, "processes that work beside each other")
	fs.BoolVar(&f.dry, "dry-run", false,
		"print the cells and what they are expected to take, and run no more than a short trial of each row")
	positive(fs, "calls", "tolerance", "steps", "batch", "train", "val", "records")
	f.registerCells(c, "folder of results (default results/hpo-DATA)")
	return c
}

// searches makes rows of tables for the experiment hpo.
func searches(f *common, s *sets) func(map[string]any) (*table.Run, error) {
	return func(settings map[string]any) (*table.Run, error) {
		own := map[string]any{}
		of := *f
		of.data, of.label, of.wide = "digits", "", true
		for name, v := range settings {
			switch name {
			case "data":
				of.data = fmt.Sprint(v)
			case "label":
				of.label = fmt.Sprint(v)
			default:
				own[name] = v
			}
		}
		set, err := s.of(&of)
		if err != nil {
			return nil, err
		}
		c := hpo.Defaults(set)
		fields := append([]string{"data", "label"}, experiments.Fields(c)...)
		err = takeSettings(own, "hpo", fields, &c)
		return &table.Run{Experiment: hpo.Experiment{}, Config: c, Data: set}, err
	}
}

// names reads a list with commas in it, each of which must be known.
func names(flag, text string, known []string, what string) (list []string, err error) {
	for _, name := range strings.Split(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			return nil, usagef("--%s %s: %q is no %s (there are %s)%s", flag, text, name, what,
				strings.Join(known, ", "), nearest.Hint(name, known))
		}
		if slices.Contains(list, name) {
			return nil, usagef("--%s %s: %s is there twice", flag, text, name)
		}
		list = append(list, name)
	}
	return list, nil
}

// runHPO makes the recipe of a search, and works it off.
func (a *app) runHPO(ctx context.Context, f *hpoFlags) error {
	algorithms, err := names("algo", f.algorithms, algorithmNames(), "bi-level algorithm")
	if err != nil {
		return err
	}
	var others []string
	if f.against != noSearch {
		if others, err = names("against", f.against, hpo.BlackBox(), "search"); err != nil {
			return err
		}
	}
	fs := f.command.Flags()
	if err := checkPositive(fs); err != nil {
		return err
	}
	beside, err := readBeside(f.beside)
	if err != nil {
		return err
	}
	shard, err := f.checkTable()
	if err != nil {
		return err
	}
	if f.out == "" {
		f.out = resultsFolder("hpo", f.data)
	}
	r := f.recipe(fs, algorithms, others)
	s := a.sets(&f.tableFlags)
	if err := a.checkSearches(ctx, f, r, s); err != nil {
		return err
	}
	return a.runRecipe(ctx, &f.tableFlags, r, shard, s, func(t *table.Table, folder *table.Folder) error {
		return f.write(t, folder, beside)
	})
}

// recipe is the table of searches: the flags that were given, and the defaults of the data set for the others.
func (f *hpoFlags) recipe(fs *pflag.FlagSet, algorithms, others []string) *table.Recipe {
	r := &table.Recipe{
		Title: "Hyperparameters on " + filepath.Base(f.data), Experiment: "hpo", Seeds: table.FirstSeeds(f.seeds),
		Settings: map[string]any{"data": f.data},
		Measures: []string{"test_loss", "test_error", "val_loss", "refit.val_loss", "refit.test_loss",
			"refit.test_error", "points", "seconds"},
		About: []string{
			"The seed draws the split of the rows, start values and what searches draw.",
			"The losses are those of the point with the lowest validation loss within the budget; test rows are " +
				"scored along the course, and nothing is chosen by them.",
		},
		Curves: []table.Curve{{Over: "calls", Column: "val_loss"}, {Over: "calls", Column: "test_loss"}},
	}
	if f.label != "" {
		r.Settings["label"] = f.label
	}
	for _, name := range hpoSettings {
		if flag := fs.Lookup(name); flag.Changed {
			r.Settings[name] = scalar(flag.Value.String())
		}
	}
	for _, name := range algorithms {
		settings := map[string]any{"method": name}
		if f.config.Batch > 0 {
			settings["batch"] = f.config.Batch
		}
		if len(f.set) > 0 {
			var list []any
			for _, s := range f.set {
				list = append(list, s)
			}
			settings["set"] = list
		}
		r.Methods = append(r.Methods, table.Method{Name: name, Settings: settings})
	}
	for _, name := range others {
		r.Methods = append(r.Methods, table.Method{Name: name, Settings: map[string]any{"method": name}})
	}
	return r
}

// checkSearches refuses searches that can never run, on a device that computes nothing, before anything is written.
func (a *app) checkSearches(ctx context.Context, f *hpoFlags, r *table.Recipe, s *sets) error {
	t, err := table.Expand(r, a.tables(&f.common, s))
	if err != nil {
		return err
	}
	limit, err := f.limit()
	if err != nil {
		return err
	}
	for _, row := range t.Rows {
		dev := null.New()
		ex := tensor.NewExecutor(dev)
		ex.LimitMemory(limit)
		err := hpo.Experiment{}.Check(ctx, ex, row.Run.Data, row.Run.Config)
		if err != nil && ctx.Err() == nil && !errors.Is(err, device.ErrMemory) {
			err = usageError{err}
		}
		if err := errors.Join(err, ex.Close(), dev.Close()); err != nil {
			return err
		}
	}
	return nil
}

// readBeside reads the searches of another program, nil where there is no file.
func readBeside(path string) ([]hpo.Lines, error) {
	if path == "" {
		return nil, nil
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--beside cannot be read: %w", err)
	}
	defer in.Close()
	lines, err := hpo.ReadLines(in)
	if err != nil {
		return nil, fmt.Errorf("--beside %s: %w", path, err)
	}
	return lines, nil
}

// write writes the best hyperparameters of each seed for train, and the plots of all searches beside each other.
func (f *hpoFlags) write(t *table.Table, folder *table.Folder, beside []hpo.Lines) error {
	var runs []hpo.Run
	for _, c := range t.Cells {
		record, err := folder.Store.Record(c.Key)
		if err != nil {
			return err
		}
		if record != nil {
			row := t.Rows[c.Row]
			runs = append(runs, hpo.Run{Method: row.Method, Config: row.Run.Config.(hpo.Config), Record: record})
		}
	}
	for _, best := range hpo.Best(runs) {
		text, err := best.TrainFile(f.data, f.label)
		if err != nil {
			return err
		}
		name := "train.yaml"
		if len(t.Recipe.Seeds) > 1 {
			name = fmt.Sprintf("train-seed-%d.yaml", best.Record.Seed)
		}
		if err := atomicfile.WriteFile(filepath.Join(folder.Dir, name), text); err != nil {
			return err
		}
	}
	for _, figure := range hpo.Figures(t.Recipe.Title, append(hpo.LinesOf(runs), beside...)) {
		if err := figure.Save(folder.Dir); err != nil {
			return err
		}
	}
	return nil
}
