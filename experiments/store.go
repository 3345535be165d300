package experiments

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bilevel/internal/atomicfile"
	"bilevel/solvers/engine"
)

// Store keeps cells in a folder of results, each in its own: DIR/cells/KEY holds checkpoint.safetensors while the cell
// is at work, and record.gob (a checksum and Go's own format, which keeps every bit) once it is finished.
type Store struct {
	Dir     string
	Resume  bool          // go on with what the folder holds; else a cell begins anew
	Every   time.Duration // between checkpoints; 0: a minute
	Share   bool          // cells keep for each other what they have in common, see Keeper.Share
	Version string        // of the program, for warnings
	Device  string        // and instruction set
	Warn    func(format string, args ...any)
	// First, where set, is called once, before the first file is written: it writes the configuration beside.
	First func() error

	mu      sync.Mutex // cells at work beside each other may share a store
	written bool       // a file was written, and First called
}

// Written tells whether a file of a cell was written.
func (s *Store) Written() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// begin is called before a file of a cell is written.
func (s *Store) begin(key string) (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.written && s.First != nil {
		if err := s.First(); err != nil {
			return "", err
		}
	}
	s.written = true
	dir = s.Folder(key)
	return dir, os.MkdirAll(dir, 0o755)
}

// Folder is the folder of a cell.
func (s *Store) Folder(key string) string { return filepath.Join(s.Dir, "cells", key) }

func (s *Store) warn(format string, args ...any) {
	if s.Warn != nil {
		s.Warn(format, args...)
	}
}

// open readies a cell: its record where it is finished, its checkpoint where it was begun.
func (s *Store) open(c Cell, key string) (*Record, *Checkpoint, error) {
	dir := s.Folder(key)
	if !s.Resume {
		return nil, nil, os.RemoveAll(dir)
	}
	if r, err := s.Record(key); r != nil || err != nil {
		return r, nil, err
	}
	p, err := ReadCheckpoint(filepath.Join(dir, "checkpoint.safetensors"))
	if isMissing(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w; remove it to begin the cell anew", err)
	}
	here, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	if p.Key != key {
		return nil, nil, fmt.Errorf("the checkpoint in %s is of another configuration: %s", dir,
			Difference(p.Cell, here))
	}
	if p.Version != s.Version || p.Device != s.Device {
		s.warn("the checkpoint was made by version %s on %s, this is %s on %s: the run goes on, but may not end with "+
			"the same bits", p.Version, p.Device, s.Version, s.Device)
	}
	return nil, p, nil
}

// CheckResume refuses a folder that holds cells, but none of these: one whose configuration was changed since. Its
// error says what differs.
func (s *Store) CheckResume(cells []Cell) error {
	var others []string
	entries, err := os.ReadDir(filepath.Join(s.Dir, "cells"))
	if err != nil && !isMissing(err) {
		return err
	}
	for _, e := range entries {
		others = append(others, e.Name())
	}
	for _, c := range cells {
		key, err := c.Key()
		if err != nil || slices.Contains(others, key) {
			return err
		}
	}
	if len(others) == 0 {
		return nil
	}
	begun, difference := "", ""
	if r, err := s.Record(others[0]); err == nil && r != nil {
		begun = r.Data
	} else if p, err := ReadCheckpoint(filepath.Join(s.Folder(others[0]), "checkpoint.safetensors")); err == nil {
		var there Cell
		here, err := json.Marshal(cells[0])
		if err := errors.Join(err, json.Unmarshal(p.Cell, &there)); err != nil {
			return err
		}
		begun, difference = there.Data, ": "+Difference(p.Cell, here)
	}
	if begun != "" && begun != cells[0].Data {
		return fmt.Errorf("%s was begun with other data: rows, or a file that the run reads, have changed since; "+
			"begin anew in another folder with --out", s.Dir)
	}
	return fmt.Errorf("%s holds cells of another configuration%s; begin anew in another folder with --out", s.Dir,
		difference)
}

// Record is the record of a cell that is finished, nil where it is not.
func (s *Store) Record(key string) (*Record, error) {
	path := filepath.Join(s.Folder(key), RecordFile)
	text, err := os.ReadFile(path)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if text, err = unsealed(text); err == nil {
		err = gob.NewDecoder(bytes.NewReader(text)).Decode((*plainRecord)(r))
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; remove it to run the cell again", path, err)
	}
	if r.Key != key {
		return nil, fmt.Errorf("%s is the record of another cell, %s; remove it to run the cell again", path, r.Key)
	}
	return r, nil
}

// Finished tells whether a cell has a record, without reading it.
func (s *Store) Finished(key string) bool {
	_, err := os.Stat(filepath.Join(s.Folder(key), RecordFile))
	return err == nil
}

// RecordFile is the name of a finished cell's record.
const RecordFile = "record.gob"

// plainRecord has no MarshalJSON, and is what gob writes.
type plainRecord Record

// finish keeps a record and removes the checkpoint.
func (s *Store) finish(key string, r *Record) error {
	dir, err := s.begin(key)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode((*plainRecord)(r)); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, RecordFile), sealed(b.Bytes())); err != nil {
		return err
	}
	err = os.Remove(filepath.Join(dir, "checkpoint.safetensors"))
	if isMissing(err) {
		return nil
	}
	return err
}

// Keeper saves and restores the stages of one cell.
type Keeper struct {
	store *Store
	cell  Cell
	key   string
	from  *Checkpoint // nil: from the start
}

// Stage readies a stage: the snapshot that it goes on from, nil where there is none, and the function that makes its
// checkpoints, with the time between them. log is what the stage notes down; Restore gives back what was noted before.
func (k *Keeper) Stage(stage string, log *Log) (
	resume *engine.Snapshot, checkpoint func(*engine.Snapshot) error, every time.Duration) {
	if k == nil || k.store == nil {
		return nil, nil, 0
	}
	if k.from != nil && k.from.Stage == stage {
		resume = k.from.Snapshot
	}
	return resume, func(s *engine.Snapshot) error {
		if err := k.Save(stage, s, log); err != nil {
			k.warn(err)
		}
		return nil
	}, k.store.Every
}

// Restore is the stage that the checkpoint was made in, "" without one, and the log of that time, or an empty one.
func (k *Keeper) Restore(columns ...string) (stage string, log *Log) {
	if k == nil || k.from == nil {
		return "", NewLog(columns...)
	}
	return k.from.Stage, k.from.Log
}

// Leave saves what a run of the engine has come to, and gives its error. A stage that is over is saved too: what comes
// after it, such as the evaluation on the test rows, makes no checkpoints, and a stop there loses nothing of the stage.
func (k *Keeper) Leave(stage string, out *engine.Outcome, log *Log) error {
	if out.Status == engine.NotFinite {
		return out.Err()
	}
	return k.Ended(stage, out.Last, log, out.Err())
}

// Ended saves where a stage stands that has ended, with its error; nil: it is over.
func (k *Keeper) Ended(stage string, s *engine.Snapshot, log *Log, err error) error {
	failed := k.Save(stage, s, log)
	if err != nil {
		return errors.Join(err, failed)
	}
	if failed != nil {
		k.warn(failed)
	}
	return nil
}

// warn says that the checkpoint before is still the last one, and the run goes on.
func (k *Keeper) warn(err error) { k.store.warn("no checkpoint could be written: %v", err) }

// Save writes the checkpoint of a stage.
func (k *Keeper) Save(stage string, s *engine.Snapshot, log *Log) error {
	if k == nil || k.store == nil {
		return nil
	}
	cell, err := json.Marshal(k.cell)
	if err != nil {
		return err
	}
	c := &Checkpoint{
		Cell: cell, Key: k.key, Version: k.store.Version, Device: k.store.Device, Stage: stage, Snapshot: s,
		Columns: log.columns, Log: log.until(s.Iteration),
	}
	dir, err := k.store.begin(k.key)
	if err != nil {
		return err
	}
	return c.Write(filepath.Join(dir, "checkpoint.safetensors"))
}

func sortedKeys(of ...map[string]any) (keys []string) {
	all := map[string]bool{}
	for _, m := range of {
		for k := range m {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
