package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bilevel/experiments"
	"bilevel/internal/atomicfile"
)

// Folder keeps a table: table.yaml is its recipe, cells/KEY holds each cell: cell.json, what it is; its lock and
// checkpoint while it is at work; record.gob or failure.json once it is done; and cost.json, what it took.
type Folder struct {
	Dir   string
	Store *experiments.Store
}

// Names of the files of a folder and of a cell.
const (
	RecipeFile  = "table.yaml" // as effective, and good as input
	cellFile    = "cell.json"
	failureFile = "failure.json"
	costFile    = "cost.json"
)

// Open readies a folder for a table: it is new, or holds the same table by the same version. store says how cells are
// kept.
func Open(t *Table, store *experiments.Store) (*Folder, error) {
	f := &Folder{store.Dir, store}
	there, err := readRecipe(f.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for _, other := range []string{"config.yaml", "cells", "result.json"} {
			if _, err := os.Stat(filepath.Join(f.Dir, other)); err == nil {
				return nil, fmt.Errorf("%s holds results of another command (%s and no %s): give another folder",
					f.Dir, other, RecipeFile)
			}
		}
	case err != nil:
		return nil, err
	case there.Version != store.Version:
		return nil, fmt.Errorf("the table in %s was made by another version, %s, and this is %s: give another folder",
			f.Dir, there.Version, store.Version)
	default:
		if d := difference(there, t.Recipe); d != "" {
			return nil, fmt.Errorf("the folder %s holds another table: %s; give another folder", f.Dir, d)
		}
	}
	for _, c := range t.Cells {
		if err := f.check(c); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Write puts the recipe into the folder.
func (f *Folder) Write(r *Recipe) error {
	of := *r
	of.Version = f.Store.Version
	text, err := of.YAML()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(f.Dir, RecipeFile), text)
}

func readRecipe(dir string) (*Recipe, error) {
	path := filepath.Join(dir, RecipeFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return r, nil
}

func (f *Folder) path(key, name string) string { return filepath.Join(f.Store.Folder(key), name) }

// check refuses a cell's folder that holds another cell.
func (f *Folder) check(c Cell) error {
	here, err := json.Marshal(c.Cell)
	if err != nil {
		return err
	}
	there, err := os.ReadFile(f.path(c.Key, cellFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !bytes.Equal(there, here) {
		err = fmt.Errorf("the folder %s holds another cell: %s; remove it to run the cell again",
			f.Store.Folder(c.Key), experiments.Difference(there, here))
	}
	return err
}

// begin makes a cell's folder, and writes down what it is of.
func (f *Folder) begin(c Cell) error {
	if _, err := os.Stat(f.path(c.Key, cellFile)); err == nil {
		return nil
	}
	if err := os.MkdirAll(f.Store.Folder(c.Key), 0o755); err != nil {
		return err
	}
	return f.write(c.Key, cellFile, c.Cell)
}

// failure is why a cell has no record.
type failure struct {
	Reason string `json:"reason"`
}

// Cost is what a cell took. Memory is the most that its process ever held, which may have been at an earlier cell.
type Cost struct {
	Seconds float64 `json:"seconds"` // of processes that ended it or were told to stop; what was killed is not counted
	// Processor is the seconds of processor time in that, 0 where nobody tells.
	Processor float64 `json:"processor_seconds"`
	Memory    int64   `json:"memory"` // bytes; 0: unknown
}

// done tells whether a cell needs no more work.
func (f *Folder) done(key string) bool {
	_, err := os.Stat(f.path(key, failureFile))
	return err == nil || f.Store.Finished(key)
}

// Has tells whether a cell is done.
func (f *Folder) Has(c Cell) bool { return f.done(c.Key) }

// read takes a cell's small JSON file, and leaves to as it is where there is none.
func (f *Folder) read(key, name string, to any) error {
	path := f.path(key, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		if err = json.Unmarshal(text, to); err != nil {
			err = fmt.Errorf("%s cannot be read: %w; remove it to run the cell again", path, err)
		}
	}
	return err
}

func (f *Folder) write(key, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(f.path(key, name), text)
}

// spend adds to what a cell took.
func (f *Folder) spend(key string, d time.Duration, processor float64) error {
	var c Cost
	if err := f.read(key, costFile, &c); err != nil {
		return err
	}
	c.Seconds += d.Seconds()
	c.Processor += processor
	c.Memory = max(c.Memory, peakMemory())
	return f.write(key, costFile, c)
}

// Retry forgets the failures of a table's cells.
func (f *Folder) Retry(t *Table) error {
	for _, c := range t.Cells {
		if err := os.Remove(f.path(c.Key, failureFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Done is how many of a table's cells need no more work.
func (f *Folder) Done(t *Table) (n int) {
	for _, c := range t.Cells {
		if f.done(c.Key) {
			n++
		}
	}
	return n
}

// Outcome is what has become of a cell: a record, a reason why there is none, or neither yet. Of the record only
// numbers, sets and warnings are kept, and the curve where the recipe has curves drawn.
type Outcome struct {
	Cell   Cell
	Record *experiments.Record
	Reason string
	Cost   Cost
}

// Outcomes reads all of a table's cells, in its order.
func (f *Folder) Outcomes(t *Table) ([]Outcome, error) {
	out := make([]Outcome, len(t.Cells))
	for i, c := range t.Cells {
		r, err := f.Store.Record(c.Key)
		if err != nil {
			return nil, err
		}
		if r != nil {
			kept := &experiments.Record{
				Key: r.Key, Seed: r.Seed, Device: r.Device, Scalars: r.Scalars, Counts: r.Counts, Warnings: r.Warnings,
				Sets: r.Sets,
			}
			if len(t.Recipe.Curves) > 0 {
				kept.Curve = r.Curve
			}
			r = kept
		}
		var why failure
		out[i] = Outcome{Cell: c, Record: r}
		if err := errors.Join(f.read(c.Key, failureFile, &why), f.read(c.Key, costFile, &out[i].Cost)); err != nil {
			return nil, err
		}
		if r == nil {
			out[i].Reason = why.Reason
		}
	}
	return out, nil
}
