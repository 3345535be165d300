package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"bilevel/device"
	"bilevel/device/null"
	"bilevel/experiments/table"
)

// untilClosed ends when ctx does or when a stream is closed, as that of a worker is when the process that started it
// ends, in whatever way.
func untilClosed(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx
}

// child is a process of this program that works for another one.
type child struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// startChild starts this program with a table's recipe, folder and device, and with more flags.
func (f *tableFlags) startChild(recipe string, threads int, more ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{
		"table", recipe, "--out", f.out, "--device", f.device, "--threads", strconv.Itoa(threads),
		"--matmul", f.matmul, "--checkpoint-every", f.every.String(), "--memory", f.memory,
		"--quiet", "--worker",
	}
	c := &child{cmd: exec.Command(program, append(args, more...)...)}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return c, c.cmd.Start()
}

// wait waits for the process. Its error is the sentence that the process ended with.
func (c *child) wait() error {
	err := c.cmd.Wait()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(c.stderr.String()), "\n")
	if sentence, ok := strings.CutPrefix(lines[len(lines)-1], "bilevel: "); ok {
		return errors.New(sentence)
	}
	return fmt.Errorf("process %d ended with %v", c.cmd.Process.Pid, err)
}

// threadsOf are the threads that each of n processes gets: all together, those of the machine.
func (f *tableFlags) threadsOf(n int) int {
	if f.threads > 0 {
		return f.threads
	}
	return max(1, runtime.GOMAXPROCS(0)/n)
}

// startWorkers has processes of this program work off the table, and waits for them.
func (a *app) startWorkers(
	ctx context.Context, f *tableFlags, t *table.Table, folder *table.Folder, shard table.Shard,
) error {
	recipe := filepath.Join(f.out, table.RecipeFile)
	ended := make(chan error, f.workers)
	var workers []*child
	for range f.workers {
		w, err := f.startChild(recipe, f.threadsOf(f.workers), "--shard", fmt.Sprintf("%d/%d", shard.I, shard.N))
		if err != nil {
			return err
		}
		defer w.stdin.Close()
		workers = append(workers, w)
		go func() { ended <- w.wait() }()
	}
	p := newProgress(a.stderr, f.quiet)
	p.json = f.show == progressJSON
	p.stage("cells", len(t.Cells))
	look := time.NewTicker(time.Second)
	defer look.Stop()
	a.working.Lock() // until the workers have written what a stop leaves
	var errs []error
	for left := f.workers; left > 0; {
		select {
		case err := <-ended:
			left--
			if err != nil {
				errs = append(errs, err)
			}
		case <-look.C:
			p.set(folder.Done(t))
		case <-ctx.Done():
			for _, w := range workers {
				w.stdin.Close()
			}
			for ; left > 0; left-- {
				<-ended
			}
		}
	}
	a.working.Unlock()
	p.end()
	for _, w := range workers {
		for line := range strings.Lines(w.stderr.String()) {
			if strings.HasPrefix(line, "warning: ") {
				fmt.Fprint(a.stderr, line)
			}
		}
	}
	whole := true
	for i, c := range t.Cells {
		whole = whole && (!shard.Has(i) || folder.Has(c))
	}
	if len(errs) == 0 || ctx.Err() != nil {
		return nil
	}
	if whole { // the others have done its work
		fmt.Fprintf(a.stderr, "warning: a worker did not end well, and others did its cells: %v\n", errs[0])
		return nil
	}
	return errs[0]
}

// trialFor is how long a row is tried for.
const trialFor = 3 * time.Second

// tryCell is the process of a trial: it prints what it saw.
func (a *app) tryCell(ctx context.Context, f *tableFlags, t *table.Table) error {
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	for _, c := range t.Cells {
		if c.Key == f.trial {
			meter := null.NewMeter(dev)
			trial := table.Try(untilClosed(ctx, os.Stdin), meter, t.Rows[c.Row].Run, c, trialFor,
				func() (flop, seconds float64) {
					work, took := meter.Done()
					return work.FLOP, took.Seconds()
				})
			if h, ok := dev.(device.Holder); ok {
				_, trial.Buffers = h.Held()
			}
			text, err := json.Marshal(trial)
			fmt.Fprintf(a.stdout, "%s\n", text)
			return err // the device may still be in an iteration: the process ends without waiting for it
		}
	}
	return usagef("--trial %s: there is no such cell", f.trial)
}

// basisText says what the figures of a dry run are based on.
const basisText = `seconds are those of trials on this machine, or of cells that are finished, under the load then.
buffers: the most that the device holds at once at any stage of a cell, its evaluation included, counted from the
compiled programs and uploads of a run that computes nothing. process: the most memory of a process that does a cell:
after a trial, what the process of the trial took beside its buffers, and the counted buffers where they are memory of
the process; after finished cells, the most that their process held at any of its cells. Pages of buffers that no
program has touched are counted and not held
`

// dryRun prints the cells and what they are expected to take.
func (a *app) dryRun(
	ctx context.Context, f *tableFlags, t *table.Table, folder *table.Folder, shard table.Shard,
) error {
	dir, err := os.MkdirTemp("", "bilevel-table-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	recipe := filepath.Join(dir, "recipe.yaml")
	text, err := t.Recipe.YAML()
	if err != nil {
		return err
	}
	if err := os.WriteFile(recipe, text, 0o600); err != nil {
		return err
	}
	needs, err := a.rehearseRows(ctx, f, t)
	if err != nil {
		return err
	}
	predictions, err := folder.Predict(t, countedNeeds(t, needs), func(c table.Cell) (trial table.Trial, err error) {
		if !f.quiet {
			fmt.Fprintf(a.stderr, "trying %s for about %v\n", t.Name(c.Row), trialFor)
		}
		w, err := f.startChild(recipe, f.threadsOf(f.workers), "--trial", c.Key)
		if err != nil {
			return trial, err
		}
		defer context.AfterFunc(ctx, func() { w.stdin.Close() })()
		if err := w.wait(); err != nil {
			return trial, fmt.Errorf("trial of %s: %w", t.Name(c.Row), err)
		}
		return trial, json.Unmarshal(w.stdout.Bytes(), &trial)
	})
	if err != nil {
		return err
	}
	left := make([]int, len(t.Rows))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "cell\tkey\tstate")
	for i, c := range t.Cells {
		state := folder.State(c)
		if !shard.Has(i) {
			state = "of another shard"
		} else if !folder.Has(c) {
			left[c.Row]++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", t.Title(c), c.Key, state)
	}
	fmt.Fprintln(w, "\nrow\tcells left\tseconds a cell\tpredicted from\tprocess (MiB)\tbuffers (MiB)")
	total, memory, unknown := 0.0, int64(0), 0
	for i, p := range predictions {
		seconds := "?"
		if p.Seconds > 0 {
			seconds = fmt.Sprintf("%.3g", p.Seconds)
		} else {
			unknown += left[i]
		}
		if left[i] > 0 {
			total, memory = total+p.Seconds*float64(left[i]), max(memory, p.Memory)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%.3g\n", t.Name(i), left[i], seconds, p.Basis, p.Memory>>20,
			float64(needs[i].PeakBytes)/(1<<20))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	total /= float64(f.workers)
	fmt.Fprintf(a.stdout,
		"\nabout %.3g s (%.3g h) in all, by --workers %d of %d threads and at most %d MiB each; results go to %s\n",
		total, total/3600, f.workers, f.threadsOf(f.workers), memory>>20, f.out)
	if unknown > 0 {
		fmt.Fprintf(a.stdout, "%d cells are not in this figure, since their trial gave none\n", unknown)
	}
	for i, need := range needs {
		if need.ended != nil {
			fmt.Fprintf(a.stdout, "%s is counted only until it ends without numbers: %v\n", t.Name(i), need.ended)
		}
	}
	if _, err = fmt.Fprint(a.stdout, basisText); err != nil {
		return err
	}
	return writeCards(a.stdout, t, needs)
}

// rehearseRows counts, for each row, what a cell takes on the device and has to do there.
func (a *app) rehearseRows(ctx context.Context, f *tableFlags, t *table.Table) ([]rehearsal, error) {
	dev, err := f.openDevice()
	if err != nil {
		return nil, err
	}
	info := dev.Info()
	needs := make([]rehearsal, len(t.Rows))
	for _, c := range t.Cells {
		if run := t.Rows[c.Row].Run; needs[c.Row].PeakBytes == 0 {
			need, err := rehearse(ctx, info, run.Data, run.Experiment, c.Cell)
			if err != nil {
				return nil, errors.Join(err, dev.Close())
			}
			needs[c.Row] = need
		}
	}
	return needs, dev.Close()
}
