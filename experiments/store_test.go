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

// A folder of another configuration is refused with the difference; one that also holds cells of an earlier run is not.
func TestResumeOfAnotherConfiguration(t *testing.T) {
	type config struct {
		Step float64 `json:"step"`
	}
	cell := func(step float64) []Cell { return SeedCells("saving", config{step}, []uint64{1}) }
	store := &Store{Dir: t.TempDir()}
	require.NoError(t, store.CheckResume(cell(0.1)), "there is nothing")
	key, err := cell(0.1)[0].Key()
	require.NoError(t, err)
	keeper := &Keeper{store: store, cell: cell(0.1)[0], key: key}
	snapshot := &engine.Snapshot{Iteration: 1, Arrays: map[string][]float64{"y": {1}}}
	require.NoError(t, keeper.Save("one", snapshot, NewLog("iteration")))
	require.NoError(t, store.CheckResume(cell(0.1)))
	require.EqualError(t, store.CheckResume(cell(0.2)), store.Dir+" holds cells of another configuration: step is 0.1 "+
		"there, 0.2 here; begin anew in another folder with --out")
	require.NoError(t, store.finish(key, NewRecord()))
	require.EqualError(t, store.CheckResume(cell(0.2)), store.Dir+" holds cells of another configuration; begin anew "+
		"in another folder with --out")
	other, err := cell(0.2)[0].Key()
	require.NoError(t, err)
	_, err = store.begin(other)
	require.NoError(t, err)
	require.NoError(t, store.CheckResume(cell(0.2)))
}
