package experimentstest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// StopsAtTheEnd stops a cell of an experiment, which makes no checkpoints in its course, where training has just ended:
// before the last record is made, and after it. Both times a checkpoint must be left, from which the cell comes to the
// record of one that was never stopped. It closes the device.
func StopsAtTheEnd(t *testing.T, dev tensor.Device, set *data.Dataset, x experiments.Experiment, config any) {
	cells, err := x.Cells(config, []uint64{3})
	require.NoError(t, err)
	type event struct {
		stage     string
		done      int
		notes     int
		isANumber bool // a note of the loss, which a record ends with; else it tells of progress
	}
	run := func(store *experiments.Store, stop func(event) bool) (*experiments.Record, error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var now event
		tell := func() {
			if stop(now) {
				cancel()
			}
		}
		env := experiments.Env{Data: set,
			Stage:    func(name string, _ int) { now.stage, now.done = name, 0 },
			Progress: func(done int) { now.done, now.isANumber = done, false; tell() },
			Note:     func(string) { now.notes++; now.isANumber = true; tell() },
		}
		return experiments.RunCell(ctx, dev, env, x, cells[0], store)
	}
	var trained, noted event // the last ones of each kind
	whole, err := run(nil, func(e event) bool {
		if e.isANumber {
			noted = e
		} else {
			trained = e
		}
		return false
	})
	require.NoError(t, err)
	for name, stop := range map[string]func(event) bool{
		"before the last record": func(e event) bool {
			return !e.isANumber && e.stage == trained.stage && e.done == trained.done
		},
		"after the last record": func(e event) bool { return e.isANumber && e.notes == noted.notes },
	} {
		store := &experiments.Store{Dir: t.TempDir(), Resume: true, Every: time.Hour}
		_, err := run(store, stop)
		require.ErrorIs(t, err, context.Canceled, name)
		left, err := filepath.Glob(filepath.Join(store.Dir, "cells", "*", "checkpoint.safetensors"))
		require.NoError(t, err)
		require.Len(t, left, 1, name)
		resumed, err := run(store, func(event) bool { return false })
		require.NoError(t, err, name)
		require.Equal(t, Untimed(whole), Untimed(resumed), name)
	}
	require.NoError(t, dev.Close())
}
