package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bilevel/experiments"
	"bilevel/experiments/table"
	"bilevel/internal/plainyaml"

	"github.com/spf13/cobra"
)

// tableFlags are the flags of `bilevel table`.
type tableFlags struct {
	common
	seeds   int
	set     []string
	workers int
	shard   string
	dry     bool
	list    bool
	retry   bool
	every   time.Duration
	show    string // the form of progress
	worker  bool   // this process was started by another that writes the results
	trial   string
}

func (a *app) table() *cobra.Command {
	f := &tableFlags{}
	c := &cobra.Command{
		Use:   "table RECIPE",
		Short: "Run a table: methods at settings over seeds, on any number of processes",
		Long: `table runs every cell of a recipe, a YAML file or one of those built in (--list), and compares its
methods: mean and standard deviation over the seeds, paired differences with intervals, and what they cost. Each
cell has a folder of its own: the same command goes on where it was stopped, several processes may work in one
folder, and a cell that fails is a row with its reason. See docs/table.md.`,
		Example: `  bilevel table --list
  bilevel table optimizers --dry-run
  bilevel table optimizers --seeds 5 --set epochs=2 --workers 2`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if f.list {
				if err := noArguments(c, args); err != nil {
					return err
				}
				return a.listRecipes()
			}
			if len(args) != 1 {
				return usagef("table wants one recipe: a file that ends with .yaml, or one of %s",
					strings.Join(table.BuiltIn(), ", "))
			}
			return a.runTable(c.Context(), f, args[0])
		},
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.IntVar(&f.seeds, "seeds", 0, "run with the seeds 1 to N (default: the recipe's)")
	fs.StringArrayVar(&f.set, "set", nil,
		"NAME=VALUE: a setting of every cell, whatever the recipe says of it; repeat it for more")
	fs.IntVar(&f.workers, "workers", 1, "processes that work beside each other")
	fs.StringVar(&f.shard, "shard", "", "I/N: only each N-th cell, beginning with the I-th, as for array jobs")
	fs.BoolVar(&f.dry, "dry-run", false,
		"print the cells and what they are expected to take, and run no more than a short trial of each row")
	fs.BoolVar(&f.list, "list", false, "list the recipes that are built in")
	f.registerCells(c, "folder of results (default results/table-RECIPE)")
	fs.BoolVar(&f.worker, "worker", false, "")
	fs.StringVar(&f.trial, "trial", "", "")
	for _, name := range []string{"worker", "trial"} {
		fs.MarkHidden(name)
	}
	c.AddCommand(a.mergeTables())
	return c
}

// registerCells adds the flags of every command that works off the cells of a table.
func (f *tableFlags) registerCells(c *cobra.Command, outUsage string) {
	fs := c.Flags()
	fs.BoolVar(&f.retry, "retry", false, "run cells again that have failed")
	fs.DurationVar(&f.every, "checkpoint-every", time.Minute, "time between two checkpoints of a cell")
	registerProgress(fs, &f.show)
	f.registerDevice(c)
	f.registerMemory(c)
	f.registerMatmul(c)
	f.registerResults(c, outUsage)
}

func (a *app) listRecipes() error {
	for _, name := range table.BuiltIn() {
		text, err := table.Text(name)
		if err != nil {
			return err
		}
		r, err := table.Parse(text)
		if err != nil {
			return err
		}
		cells := len(r.Methods) * len(r.Seeds)
		for _, axis := range r.Vary {
			cells *= len(axis.Values)
		}
		fmt.Fprintf(a.stdout, "%-12s %s (%d cells)\n", name, r.Title, cells)
	}
	return nil
}

// readRecipe reads a file or a built-in recipe, and puts the flags over it.
func (f *tableFlags) readRecipe(name string) (*table.Recipe, error) {
	var text []byte
	var err error
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || filepath.Base(name) != name {
		if text, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("the recipe cannot be read: %w", err)
		}
	} else if text, err = table.Text(name); err != nil {
		return nil, err
	}
	r, err := table.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("recipe %s: %w", name, err)
	}
	if f.seeds != 0 {
		r.Seeds = table.FirstSeeds(f.seeds)
	}
	return r, f.putSets(r)
}

// putSets gives the settings of --set to every cell.
func (f *tableFlags) putSets(r *table.Recipe) error {
	for _, s := range f.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return usagef("--set %s sets nothing: wants NAME=VALUE", s)
		}
		r.Set(key, scalar(value))
	}
	return nil
}

// scalar is a text as YAML reads it where it is a single value, else the text itself.
func scalar(text string) any {
	values, err := plainyaml.Parse([]byte("value: " + text))
	if err != nil || len(values) != 1 {
		return text
	}
	switch v := values[0].Value.(type) {
	case bool, int64, uint64, float64:
		return v
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		return v // 1e-5, which YAML reads as a text
	}
	return text
}

// checkTable refuses flags that can never work.
func (f *tableFlags) checkTable() (table.Shard, error) {
	if f.command.Flags().Changed("seeds") && (f.seeds < 1 || f.seeds > table.MostCells) {
		return table.Shard{}, usagef("--seeds %d: wants 1 to %d", f.seeds, table.MostCells)
	}
	if f.workers < 1 || f.workers > 1024 {
		return table.Shard{}, usagef("--workers %d: wants 1 to 1024", f.workers)
	}
	if _, err := f.limit(); err != nil {
		return table.Shard{}, err
	}
	if err := checkPace(f.every, f.show); err != nil {
		return table.Shard{}, err
	}
	return table.ParseShard(f.shard)
}

// tables are the experiments as rows of tables have them: settings go the way of a configuration file.
func (a *app) tables(f *common, s *sets) (list []table.Application) {
	for _, build := range a.applications() {
		makeRun := func(settings map[string]any) (*table.Run, error) {
			p := build()
			p.flags.quiet = f.quiet
			for _, key := range slices.Sorted(maps.Keys(settings)) {
				if slices.Contains(ofTable, key) {
					return nil, usagef("settings: %s is of the table and not of a cell", key)
				}
				if err := p.flags.assign(p.Command, "settings", key, settings[key]); err != nil {
					return nil, err
				}
			}
			if err := errors.Join(p.flags.applySets(p.Command), p.check()); err != nil {
				return nil, err
			}
			set, err := s.of(&p.flags.common)
			if err != nil {
				return nil, err
			}
			x, config, _, err := p.settings(set)
			return &table.Run{Experiment: x, Config: config, Data: set}, err
		}
		list = append(list, table.Application{Name: words(build().Command), Make: makeRun})
	}
	return append(list, table.Application{Name: "compare", Make: comparisons(f, s)},
		table.Application{Name: "hpo", Make: searches(f, s)})
}

// ofTable are settings that a table has for all cells, as flags or as a part of its recipe.
var ofTable = []string{"device", "threads", "memory", "matmul", "seed", "seeds"}

// runTable works off a recipe.
func (a *app) runTable(ctx context.Context, f *tableFlags, name string) error {
	shard, err := f.checkTable()
	if err != nil {
		return err
	}
	r, err := f.readRecipe(name)
	if err != nil {
		return err
	}
	if f.out == "" {
		base := filepath.Base(name)
		f.out = filepath.Join("results", "table-"+strings.TrimSuffix(base, filepath.Ext(base)))
	}
	return a.runRecipe(ctx, f, r, shard, a.sets(f), nil)
}

// runRecipe works off a recipe in the folder of the flags, and shows its results. also, where it is not nil, writes
// more files.
func (a *app) runRecipe(
	ctx context.Context, f *tableFlags, r *table.Recipe, shard table.Shard, s *sets,
	also func(*table.Table, *table.Folder) error,
) error {
	t, folder, err := a.workOff(ctx, f, r, shard, s)
	if t == nil || err != nil || f.worker {
		return err
	}
	if also != nil {
		if err := also(t, folder); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
	return a.finishTable(&f.common, t, folder)
}

// workOff does the cells of a recipe. Where it has settings to choose, they are chosen first. t is nil where there is
// nothing more to do, such as after a dry run.
func (a *app) workOff(ctx context.Context, f *tableFlags, r *table.Recipe, shard table.Shard, s *sets) (
	t *table.Table, folder *table.Folder, err error) {
	if r.Tune != nil {
		if r, err = a.chooseSettings(ctx, f, r, shard, s); r == nil || err != nil {
			return nil, nil, err
		}
	}
	if t, err = table.Expand(r, a.tables(&f.common, s)); err != nil {
		return nil, nil, err
	}
	if f.trial != "" {
		return nil, nil, a.tryCell(ctx, f, t)
	}
	store := a.store(f.out)
	store.Resume, store.Every, store.Share = true, f.every, true
	if folder, err = table.Open(t, store); err != nil {
		return nil, nil, err
	}
	if f.dry {
		return nil, nil, a.dryRun(ctx, f, t, folder, shard)
	}
	if err := checkWritable(f.out); err != nil {
		return nil, nil, err
	}
	if !f.worker {
		if err := folder.Write(r); err != nil {
			return nil, nil, err
		}
	}
	if f.retry {
		if err := folder.Retry(t); err != nil {
			return nil, nil, err
		}
	}
	if f.workers > 1 {
		err = a.startWorkers(ctx, f, t, folder, shard)
	} else {
		err = a.work(ctx, f, t, folder, shard)
	}
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("stopped by Ctrl-C or SIGTERM: %d of %d cells are done; go on with the same "+
			"command",
			folder.Done(t), len(t.Cells))
	}
	return t, folder, err
}

// tuningFolder is where, in a table's folder, the table lies that tries its settings.
const tuningFolder = "tuning"

// chooseSettings tries the settings of a recipe's grids, a table of its own, and gives the recipe with the best of
// them. It is nil after a dry run of the trials.
func (a *app) chooseSettings(ctx context.Context, f *tableFlags, r *table.Recipe, shard table.Shard, s *sets) (
	*table.Recipe, error) {
	if shard.N > 1 {
		return nil, usagef("--shard %d/%d: settings are chosen before a table is divided: run the recipe %s of a "+
			"folder whose settings are chosen, or start several processes on one folder", shard.I, shard.N,
			table.RecipeFile)
	}
	of := *f
	of.out = filepath.Join(f.out, tuningFolder)
	if err := a.checkFolder(f.out); err != nil {
		return nil, err
	}
	t, folder, err := a.workOff(ctx, &of, r.Trials(), shard, s)
	if t == nil || err != nil {
		return nil, err
	}
	outcomes, err := folder.Outcomes(t)
	if err != nil {
		return nil, err
	}
	recipe, err := t.Recipe.YAML()
	if err == nil {
		err = table.Summarize(t, outcomes).Write(of.out, versionText(), string(recipe))
	}
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return r.Chosen(t, outcomes), nil
}

// checkFolder refuses a folder that holds the results of another command, before trials go below it.
func (a *app) checkFolder(dir string) error {
	for _, other := range []string{"config.yaml", "result.json"} {
		_, there := os.Stat(filepath.Join(dir, other))
		_, own := os.Stat(filepath.Join(dir, table.RecipeFile))
		if there == nil && own != nil {
			return fmt.Errorf("%s holds results of another command (%s and no %s): give another folder", dir, other,
				table.RecipeFile)
		}
	}
	return nil
}

// work does cells in this process.
func (a *app) work(ctx context.Context, f *tableFlags, t *table.Table, folder *table.Folder, shard table.Shard) error {
	if f.worker {
		ctx = untilClosed(ctx, os.Stdin)
	}
	limit, err := f.limit()
	if err != nil {
		return err
	}
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	folder.Store.Device = deviceText(dev.Info())
	p := newProgress(a.stderr, f.quiet)
	p.json = f.show == progressJSON
	w := table.Worker{
		Folder: folder, Table: t, Shard: shard, Device: dev,
		Env: experiments.Env{Memory: limit, Stage: p.stage, Progress: p.set, Note: p.say},
		Begin: func(c table.Cell) {
			p.end()
			p.prefix = fmt.Sprintf("%s (%d of %d cells done): ", t.Title(c), folder.Done(t), len(t.Cells))
		},
		Wait: func(n int, by string) {
			p.end()
			if !f.quiet {
				fmt.Fprintf(a.stderr, "waiting for cells that other processes have, %d, one of them %s\n", n, by)
			}
		},
	}
	a.working.Lock()
	err = w.Run(ctx)
	a.working.Unlock()
	p.end()
	if ctx.Err() != nil { // the device may still be in an iteration: the process ends without waiting for it
		return err
	}
	return errors.Join(err, dev.Close())
}
