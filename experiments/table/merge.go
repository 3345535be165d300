package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"bilevel/experiments"
	"bilevel/internal/atomicfile"
)

// MergedRecipe is the recipe of the folders of one table, with the seeds of all of them and of the folder that they are
// merged into, which may be new. In all else it is that of the first folder, from which Merge lets none differ.
func MergedRecipe(dirs []string, into string) (*Recipe, error) {
	var merged *Recipe
	for i, dir := range append(slices.Clone(dirs), into) {
		r, err := readRecipe(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && i == len(dirs):
			return merged, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s holds no table: it has no %s", dir, RecipeFile)
		case err != nil:
			return nil, err
		case merged == nil:
			merged = r
		}
		for _, seed := range r.Seeds {
			if !slices.Contains(merged.Seeds, seed) {
				merged.Seeds = append(merged.Seeds, seed)
			}
		}
	}
	return merged, nil
}

// Merge copies what other folders of the same table have finished, or failed at, into the folder. Where two have the
// same cell, their numbers must agree.
func (f *Folder) Merge(t *Table, dirs []string) error {
	for _, dir := range dirs {
		if same, err := sameFolder(dir, f.Dir); same || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		from, err := Open(t, &experiments.Store{Dir: dir, Version: f.Store.Version})
		if err != nil {
			return err
		}
		for _, c := range t.Cells {
			if err := f.take(t, from, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameFolder(a, b string) (bool, error) {
	there, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	here, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(there, here), err
}

// take copies one cell. A record goes before a failure, which may have been another machine's.
func (f *Folder) take(t *Table, from *Folder, c Cell) error {
	if !from.done(c.Key) {
		return nil
	}
	theirs, err := from.Store.Record(c.Key)
	if err != nil {
		return err
	}
	ours, err := f.Store.Record(c.Key)
	if err != nil {
		return err
	}
	if ours != nil {
		if theirs != nil && !sameNumbers(ours, theirs) {
			return fmt.Errorf("the folders %s and %s disagree on the cell %s (%s): remove it where it is wrong",
				f.Dir, from.Dir, c.Key, t.Title(c))
		}
		return nil
	}
	if theirs == nil && f.done(c.Key) {
		return nil
	}
	if err := f.begin(c); err != nil {
		return err
	}
	last := failureFile
	if theirs != nil {
		last = experiments.RecordFile
	}
	for _, name := range []string{costFile, last} { // the one that makes the cell done comes last
		text, err := os.ReadFile(from.path(c.Key, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := atomicfile.WriteFile(f.path(c.Key, name), text); err != nil {
			return err
		}
	}
	if theirs == nil {
		return nil
	}
	err = os.Remove(f.path(c.Key, failureFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sameNumbers compares all numbers of two records but those that are read off a clock.
func sameNumbers(a, b *experiments.Record) bool {
	text := func(r *experiments.Record) []byte {
		numbers := map[string]Number{}
		for name, v := range r.Scalars {
			if !timed(name) {
				numbers[name] = Number(v)
			}
		}
		for name, n := range r.Counts {
			numbers["count "+name] = Number(n)
		}
		b, _ := json.Marshal(numbers) // finite numbers and nulls
		return b
	}
	return bytes.Equal(text(a), text(b))
}
