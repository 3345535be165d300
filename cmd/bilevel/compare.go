package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"bilevel/device"
	"bilevel/device/null"
	"bilevel/experiments"
	"bilevel/experiments/compare"
	"bilevel/experiments/table"
	"bilevel/internal/atomicfile"
	"bilevel/internal/nearest"
	"bilevel/tensor"

	"github.com/spf13/cobra"
)

// compareFlags are the flags of `bilevel compare`.
type compareFlags struct {
	tableFlags
	algorithms string
	grid       string
	outerGrid  string
	tuneCalls  int64
	tuneSeeds  int
	config     compare.Config
}

func (a *app) compare() *cobra.Command {
	f := &compareFlags{config: compare.Defaults()}
	var names, lines []string
	for _, p := range compare.Problems() {
		names = append(names, p.Name)
		lines = append(lines, fmt.Sprintf("  %-14s %s", p.Name, p.About))
	}
	c := &cobra.Command{
		Use:   "compare",
		Short: "Compare bi-level algorithms on a problem, at equal budgets",
		Long: `compare runs algorithms on one problem over several seeds and draws how far each is from the solution,
over iterations, oracle calls and seconds. First every algorithm tries the same number of settings with the first
--tune-seeds seeds: the step sizes that it chooses at the start values, those of y times each factor of --grid with
those of x times each of --outer-grid. The setting with the lowest mean value at the end of --tune-calls oracle calls,
among those with which no run diverged, is then run with all seeds for --calls. Measuring is not part of the time.
Algorithms that the problem refuses are listed with the reason. Results lie in a folder as those of bilevel table do,
where the same command goes on if it was stopped, and benchmark.csv has every point of every run in the columns of
benchmark_bilevel's results. The problems are:

` + strings.Join(lines, "\n"),
		Example: `  bilevel compare --problem quadratic --algo soba,aid-bio,bome --calls 1000 --seeds 3
  bilevel compare --problem digits-clean --algo soba,f2sa --grid 1 --outer-grid 1 --calls 400 --seeds 2`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return a.runCompare(c.Context(), f) },
	}
	fs := c.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.config.Problem, "problem", "", "the problem")
	completes(c, "problem", names...)
	fs.StringVar(&f.algorithms, "algo", "all", "all, or the names of algorithms with commas between them")
	fs.IntVar(&f.seeds, "seeds", 5, "run with the seeds 1 to N")
	fs.Int64Var(&f.config.Calls, "calls", f.config.Calls, "budget of a run in oracle calls of a minibatch")
	fs.Int64Var(&f.tuneCalls, "tune-calls", 0, "budget of a run that tries a setting (default: that of --calls)")
	fs.IntVar(&f.tuneSeeds, "tune-seeds", 2, "try a setting with the seeds 1 to N")
	fs.StringVar(&f.grid, "grid", "0.25,1,4", "factors on the steps of y")
	fs.StringVar(&f.outerGrid, "outer-grid", "0.01,0.1,1,10",
		"factors on the step of x; each with each of --grid is a setting to try")
	fs.StringVar(&f.config.Tune, "tune", "scale", "what the factors of --grid multiply: scale, the steps that "+
		"algorithms choose at the start values; bisls, those that its line searches find from there; or trial, those "+
		"of scale with a step of x that is quartered until a run of the same length does not diverge")
	completes(c, "tune", "scale", "bisls", "trial")
	fs.IntVar(&f.config.Records, "records", f.config.Records, "points of the curves after the start")
	fs.Float64Var(&f.config.Target, "target", 0,
		"tell the cost after which the squared hypergradient stays at most this (0: none)")
	fs.IntVar(&f.config.Batch, "batch", 0, "rows of a minibatch, for problems with rows (default: by problem)")
	fs.StringArrayVar(&f.set, "set", nil,
		"NAME=VALUE: a setting of every cell, such as train, val, corrupt or reg; repeat it for more")
	fs.IntVar(&f.workers, "workers", 1, "processes that work beside each other")
	fs.BoolVar(&f.dry, "dry-run", false, "print what is to be run next and what it is expected to take, and run "+
		"no more than a short trial of each row")
	f.registerCells(c, "folder of results (default results/compare-PROBLEM)")
	return c
}

// comparisons makes rows of tables for the experiment compare.
func comparisons(f *common, s *sets) func(map[string]any) (*table.Run, error) {
	return func(settings map[string]any) (*table.Run, error) {
		c := compare.Defaults()
		if err := takeSettings(settings, "compare", experiments.Fields(c), &c); err != nil {
			return nil, err
		}
		p, err := compare.ByName(c.Problem)
		if err != nil {
			return nil, usageError{err}
		}
		run := &table.Run{Experiment: compare.Experiment{}, Config: c}
		if p.Data == "" {
			return run, nil
		}
		of := *f
		of.data, of.label = p.Data, ""
		run.Data, err = s.of(&of)
		return run, err
	}
}

// takeSettings puts settings of a table over a configuration with fields of such names.
func takeSettings(settings map[string]any, experiment string, fields []string, to any) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(fields, name) {
			return usagef("settings: unknown setting %q of %s (there are %s)%s", name, experiment,
				strings.Join(fields, ", "), nearest.Hint(name, fields))
		}
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(text, to); errors.As(err, &wrong) {
		return usagef("settings of %s: %s cannot be a %s", experiment, wrong.Field, wrong.Value)
	} else if err != nil {
		return usagef("settings of %s: %v", experiment, err)
	}
	return nil
}

// factors reads a grid.
func factors(flag, grid string) (list []any, err error) {
	for _, text := range strings.Split(grid, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(v > 0) || v > 1e6 || slices.Contains(list, any(v)) {
			return nil, usagef("--%s %s: wants different positive factors with commas between them, such as 0.25,1,4",
				flag, grid)
		}
		list = append(list, v)
	}
	return list, nil
}

// runCompare makes the recipe of a comparison, and works it off.
func (a *app) runCompare(ctx context.Context, f *compareFlags) error {
	if f.config.Problem == "" {
		return usagef("compare wants --problem, one of %s", strings.Join(compare.Names(), ", "))
	}
	p, err := compare.ByName(f.config.Problem)
	if err != nil {
		return usagef("--problem: %v", err)
	}
	algorithms := algorithmNames()
	if f.algorithms != "all" {
		if algorithms, err = names("algo", f.algorithms, algorithms, "bi-level algorithm"); err != nil {
			return err
		}
	}
	inner, err1 := factors("grid", f.grid)
	outer, err2 := factors("outer-grid", f.outerGrid)
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	switch {
	case f.config.Calls < 1:
		return usagef("--calls %d: wants at least 1", f.config.Calls)
	case f.tuneCalls < 0:
		return usagef("--tune-calls %d: wants at least 1", f.tuneCalls)
	case f.tuneSeeds < 1 || f.tuneSeeds > table.MostCells:
		return usagef("--tune-seeds %d: wants 1 to %d", f.tuneSeeds, table.MostCells)
	case f.tuneCalls == 0:
		f.tuneCalls = f.config.Calls
	}
	shard, err := f.checkTable()
	if err != nil {
		return err
	}
	if f.out == "" {
		f.out = filepath.Join("results", "compare-"+p.Name)
	}
	r := f.recipe(p, algorithms, inner, outer)
	if err := f.putSets(r); err != nil {
		return err
	}
	s := a.sets(&f.tableFlags)
	run, err := comparisons(&f.common, s)(withAlgorithm(r.Settings, algorithms[0]))
	if err != nil {
		return err
	}
	refused, err := f.refusals(ctx, run, algorithms)
	if err != nil {
		return err
	}
	if err := leaveOut(r, algorithms, refused); err != nil {
		return err
	}
	return a.runRecipe(ctx, &f.tableFlags, r, shard, s, writeBenchmark)
}

// benchmarkFile is the name of the file of WriteBenchmark.
const benchmarkFile = "benchmark.csv"

// writeBenchmark writes what the finished cells of a comparison measured.
func writeBenchmark(t *table.Table, folder *table.Folder) error {
	outcomes, err := folder.Outcomes(t)
	if err != nil {
		return err
	}
	var runs []compare.Run
	for _, o := range outcomes {
		if c, ok := t.Rows[o.Cell.Row].Run.Config.(compare.Config); ok && o.Record != nil {
			runs = append(runs, compare.Run{Config: c, Record: o.Record})
		}
	}
	return atomicfile.Write(filepath.Join(folder.Dir, benchmarkFile), func(w io.Writer) error {
		return compare.WriteBenchmark(w, runs)
	})
}

func withAlgorithm(settings map[string]any, name string) map[string]any {
	out := map[string]any{"algo": name}
	for key, v := range settings {
		out[key] = v
	}
	return out
}

// recipe is the table of a comparison.
func (f *compareFlags) recipe(p compare.Problem, algorithms []string, inner, outer []any) *table.Recipe {
	r := &table.Recipe{
		Title: "Bi-level algorithms on " + p.Name, Experiment: "compare", Uncompared: true,
		Seeds: table.FirstSeeds(f.seeds), Measures: append(p.Measures(), "diverged", "seconds"),
		Settings: map[string]any{"problem": p.Name, "calls": f.config.Calls, "records": f.config.Records},
		About: []string{
			"The seed draws the problem or its split, start values and minibatches.",
			"A budget counts oracle calls of a minibatch, where a pass over all rows counts as the minibatches " +
				"that it makes; without minibatches each call sees all rows.",
			p.Gaps(),
			"diverged is the part of the runs that went to infinity, which the other means leave out.",
		},
	}
	if f.config.Tune != "scale" {
		r.Settings["tune"] = f.config.Tune
		r.About = append(r.About, "Before each run BiSLS looks for steps in 20 iterations, which are in no budget.")
	}
	if f.config.Batch != 0 {
		r.Settings["batch"] = f.config.Batch
	}
	if f.config.Target != 0 {
		r.Settings["target"] = f.config.Target
		r.Measures = append(r.Measures, "target.reached", "target.iterations", "target.calls", "target.seconds")
		r.About = append(r.About, fmt.Sprintf("target is what it cost until the squared hypergradient stays at most "+
			"%g, a mean over the runs that came there; target.reached is their part of all.", f.config.Target))
	}
	for _, name := range algorithms {
		r.Methods = append(r.Methods, table.Method{Name: name, Settings: map[string]any{"algo": name}})
	}
	for _, column := range p.Drawn() {
		for _, over := range []string{"iteration", "calls", "seconds"} {
			r.Curves = append(r.Curves, table.Curve{Over: over, Column: column.Name, AboveLowest: column.AboveLowest})
		}
	}
	if len(inner)*len(outer) > 1 {
		r.Tune = &table.Tuning{
			By: p.Best, Seeds: table.FirstSeeds(f.tuneSeeds),
			Settings: map[string]any{"calls": f.tuneCalls, "records": 1},
			Grid:     []table.Axis{{Name: "step_factor", Values: inner}, {Name: "outer_factor", Values: outer}},
			Grids:    map[string][]table.Axis{},
		}
	} else {
		r.Settings["step_factor"], r.Settings["outer_factor"] = inner[0], outer[0]
	}
	return r
}

// refusals finds out which algorithms the problem refuses, on a device that computes nothing.
func (f *compareFlags) refusals(ctx context.Context, run *table.Run, algorithms []string) (map[string]string, error) {
	if err := (compare.Experiment{}).Check(run.Config); err != nil {
		return nil, usageError{err}
	}
	limit, err := f.limit()
	if err != nil {
		return nil, err
	}
	dev := null.New()
	ex := tensor.NewExecutor(dev)
	ex.LimitMemory(limit)
	refused, err := compare.Refusals(ctx, ex, run.Config.(compare.Config), run.Data, algorithms)
	if err != nil && ctx.Err() == nil && !errors.Is(err, device.ErrMemory) {
		err = usageError{err} // the settings do not go with the problem
	}
	return refused, errors.Join(err, ex.Close(), dev.Close())
}

// leaveOut takes the algorithms that are refused out of a recipe, which then says why.
func leaveOut(r *table.Recipe, algorithms []string, refused map[string]string) error {
	var why []string
	for _, name := range algorithms {
		if reason, ok := refused[name]; ok {
			why = append(why, reason)
			r.About = append(r.About, "Refused: "+reason+".")
		}
	}
	r.Methods = slices.DeleteFunc(r.Methods, func(m table.Method) bool { return refused[m.Name] != "" })
	if len(r.Methods) == 0 {
		return usagef("no algorithm is left to compare: %s", strings.Join(why, "; "))
	}
	return nil
}
