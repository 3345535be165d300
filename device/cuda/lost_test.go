package cuda_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/experiments"
	"bilevel/experiments/clean"
)

// A card that is lost in mid run ends the run with a sentence; the last checkpoint stays, and a run that goes on with
// it on another card ends in the same bits as one that was never stopped.
func TestLostCardKeepsTheCheckpoint(t *testing.T) {
	set, err := data.Digits()
	require.NoError(t, err)
	all, rows := set.Train, 80 // few test rows
	set.Train = &data.Set{Features: all.Features[:rows*all.Dim], Labels: all.Labels[:rows], Dim: all.Dim}
	config := clean.Config{
		Corrupt: 0.5, Train: 16, Val: 16, Algorithm: "soba", Schedule: "linear", Step: 0.1, OuterStep: 60, Reg: 0.3,
		Iterations: 8, Batch: 4, Records: 4,
	}
	cell := experiments.Cell{Experiment: "clean", Config: config, Seed: 3}
	run := func(dir string, lost int) (*experiments.Record, int, error) {
		drv, err := sim.New()
		require.NoError(t, err)
		drv.Plain, drv.Faults.Lost = true, lost
		d, err := cuda.New(through(t, drv), cuda.Options{Name: "cuda-sim"})
		require.NoError(t, err)
		store := &experiments.Store{Dir: dir, Resume: true, Every: 1, Version: "test", Device: "card"}
		list, err := experiments.Run(context.Background(), d, experiments.Env{Data: set}, clean.Experiment{},
			[]experiments.Cell{cell}, store, experiments.Hooks{})
		closed := d.Close()
		calls := 0
		for _, n := range drv.Calls() {
			calls += n
		}
		if err != nil {
			require.NoError(t, closed)
			return nil, calls, err
		}
		require.NoError(t, closed)
		return list[0], calls, nil
	}
	whole, calls, err := run(t.TempDir(), 0)
	require.NoError(t, err)
	dir := t.TempDir()
	_, _, err = run(dir, calls*2/3)
	require.ErrorIs(t, err, device.ErrLost)
	require.Regexp(t, `the card is lost to this process[^\n]*; start the program again to use a card$`, err.Error())
	kept, err := filepath.Glob(filepath.Join(dir, "cells", "*", "checkpoint.safetensors"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	at, err := experiments.ReadCheckpoint(kept[0])
	require.NoError(t, err)
	require.NotZero(t, at)
	_, err = os.Stat(filepath.Join(filepath.Dir(kept[0]), "record.gob"))
	require.ErrorIs(t, err, os.ErrNotExist)
	again, _, err := run(dir, 0)
	require.NoError(t, err)
	require.Equal(t, whole.Curve.Rows[len(whole.Curve.Rows)-1][2:], again.Curve.Rows[len(again.Curve.Rows)-1][2:])
	require.Equal(t, whole.Certificate, again.Certificate)
}
