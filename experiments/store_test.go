package experiments

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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

// Cells at work beside each other may share a store: what comes before the first file is done once.
func TestStoreIsShared(t *testing.T) {
	dev := ref.New()
	var first atomic.Int32
	store := &Store{Dir: t.TempDir(), First: func() error {
		first.Add(1)
		time.Sleep(time.Millisecond) // in which the others come to their first file
		return nil
	}}
	require.False(t, store.Written())
	cells, err := saving{}.Cells(1, []uint64{1, 2, 3, 4})
	require.NoError(t, err)
	var wg sync.WaitGroup
	for _, c := range cells {
		wg.Go(func() {
			_, err := RunCell(t.Context(), dev, Env{}, saving{func() { assert.True(t, store.Written()) }}, c, store)
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, first.Load())
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

// A byte of a checkpoint or record that is another than was written is noticed.
func TestDamagedFilesAreNoticed(t *testing.T) {
	store := &Store{Dir: t.TempDir()}
	cell := SeedCells("saving", 1, []uint64{1})[0]
	key, err := cell.Key()
	require.NoError(t, err)
	snapshot := &engine.Snapshot{Iteration: 1, Arrays: map[string][]float64{"y": {1, 2.5}}}
	log := NewLog("iteration")
	log.Add([]float64{0}, nil)
	checkpoint := filepath.Join(store.Folder(key), "checkpoint.safetensors")
	require.NoError(t, (&Keeper{store: store, cell: cell, key: key}).Save("one", snapshot, log))
	c, err := ReadCheckpoint(checkpoint)
	require.NoError(t, err)
	require.Equal(t, snapshot.Arrays, c.Snapshot.Arrays)
	damaged(t, checkpoint, func() error { _, err := ReadCheckpoint(checkpoint); return err })
	r := NewRecord()
	r.Key, r.Scalars["x"] = key, 2.5
	require.NoError(t, store.finish(key, r))
	damaged(t, filepath.Join(store.Folder(key), RecordFile), func() error { _, err := store.Record(key); return err })
}

// damaged changes every seventh byte of a file in turn, and expects that reading it is an error.
func damaged(t *testing.T, path string, read func() error) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, read())
	for i := 0; i < len(text); i += 7 {
		text[i] ^= 4
		require.NoError(t, os.WriteFile(path, text, 0o600))
		require.Error(t, read(), "byte %d of %d", i, len(text))
		text[i] ^= 4
	}
}
