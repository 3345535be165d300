package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bilevel/experiments"
	"bilevel/internal/cputime"
	"bilevel/tensor"
)

// pollEvery is the time between two looks at cells that other processes hold.
const pollEvery = 200 * time.Millisecond

// Worker does the cells of a shard one after the other, beside any number of other workers on the same folder.
type Worker struct {
	Folder *Folder
	Table  *Table
	Shard  Shard
	Device tensor.Device
	Env    experiments.Env
	Begin  func(c Cell)           // before a cell is run; may be nil
	Wait   func(n int, by string) // told once that n cells are held by others, and by whom one of them is; may be nil
}

// Run works until every cell of the shard has a record or a failure, by whomever. It waits for those that others hold,
// and takes them over where the others die. An error that a cell runs into is that cell's failure; errors of the folder
// end the work, with a cell at work left to go on later.
func (w *Worker) Run(ctx context.Context) error {
	told := false
	for {
		held, by := 0, ""
		for i, c := range w.Table.Cells {
			if !w.Shard.Has(i) || w.Folder.done(c.Key) {
				continue
			}
			other, err := w.try(ctx, c)
			if err != nil {
				return err
			}
			if other != nil {
				held, by = held+1, other.String()
			}
		}
		if held == 0 {
			return nil
		}
		if !told && w.Wait != nil {
			told = true
			w.Wait(held, by)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// errLost is the cause of a cell's end where another host has taken it over.
var errLost = errors.New("another host took the cell over, since this process stood still for too long: " +
	"run the command again")

// try does a cell, or gives the process that holds it.
func (w *Worker) try(ctx context.Context, c Cell) (other *owner, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := w.Folder.Store.Folder(c.Key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	own, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	l, other, err := acquire(dir, self(), func() { lose(errLost) })
	if l == nil || err != nil {
		return other, err
	}
	if w.Folder.done(c.Key) { // by one that was faster
		return nil, l.release(true)
	}
	finished, err := w.do(own, c)
	if context.Cause(own) == errLost {
		return nil, errLost
	}
	if released := l.release(finished); err == nil { // else the cell stays this process's until it ends
		err = released
	}
	return nil, err
}

// do runs a cell that this worker holds.
func (w *Worker) do(ctx context.Context, c Cell) (finished bool, err error) {
	if err := w.Folder.check(c); err != nil {
		return false, err
	}
	left, err := filepath.Glob(w.Folder.path(c.Key, ".*.tmp-*")) // of processes that were killed as they wrote
	if err != nil {
		return false, err
	}
	for _, path := range left {
		os.Remove(path)
	}
	if err := w.Folder.begin(c); err != nil {
		return false, err
	}
	if w.Begin != nil {
		w.Begin(c)
	}
	run, begin, processor := w.Table.Rows[c.Row].Run, time.Now(), cputime.Seconds()
	env := w.Env
	env.Data = run.Data
	_, err = experiments.RunCell(ctx, w.Device, env, run.Experiment, c.Cell, w.Folder.Store)
	if spent := w.Folder.spend(c.Key, time.Since(begin), cputime.Seconds()-processor); spent != nil && err == nil {
		err = spent
	}
	var own *experiments.CellError
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.As(err, &own):
		return true, w.Folder.write(c.Key, failureFile, failure{own.Error()})
	}
	return false, fmt.Errorf("%s: %w", w.Table.Title(c), err)
}
