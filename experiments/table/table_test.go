package table

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/tensor"
)

// invented is an experiment whose loss is size·seed + noise, so that every statistic is known. A negative size fails.
// Of the kinds "diverges" and "is lost" the last seed of three comes to no number, or all do.
type invented struct {
	mu   sync.Mutex
	runs map[string]int
	wait chan struct{} // where set, runs wait for it to be closed
}

type inventedConfig struct {
	Size, Noise float64
	Kind        string
}

func (*invented) Name() string { return "invented" }

func (*invented) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	return experiments.SeedCells("invented", config, seeds), nil
}

func (*invented) Report() experiments.Report {
	return experiments.Report{Rows: []experiments.Row{
		{Title: "the loss", Scalar: "loss"}, {Title: "  a part of it", Scalar: "part", Percent: true},
		{Title: "time", Scalar: "seconds"},
	}}
}

func (x *invented) Run(ctx context.Context, env *experiments.Env, c experiments.Cell) (*experiments.Record, error) {
	config := c.Config.(inventedConfig)
	x.mu.Lock()
	x.runs[fmt.Sprint(config, c.Seed)]++
	x.mu.Unlock()
	if x.wait != nil {
		select {
		case <-x.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if config.Size < 0 {
		return nil, errors.New("the size is negative")
	}
	r := experiments.NewRecord()
	if config.Noise > 0 && c.Seed == 3 {
		r.Warn("it is noisy")
	}
	r.Scalars["loss"] = config.Size*float64(c.Seed) + config.Noise
	if config.Kind == "is lost" || config.Kind == "diverges" && c.Seed == 3 {
		r.Scalars["loss"] = math.NaN()
	}
	r.Scalars["seconds"] = float64(time.Now().UnixNano())
	r.Scalars["part_seconds"], r.Scalars["latency.one"] = r.Scalars["seconds"], r.Scalars["seconds"]
	elements := make([]float64, 4)
	elements[(c.Seed-1)%4], elements[c.Seed%4] = 1, 1
	r.Sets = append(r.Sets, experiments.NewSet("chosen", elements))
	r.Counts["oracle.hvp"], r.Counts["oracle.values"], r.Counts["oracle.samples"] = 3, 4, 100
	return r, nil
}

func newInvented() *invented { return &invented{runs: map[string]int{}} }

// application gives the experiment settings as a command would.
func (x *invented) application(set *data.Dataset) []Application {
	return []Application{{Name: "invented", Make: func(settings map[string]any) (*Run, error) {
		number := func(name string) float64 {
			var v float64
			fmt.Sscan(fmt.Sprint(settings[name]), &v)
			return v
		}
		kind, _ := settings["kind"].(string)
		return &Run{x, inventedConfig{number("size"), number("noise"), kind}, set}, nil
	}}}
}

func someRows(values ...float32) *data.Dataset {
	return &data.Dataset{Train: &data.Set{Features: values, Labels: make([]int32, len(values)), Dim: 1}}
}

func expand(t *testing.T, x *invented, text string) *Table {
	t.Helper()
	table, err := Expand(parse(t, text), x.application(someRows(1, 2)))
	require.NoError(t, err)
	return table
}

func open(t *testing.T, table *Table, dir string) *Folder {
	t.Helper()
	f, err := Open(table, &experiments.Store{Dir: dir, Resume: true, Version: "v1"})
	require.NoError(t, err)
	require.NoError(t, f.Write(table.Recipe))
	return f
}

func work(t *testing.T, table *Table, f *Folder, shard Shard) {
	t.Helper()
	w := Worker{Folder: f, Table: table, Shard: shard, Device: device(t)}
	require.NoError(t, w.Run(t.Context()))
}

func result(t *testing.T, table *Table, f *Folder) *Result {
	t.Helper()
	outcomes, err := f.Outcomes(table)
	require.NoError(t, err)
	r := Summarize(table, outcomes)
	require.NoError(t, r.Write(f.Dir, "v1", ""))
	return r
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range []string{"result.json", "table.csv", "differences.csv", "cells.csv", "table.md", "table.tex"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		found[name] = string(text)
	}
	return found
}

func TestExpand(t *testing.T) {
	x := newInvented()
	table := expand(t, x, small)
	require.Len(t, table.Cells, 12)
	require.Equal(t, "two, noise 0.5", table.Name(3))
	require.Equal(t, inventedConfig{2, 0.5, "x"}, table.Cells[9].Config)
	require.Equal(t, uint64(1), table.Cells[9].Seed)
	keys := map[string]bool{}
	for _, c := range table.Cells {
		keys[c.Key] = true
	}
	require.Len(t, keys, 12)

	other, err := Expand(parse(t, small), x.application(someRows(1, 3)))
	require.NoError(t, err)
	require.NotEqual(t, table.Cells[0].Key, other.Cells[0].Key, "other data are another cell")

	for change, want := range map[string]string{
		"experiment: invented>experiment: inventd": `"inventd" (there are invented); did you mean "invented"?`,
		"experiment: invented>":                    "method one has no experiment: wants one of invented",
		"two: {size: 2, kind: x}>two: {size: 1}":   `"one, noise 0" and "two, noise 0" are one and the same run`,
	} {
		from, to, _ := strings.Cut(change, ">")
		_, err := Expand(parse(t, strings.Replace(small, from, to, 1)), x.application(someRows(1)))
		require.ErrorContains(t, err, want)
	}
}

// Losses are size·seed + noise for the seeds 1, 2, 3: means 2, 2.5, 4, 4.5, deviations 1 and 2, differences 1, 2, 3
// with mean 2 and deviation 1, and 0.975 of Student's distribution with two degrees of freedom lie below 4.302653.
func TestResult(t *testing.T) {
	x := newInvented()
	table := expand(t, x, small)
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Equal(t, 12, r.Finished)
	require.Empty(t, r.State())
	for i, want := range []float64{2, 2.5, 4, 4.5} {
		require.InDelta(t, want, float64(r.Rows[i].Values[0].Mean), 1e-12)
		require.InDelta(t, []float64{1, 1, 2, 2}[i], float64(r.Rows[i].Values[0].Std), 1e-12)
		require.Equal(t, Stat{3, 7, 0}, r.Rows[i].Calls)
		require.Equal(t, Stat{3, 100, 0}, r.Rows[i].Samples)
	}
	require.Len(t, r.Differences, 2)
	for _, d := range r.Differences {
		require.Equal(t, "two", d.Method)
		require.InDelta(t, 2, float64(d.Mean), 1e-12)
		require.InDelta(t, 1, float64(d.Std), 1e-12)
		require.InDelta(t, 2-4.302653/1.7320508, float64(d.Low), 1e-5)
		require.InDelta(t, 2+4.302653/1.7320508, float64(d.High), 1e-5)
	}
	got := files(t, f.Dir)
	require.Contains(t, got["table.csv"], "two,0.5,3,0,0,4.5,2,3,7,0,100,0\n")
	require.Contains(t, got["table.md"], "| two    | 0.5   | 3     | 4.5 ± 2 | 7            |\n")
	require.Contains(t, got["table.md"], "Warnings:\n\n| cell                   | warning     |\n"+
		"| ---                    | ---         |\n"+
		"| one, noise 0.5, seed 3 | it is noisy |\n| two, noise 0.5, seed 3 | it is noisy |\n")
	require.Contains(t, got["table.tex"], "two & 0.5 & 3 & 4.5 $\\pm$ 2 & 7 \\\\\n")
	for name, text := range got {
		require.NotContains(t, text, "seconds", name)
	}
	for _, n := range x.runs {
		require.Equal(t, 1, n)
	}
	work(t, table, f, Shard{1, 1})
	for cell, n := range x.runs {
		require.Equal(t, 1, n, "%s: what is finished is not run again", cell)
	}
}

// Seeds 1, 2 and 3 chose {0, 1}, {1, 2} and {2, 3} of four elements: half, none and half in common, where chance would
// give half.
func TestOverlap(t *testing.T) {
	table := expand(t, newInvented(), small)
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Len(t, r.Overlaps, 4)
	require.Equal(t, "chosen", r.Overlaps[3].Set)
	require.Equal(t, []string{"0.5"}, r.Overlaps[3].Varied)
	require.Equal(t, 3, r.Overlaps[3].N)
	require.InDelta(t, 1.0/3, float64(r.Overlaps[3].Mean), 1e-12)
	require.InDelta(t, 0.5, float64(r.Overlaps[3].Chance), 1e-12)
	require.Contains(t, files(t, f.Dir)["table.md"],
		"| two    | 0.5   | chosen | 3     | 33.33 ± 28.87 % | 50.00 %   |\n")
}

// Times that a recipe asks for are shown to people, and are in no file that whoever repeats the table should get alike.
// Plots are drawn as the recipe asks.
func TestClocksAndPlots(t *testing.T) {
	text := strings.Replace(small, "[loss]", "[loss, part_seconds]\nplots: [[noise, loss]]", 1)
	table := expand(t, newInvented(), text)
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Len(t, r.Measures, 1)
	require.Len(t, r.Clocks, 1)
	require.Equal(t, 3, r.Times[0][0].N)
	for name, text := range files(t, f.Dir) {
		require.NotContains(t, text, "seconds", name)
		require.NotContains(t, text, "latency", name)
	}
	var shown strings.Builder
	require.NoError(t, r.Show(&shown))
	require.Contains(t, shown.String(), "part seconds")
	csv, err := os.ReadFile(filepath.Join(f.Dir, "seconds.csv"))
	require.NoError(t, err)
	require.Contains(t, string(csv), "memory,record.latency.one,record.part_seconds,record.seconds\n")
	require.Len(t, r.sweeps(), 1)
	require.Equal(t, experiments.SweepLine{Name: "two", At: [][]float64{{2, 4, 6}, {2.5, 4.5, 6.5}}},
		r.sweeps()[0].Lines[1])
	require.Equal(t, []float64{0, 0.5}, r.sweeps()[0].Values)
	page, err := os.ReadFile(filepath.Join(f.Dir, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), `aria-label="loss-noise"`)
}

func TestFailuresAreRows(t *testing.T) {
	x := newInvented()
	table := expand(t, x, strings.Replace(small, "two: {size: 2, kind: x}", "two: {size: -2}", 1))
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	r := result(t, table, f)
	require.Equal(t, []int{6, 6, 0}, []int{r.Finished, r.Failed, r.Missing})
	require.Equal(t, "6 cells have failed", r.State())
	require.Equal(t, 0, r.Differences[0].N)
	got := files(t, f.Dir)
	require.Contains(t, got["cells.csv"], ",failed,,,,,the size is negative\n")
	require.Contains(t, got["table.md"], "| two, noise 0.5, seed 3 | the size is negative |")
	require.Contains(t, got["table.md"], "| two    | 0.5   | 0 of 3 | –")
	work(t, table, f, Shard{1, 1})
	require.Equal(t, 1, x.runs["{-2 0 } 1"], "a failure is kept")
	require.NoError(t, f.Retry(table))
	work(t, table, f, Shard{1, 1})
	require.Equal(t, 2, x.runs["{-2 0 } 1"])
	require.Equal(t, 1, x.runs["{1 0 } 1"])
}

// Shards in folders of their own are partial, and merged they are the table that one process makes.
func TestShardsAndMerge(t *testing.T) {
	x := newInvented()
	table := expand(t, x, small)
	dir := t.TempDir()
	whole := open(t, table, filepath.Join(dir, "whole"))
	work(t, table, whole, Shard{1, 1})
	result(t, table, whole)
	var parts []string
	for i := 1; i <= 3; i++ {
		part := open(t, table, filepath.Join(dir, fmt.Sprint(i)))
		work(t, table, part, Shard{i, 3})
		require.Contains(t, result(t, table, part).State(), "8 cells are missing: this table is partial")
		require.Contains(t, files(t, part.Dir)["table.md"], "made up (partial)")
		parts = append(parts, part.Dir)
	}
	merged := open(t, table, filepath.Join(dir, "merged"))
	require.NoError(t, merged.Merge(table, parts))
	require.NoError(t, merged.Merge(table, append(parts, merged.Dir)), "it may be done again")
	result(t, table, merged)
	require.Equal(t, files(t, whole.Dir), files(t, merged.Dir))

	// A cell that two folders have must be the same in both.
	c := table.Cells[0]
	require.NoError(t, os.RemoveAll(whole.Store.Folder(c.Key)))
	wrong := newInvented()
	bad := *table
	bad.Rows = append([]Row{}, table.Rows...)
	run := *table.Rows[0].Run
	run.Experiment = shifted{wrong}
	bad.Rows[0].Run = &run
	work(t, &bad, whole, Shard{1, 1})
	require.ErrorContains(t, merged.Merge(table, []string{whole.Dir}),
		"disagree on the cell "+c.Key+" (one, noise 0, seed 1)")
}

// shifted gives another loss for the same cell.
type shifted struct{ *invented }

func (x shifted) Run(ctx context.Context, env *experiments.Env, c experiments.Cell) (*experiments.Record, error) {
	r, err := x.invented.Run(ctx, env, c)
	r.Scalars["loss"]++
	return r, err
}

func TestFoldersRefused(t *testing.T) {
	x := newInvented()
	table := expand(t, x, small)
	dir := t.TempDir()
	f := open(t, table, dir)
	work(t, table, f, Shard{1, 1})
	refused := func(table *Table, version, want string) {
		t.Helper()
		_, err := Open(table, &experiments.Store{Dir: dir, Version: version})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
	refused(table, "v2", "was made by another version, v1, and this is v2: give another folder")
	refused(expand(t, x, strings.Replace(small, "size: 1", "size: 3", 1)), "v1", "holds another table: methods is")
	_, err := Open(expand(t, x, strings.Replace(small, "seeds: 3", "seeds: 4", 1)), f.Store)
	require.NoError(t, err, "more seeds are the same table")

	first, second := f.Store.Folder(table.Cells[0].Key), f.Store.Folder(table.Cells[1].Key)
	text, err := os.ReadFile(filepath.Join(second, cellFile))
	require.NoError(t, err)
	mine, err := os.ReadFile(filepath.Join(first, cellFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(first, cellFile), text, 0o600))
	refused(table, "v1", "holds another cell: the seed is 2 there, 1 here; remove it")
	require.NoError(t, os.WriteFile(filepath.Join(first, cellFile), mine, 0o600))
	text, err = os.ReadFile(filepath.Join(second, experiments.RecordFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(first, experiments.RecordFile), text, 0o600))
	_, err = f.Outcomes(table)
	require.ErrorContains(t, err, "is the record of another cell, "+table.Cells[1].Key)

	for _, name := range []string{"config.yaml", "result.json"} {
		foreign := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(foreign, name), nil, 0o600))
		_, err = Open(table, &experiments.Store{Dir: foreign})
		require.ErrorContains(t, err, "holds results of another command ("+name)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, RecipeFile), []byte("mehtods: {}"), 0o600))
	refused(table, "v1", `unknown key "mehtods"`)
	_, err = MergedRecipe([]string{t.TempDir()}, t.TempDir())
	require.ErrorContains(t, err, "holds no table")
}

func TestUnknownMeasure(t *testing.T) {
	x := newInvented()
	table := expand(t, x, strings.Replace(small, "[loss]", "[los]", 1))
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	require.Equal(t, []string{`no cell has the measure los; did you mean "loss"?`}, result(t, table, f).Notes)

	lost := strings.NewReplacer("one: {", "one: {kind: is lost, ", "kind: x", "kind: is lost")
	table = expand(t, x, lost.Replace(small))
	f = open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	require.Equal(t, []string{"no run came to a number for the measure loss"}, result(t, table, f).Notes)

	table = expand(t, x, strings.Replace(small, "measures: [loss]", "", 1))
	require.Equal(t, []Measure{{"loss", "the loss", false}}, measures(table),
		"what explains another number, and time, are left out")
}

// device is one that the invented experiment does not use.
func device(t *testing.T) tensor.Device {
	t.Helper()
	dev := ref.New()
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

// Workers beside each other on one folder do every cell once.
func TestWorkersBesideEachOther(t *testing.T) {
	x := newInvented()
	table := expand(t, x, small)
	f := open(t, table, t.TempDir())
	dev := device(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			w := Worker{Folder: f, Table: table, Shard: Shard{1, 1}, Device: dev}
			assert.NoError(t, w.Run(t.Context()))
		})
	}
	wg.Wait()
	require.Len(t, x.runs, 12)
	for cell, n := range x.runs {
		require.Equal(t, 1, n, cell)
	}
	require.Equal(t, 12, f.Done(table))
}

// A record counts for more than a failure beside it, wherever the two are read.
func TestRecordBesideAFailure(t *testing.T) {
	table := expand(t, newInvented(), small)
	f := open(t, table, t.TempDir())
	work(t, table, f, Shard{1, 1})
	c := table.Cells[0]
	require.NoError(t, f.write(c.Key, failureFile, failure{"the disk was full"}))
	outcomes, err := f.Outcomes(table)
	require.NoError(t, err)
	require.NotNil(t, outcomes[0].Record)
	require.Empty(t, outcomes[0].Reason)
	require.Equal(t, "finished", f.State(c))
}

// What cannot be written leaves the file that is there as it is.
func TestWhatCannotBeWritten(t *testing.T) {
	table := expand(t, newInvented(), small)
	f := open(t, table, t.TempDir())
	c := table.Cells[0]
	require.NoError(t, f.begin(c))
	require.NoError(t, f.write(c.Key, costFile, Cost{Seconds: 3}))
	require.ErrorContains(t, f.write(c.Key, costFile, Cost{Seconds: math.NaN()}), "NaN")
	var left Cost
	require.NoError(t, f.read(c.Key, costFile, &left))
	require.Equal(t, 3.0, left.Seconds)
}

// A stop leaves the cell at work free for the next.
func TestStop(t *testing.T) {
	x := newInvented()
	x.wait = make(chan struct{})
	table := expand(t, x, small)
	f := open(t, table, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	w := Worker{Folder: f, Table: table, Shard: Shard{1, 1}, Device: device(t), Begin: func(Cell) { cancel() }}
	require.ErrorIs(t, w.Run(ctx), context.Canceled)
	require.Equal(t, "begun", f.State(table.Cells[0]))
	require.Equal(t, "to do", f.State(table.Cells[1]))
	close(x.wait)
	work(t, table, f, Shard{1, 1})
	require.Equal(t, "finished", f.State(table.Cells[0]))
	require.Equal(t, 12, f.Done(table))
}

// One seed has no deviation, which is not the deviation 0 of seeds that agree.
func TestDeviationOfOneSeed(t *testing.T) {
	require.Equal(t, []string{"3", ""}, statistics([]float64{3}).fields())
	require.Equal(t, []string{"3", "0"}, statistics([]float64{3, 3}).fields())
}

// Sentences of the recipe stand beside the table, and one axis may also be shown as columns. Neither makes another
// table of a folder.
func TestAboutAndSpread(t *testing.T) {
	x := newInvented()
	dir := t.TempDir()
	table := expand(t, x, small)
	work(t, table, open(t, table, dir), Shard{1, 1})
	table = expand(t, x, small+"about: [Three seeds., One size each.]\nspread: noise\n")
	f := open(t, table, dir)
	r := result(t, table, f)
	require.NoError(t, r.Write(dir, "v1", ""))
	text := files(t, dir)["table.md"]
	require.Contains(t, text, "# made up\n\nThree seeds. One size each.\n")
	require.Contains(t, text, "| method | loss, noise 0 | loss, noise 0.5 |")
	mean := func(row int) string { return r.Measures[0].number(r.Rows[row].Values[0].Mean) }
	line := regexp.MustCompile(`(?m)^\| two +\| ([^ ]+) +\| ([^ ]+) +\|$`).FindStringSubmatch(text)
	require.Equal(t, []string{mean(2), mean(3)}, line[1:])
	var shown strings.Builder
	require.NoError(t, r.Show(&shown))
	require.Contains(t, shown.String(), "One size each.\n")
	_, err := Parse([]byte(small + "spread: size\n"))
	require.ErrorContains(t, err, `spread: vary has no setting "size"`)
	_, err = Parse([]byte(small + "about: [1]\n"))
	require.ErrorContains(t, err, "about: 1: wants sentences")
}
