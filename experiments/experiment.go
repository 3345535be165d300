package experiments

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"bilevel/data"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Experiment is an application: it runs one cell at a time.
type Experiment interface {
	Name() string
	// Cells are the rows of the table that a configuration stands for, one for each seed.
	Cells(config any, seeds []uint64) ([]Cell, error)
	// Run does one cell. When ctx ends it returns with an error, within about a tenth of a second, or when the batch of
	// an evaluation that it is in is done.
	Run(ctx context.Context, env *Env, c Cell) (*Record, error)
	// Report says how its records are shown.
	Report() Report
}

// Shortener is an experiment that can do less of the same: Shorten is a configuration whose run takes as much memory on
// the device and ends after a few iterations of each stage, however many the configuration asks for.
type Shortener interface{ Shorten(config any) any }

// Cell is one run: a configuration and a seed. Two cells with the same key give the same record.
type Cell struct {
	Experiment string `json:"experiment"`
	Config     any    `json:"config"` // a plain struct that JSON knows
	Seed       uint64 `json:"seed"`
	Data       string `json:"data,omitempty"` // Fingerprint of the rows and files that it is of
}

// Key is a name for the cell that depends on its content alone: the first 16 hexadecimal digits of the SHA-256 of its
// JSON.
func (c Cell) Key() (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("the configuration of %s cannot be written as JSON: %w", c.Experiment, err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// SeedCells are one cell for each seed, all of one configuration.
func SeedCells(experiment string, config any, seeds []uint64) []Cell {
	cells := make([]Cell, len(seeds))
	for i, seed := range seeds {
		cells[i] = Cell{Experiment: experiment, Config: config, Seed: seed}
	}
	return cells
}

// Fields lists the names of a configuration's settings, those of its fields in JSON.
func Fields(config any) (names []string) {
	t := reflect.TypeOf(config)
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// Env is what a run works with.
type Env struct {
	Executor *tensor.Executor
	Data     *data.Dataset
	Memory   int64                        // most bytes for variables and functions on the device; 0: what it has free
	Settings map[string]string            // of the run that no configuration of a cell has, for its record
	Stage    func(name string, total int) // a new piece of work of so many units; may be nil
	Progress func(done int)               // may be nil
	Note     func(text string)            // a number to be shown beside, such as the loss; may be nil
	Keeper   *Keeper                      // of the cell's checkpoints; nil: none are made
}

// Begin says that a new piece of work of so many units begins, Done how many of them are done.
func (e *Env) Begin(name string, total int) {
	if e.Stage != nil {
		e.Stage(name, total)
	}
}

func (e *Env) Done(units int) {
	if e.Progress != nil {
		e.Progress(units)
	}
}

// Say shows a number beside the progress, such as the current loss.
func (e *Env) Say(format string, args ...any) {
	if e.Note != nil {
		e.Note(fmt.Sprintf(format, args...))
	}
}

// Hooks hear of a table's cells: Begin of the number of a cell that begins, Finished of all records so far. Both may be
// nil.
type Hooks struct {
	Begin    func(i int)
	Finished func([]*Record) error
}

// Run does cells one after the other, each on an executor of its own, and gives the records of those that were finished
// also where a later one fails. With a store, cells that are finished are taken from it, and one that was begun goes
// on.
func Run(ctx context.Context, dev tensor.Device, env Env, x Experiment, cells []Cell, store *Store, h Hooks) (
	records []*Record, err error) {
	for i, c := range cells {
		if h.Begin != nil {
			h.Begin(i)
		}
		r, ran, err := runCell(ctx, dev, env, x, c, store)
		if err != nil {
			return records, err
		}
		records = append(records, r)
		// Where the last cell was finished before, a kill may have come before its results were written.
		if h.Finished != nil && (ran || i == len(cells)-1) {
			if err := h.Finished(records); err != nil {
				return records, err
			}
		}
	}
	return records, nil
}

// CellError is the error of a run itself, and not of what keeps it.
type CellError struct{ error }

func (e *CellError) Unwrap() error { return e.error }

// RunCell does one cell, or takes it from the store. An error of the experiment is a CellError, which is also that of
// ctx where a stop ended the run.
func RunCell(ctx context.Context, dev tensor.Device, env Env, x Experiment, c Cell, store *Store) (*Record, error) {
	r, _, err := runCell(ctx, dev, env, x, c, store)
	return r, err
}

// runCell is RunCell that tells whether there was anything to do.
func runCell(ctx context.Context, dev tensor.Device, env Env, x Experiment, c Cell, store *Store) (
	r *Record, ran bool, err error) {
	key, err := c.Key()
	if err != nil {
		return nil, false, err
	}
	if store != nil {
		r, from, err := store.open(c, key)
		if r != nil || err != nil {
			return r, false, err
		}
		env.Keeper = &Keeper{store, c, key, from}
	}
	env.Executor = tensor.NewExecutor(dev)
	env.Executor.LimitMemory(env.Memory)
	if r, err = x.Run(ctx, &env, c); err != nil {
		if ctx.Err() == nil { // else the device may still be in a long iteration, and the process ends anyway
			env.Executor.Close()
		} else if !errors.Is(err, ctx.Err()) {
			err = errors.Join(err, ctx.Err())
		}
		return nil, true, &CellError{err}
	}
	if err := env.Executor.Close(); err != nil {
		return nil, true, err
	}
	r.Experiment, r.Key, r.Seed, r.Data, r.Device = x.Name(), key, c.Seed, c.Data, dev.Info().Name
	for name, value := range env.Settings {
		r.Texts["settings."+name] = value
	}
	if store != nil {
		err = store.finish(key, r)
	}
	return r, true, err
}

// Upload puts labelled rows on the scope's device, as the rows "features" and "label".
func Upload(sc *tensor.Scope, s *data.Set) (problem.Rows, error) {
	kind, write := tensor.Real, func(x *tensor.Variable) error { return x.Write32(s.Features) }
	if s.Bytes != nil {
		kind, write = tensor.Byte, func(x *tensor.Variable) error { return x.WriteBytes(s.Bytes) }
	}
	x, a := sc.Variable("features", kind, s.N(), s.Dim), sc.Variable("labels", tensor.Int, s.N())
	err := errors.Join(write(x), a.WriteInts(s.Labels))
	return problem.Rows{"features": problem.On(x.Node()), "label": problem.On(a.Node())}, err
}

// CheckBatch refuses minibatches that the training rows cannot give.
func CheckBatch(batch, train int) error {
	if batch < 1 || batch > train {
		return Usagef("minibatches of %d rows out of %d training rows: wants 1 to %d", batch, train, train)
	}
	return nil
}
