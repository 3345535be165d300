package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// a recipe of pruning whose cells have their pretraining, and the rounds of magnitude pruning, in common.
const pruned = `
title: pruned
experiment: prune run
settings: {data: digits, model: "mlp:20-10", batch: 60, val: 300, pretrain_epochs: 6, prune_epochs: 3}
methods:
  omp: {method: omp, finetune_epochs: 2}
  imp: {method: imp, finetune_epochs: 2, part: 0.5}
  bip: {method: bip, finetune_epochs: {0.3: 2, 0.1: 3}}
vary:
  keep: [0.3, 0.1]
seeds: 2
measures: [test_accuracy, implicit.share, mask_seconds]
plots: [[keep, test_accuracy]]
`

// A table of pruning whose process is killed again and again ends with the bytes of one that never was, and its cells
// leave nothing behind that only they have use for.
func TestKilledTableOfPruning(t *testing.T) {
	inNewFolder(t)
	writeText(t, "pruned.yaml", pruned)
	r := bilevel("table pruned.yaml --quiet --threads 1 --out whole")
	require.Equal(t, exitOK, r.code, r.stderr)
	whole := tableFiles(t, "whole")
	require.NotContains(t, whole["table.md"], "mask seconds")
	require.Contains(t, whole["table.md"], "mask")
	require.FileExists(t, filepath.Join("whole", "test_accuracy-keep.svg"))
	require.NoDirExists(t, filepath.Join("whole", "shared"))

	kills := 0
	for wait := 300 * time.Millisecond; ; wait += wait / 4 {
		c, out := start(t, "table pruned.yaml --quiet --threads 1 --out killed --checkpoint-every 1ms")
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case err := <-ended:
			require.NoError(t, err, out.String())
		case <-time.After(wait):
			require.NoError(t, c.Process.Signal(syscall.SIGKILL))
			<-ended
			kills++
			continue
		}
		break
	}
	require.Positive(t, kills)
	require.Equal(t, whole, tableFiles(t, "killed"))
}
