package experiments

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/ref"
	"bilevel/solvers/engine"
)

// saving is an experiment that makes a checkpoint of its own, and then ends.
type saving struct{ kept func() }

func (saving) Name() string { return "saving" }
func (saving) Cells(config any, seeds []uint64) ([]Cell, error) {
	return SeedCells("saving", config, seeds), nil
}
func (saving) Report() Report { return Report{} }
func (s saving) Run(_ context.Context, env *Env, _ Cell) (*Record, error) {
	_, checkpoint, _ := env.Keeper.Stage("one", NewLog("iteration"))
	err := checkpoint(&engine.Snapshot{Iteration: 1, Arrays: map[string][]float64{"y": {1, 2}}})
	s.kept()
	return NewRecord(), err
}

// Whoever holds the store knows that a file is being written exactly while it is.
func TestStoreIsHeldWhileItWrites(t *testing.T) {
	dir := t.TempDir()
	files := func(pattern string) int {
		found, err := filepath.Glob(filepath.Join(dir, "cells", "*", pattern))
		require.NoError(t, err)
		return len(found)
	}
	var log []string
	dev := ref.New()
	cells, err := saving{}.Cells(1, []uint64{1})
	require.NoError(t, err)
	store := &Store{Dir: dir, Hold: func() func() {
		before := files("checkpoint*") + files("record*")
		log = append(log, "held")
		return func() {
			if after := files("checkpoint*") + files("record*"); after != before || files("record*") == 1 {
				log = append(log, "written")
			}
		}
	}}
	kept := func() { log = append(log, "kept"); require.Equal(t, 1, files("checkpoint*")) }
	_, err = Run(t.Context(), dev, Env{}, saving{kept}, cells, store, Hooks{})
	require.NoError(t, err)
	require.Equal(t, []string{"held", "written", "kept", "held", "written"}, log)
	require.Zero(t, files("checkpoint*"))
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, dev.Close())
}
