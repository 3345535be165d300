package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/null"
	"bilevel/experiments"
	"bilevel/experiments/table"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// experimentFlags are the flags of commands that run an experiment.
type experimentFlags struct {
	common
	configFlags
	seeds int
}

// registerRuns is for what comes after an experiment's own flags.
func (f *experimentFlags) registerRuns(c *cobra.Command) {
	c.Flags().IntVar(&f.seeds, "seeds", 1, "number of seeds to run: --seed, --seed + 1, …")
	f.registerConfig(c)
	c.PreRunE = func(c *cobra.Command, _ []string) error { return f.load(c) }
}

// overlay puts the flags that the user gave over a configuration: the flag --outer-step is the field outer_step.
func (f *experimentFlags) overlay(c *cobra.Command, config any) error {
	given := map[string]any{}
	c.Flags().Visit(func(flag *pflag.Flag) {
		switch flag.Value.Type() {
		case "stringArray":
			if list, ok := flag.Value.(pflag.SliceValue); ok {
				given[keyOf(flag.Name)] = list.GetSlice()
			}
		case "string":
			given[keyOf(flag.Name)] = flag.Value.String()
		case "bool", "int", "uint64", "float64":
			given[keyOf(flag.Name)] = json.RawMessage(flag.Value.String())
		}
	})
	if len(f.set) > 0 {
		given[setFlag] = f.set
	}
	text, err := json.Marshal(given)
	if err != nil {
		return usageError{err}
	}
	return json.Unmarshal(text, config) // flags that are no fields are not looked at
}

// list is the seeds to run.
func (f *experimentFlags) list() ([]uint64, error) {
	if f.seeds < 1 || f.seeds > math.MaxInt32 {
		return nil, usagef("--seeds %d: wants 1 to %d", f.seeds, math.MaxInt32)
	}
	if last := f.seed + uint64(f.seeds-1); last < f.seed {
		return nil, usagef("--seed %d --seeds %d: the last seed would be above %d",
			f.seed, f.seeds, uint64(math.MaxUint64))
	}
	var seeds []uint64
	for i := range f.seeds {
		seeds = append(seeds, f.seed+uint64(i))
	}
	return seeds, nil
}

// application is an experiment as a command has it: its flags, and what they come to.
type application struct {
	*cobra.Command
	flags *experimentFlags
	// check refuses flags that can never work, and settles those that follow from others, before anything is opened.
	check func() error
	// settings gives the experiment, its configuration on a data set, and the title of its plots.
	settings func(*data.Dataset) (x experiments.Experiment, config any, title string, err error)
	// files are those that a run reads beside the data.
	files func(*data.Dataset) ([]string, error)
}

// applications lists what runs experiments: each is a command, and can be a row of a table.
func (a *app) applications() []func() *application {
	return []func() *application{a.clean, a.train, a.robustTrain, a.robustAttack, a.pruneRun}
}

// groupAnnotation keeps the name of the command that an application's command stands below, which it also has where it
// was made alone.
const groupAnnotation = "group"

// words are what one types after bilevel to call an application's command: "train", "robust train".
func words(c *cobra.Command) string {
	if group := c.Annotations[groupAnnotation]; group != "" {
		return group + " " + c.Name()
	}
	return c.Name()
}

// run makes an application's command run it.
func (a *app) run(p *application) *application {
	p.RunE = func(*cobra.Command, []string) error {
		if err := cmp.Or(p.check(), checkFinite(p.Flags())); err != nil {
			return err
		}
		return a.runExperiment(p)
	}
	return p
}

// runExperiment is what all commands that run an experiment do. Results are written as cells are finished, so that a
// stop loses only the one at work.
func (a *app) runExperiment(p *application) (err error) {
	r := &experimentRun{app: a, of: p, flags: p.flags}
	ctx := p.Context()
	defer func() {
		// After a stop the device may still be in an iteration: the process ends without waiting for it.
		if r.dev != nil && ctx.Err() == nil {
			err = errors.Join(err, r.dev.Close())
		}
	}()
	if err := r.open(); err != nil {
		return err
	}
	if p.flags.print {
		text, err := p.flags.text(p.Command, r.config)
		if err == nil {
			_, err = a.stdout.Write(text)
		}
		return err
	}
	if err := r.ready(ctx); err != nil {
		return err
	}
	records, err := r.run(ctx)
	return r.end(ctx, records, err)
}

// experimentRun is one call of an application's command.
type experimentRun struct {
	app    *app
	of     *application
	flags  *experimentFlags
	dev    device.Device // nil where none is open
	limit  int64         // of --memory
	set    *data.Dataset
	x      experiments.Experiment
	config any
	title  string // of plots
	cells  []experiments.Cell
	store  *experiments.Store
}

// open opens the device and the data, and makes the cells. What can be refused before is.
func (r *experimentRun) open() error {
	f := r.flags
	seeds, err := f.list()
	if err != nil {
		return err
	}
	if r.limit, err = f.limit(); err != nil {
		return err
	}
	if f.out == "" {
		f.out = resultsFolder(strings.ReplaceAll(words(r.of.Command), " ", "-"), f.data)
	}
	if !f.print {
		if err := checkWritable(f.out); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(f.out, table.RecipeFile)); err == nil {
			return fmt.Errorf("%s holds a table (%s), whose results these would replace: give another folder as --out",
				f.out, table.RecipeFile)
		}
	}
	if r.dev, err = f.openDevice(); err != nil {
		return err
	}
	if r.set, err = r.app.openData(&f.common); err != nil {
		return err
	}
	if r.x, r.config, r.title, err = r.of.settings(r.set); err != nil {
		return err
	}
	if r.cells, err = r.x.Cells(r.config, seeds); err != nil {
		return usageError{err}
	}
	return nil
}

// mark makes the rows, and the files that the run reads beside them, part of what the cells are. It refuses a folder of
// results where the run would write over one of them.
func (r *experimentRun) mark() error {
	files, err := r.of.files(r.set)
	if err != nil {
		return err
	}
	if err := checkOutputs(words(r.of.Command), r.flags.out, append(data.Files(r.flags.data), files...)); err != nil {
		return err
	}
	print, err := experiments.Fingerprint(r.set, files...)
	for i := range r.cells {
		r.cells[i].Data = print
	}
	return err
}

// named are the files of flags that may be empty.
func named(files ...*string) func(*data.Dataset) ([]string, error) {
	return func(*data.Dataset) (list []string, err error) {
		for _, name := range files {
			if *name != "" {
				list = append(list, *name)
			}
		}
		return list, nil
	}
}

// ready finds out whether the folder is one to go on with, and whether the device holds the run.
func (r *experimentRun) ready(ctx context.Context) (err error) {
	f, need := r.flags, null.Stats{}
	if err := r.mark(); err != nil {
		return err
	}
	r.store = r.app.store(f.out)
	r.store.Resume, r.store.Every = f.resume != "", f.every
	r.store.First = r.begin
	if f.resume != "" {
		if err := r.store.CheckResume(r.cells); err != nil {
			return err
		}
	}
	r.dev, need, err = r.app.fitting(ctx, &f.common, r.dev, r.limit, r.set, r.x, r.cells[0])
	if err != nil && (ctx.Err() == nil || r.dev == nil) { // a stop is told at the end
		return err
	}
	info := r.dev.Info()
	if !f.quiet && need.PeakBytes >= worthSaying {
		fmt.Fprintf(r.app.stderr,
			"bilevel: the run needs %s of the memory of %s at its peak, %s of it for intermediate values\n",
			inUnits(int64(need.PeakBytes)), info.Name, inUnits(int64(need.LargestBytes)))
	}
	r.store.Device = deviceText(info)
	return nil
}

// begin readies the folder of results for its first file.
func (r *experimentRun) begin() error {
	f := r.flags
	if f.resume == "" {
		if err := removeEarlier(f.out); err != nil {
			return err
		}
	}
	return f.write(r.of.Command, f.out, r.config)
}

// run does the cells, and gives the records of those that are finished also where a later one fails.
func (r *experimentRun) run(ctx context.Context) ([]*experiments.Record, error) {
	f, n := r.flags, len(r.cells)
	progress := newProgress(r.app.stderr, f.quiet)
	progress.json = f.show == progressJSON
	defer progress.end()
	env := experiments.Env{
		Data: r.set, Memory: r.limit, Stage: progress.stage, Progress: progress.set, Note: progress.say,
		Settings: map[string]string{
			"device": f.device, "threads": strconv.Itoa(f.threads), "matmul": f.matmul,
			"label": f.label, "memory": f.memory,
		},
	}
	r.app.working.Lock()
	defer r.app.working.Unlock()
	return experiments.Run(ctx, r.dev, env, r.x, r.cells, r.store, experiments.Hooks{
		Begin: func(i int) { progress.seed(i, n, r.cells[i].Seed) },
		Finished: func(records []*experiments.Record) error {
			progress.end()
			text, err := f.text(r.of.Command, r.config)
			if err != nil {
				return err
			}
			page := experiments.Page{Title: r.title, Version: versionText(), Config: string(text)}
			if err := experiments.WriteResults(f.out, page, r.x.Report(), records, n); err != nil {
				return fmt.Errorf("results: %w", err)
			}
			return nil
		},
	})
}

// end shows the results, or says how the run ended and how it goes on.
func (r *experimentRun) end(ctx context.Context, records []*experiments.Record, err error) error {
	f, command := r.flags, words(r.of.Command)
	kept := r.store.Written() || f.resume != ""
	switch {
	case err == nil:
		return r.app.show(f, r.x.Report(), records)
	case ctx.Err() == nil:
		return goOn(fmt.Errorf("%s %s: %w", r.x.Name(), r.set.Name, err), kept, command, f.out)
	case !kept:
		return errors.New("stopped by Ctrl-C or SIGTERM: no results were written")
	}
	return fmt.Errorf("stopped by Ctrl-C or SIGTERM: %d of %d seeds are finished; go on with: bilevel %s --resume %s",
		len(records), len(r.cells), command, f.out)
}

// goOn adds to the error of a lost card how a run goes on whose checkpoints were written.
func goOn(err error, written bool, command, out string) error {
	if !written || !errors.Is(err, device.ErrLost) {
		return err
	}
	return fmt.Errorf("%w; the last checkpoint is kept, go on with: bilevel %s --resume %s", err, command, out)
}

// show prints the table for people and the summary for programs.
func (a *app) show(f *experimentFlags, report experiments.Report, records []*experiments.Record) error {
	if !f.quiet {
		var w io.Writer = a.stdout
		if f.json {
			w = a.stderr
		}
		if err := experiments.WriteTable(w, report, records); err != nil {
			return err
		}
		files := "plots and curves"
		for _, t := range records[0].Tables {
			files += ", " + t.File(records[0], len(records))
		}
		fmt.Fprintf(w, "\n%s: %s\n", files, f.out)
	}
	if !f.json {
		return nil
	}
	summary, err := experiments.Summarize(records)
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
