package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Robust training from the command line: its result has the keys of robustness benchmarks, its own settings come from
// flags, from the configuration beside the results and from a table's recipe, and all three give the same run.
func TestRobustTrain(t *testing.T) {
	inNewFolder(t)
	const quick = "robust train --quiet --json --model mlp:12 --train 300 --val 100 --epochs 2 --n-examples 50 "
	first := untimed(t, bilevel(quick+"--method fast-bat-official --set step=20 --seed 4 --out a"))
	require.Equal(t, "Linf", first["threat_model"])
	require.EqualValues(t, 50, first["n_examples"])
	require.Positive(t, first["implicit"])
	require.Equal(t, first, untimed(t, bilevel("robust train --quiet --json --config a/config.yaml --out b")))
	require.Equal(t, first, untimed(t, bilevel("robust train --quiet --json --resume a")))
	writeFiles(t, ".", map[string][]byte{"study.yaml": []byte(`
title: one method beside its control
experiment: robust train
settings: {data: digits, model: mlp:12, train: 300, val: 100, epochs: 2, n_examples: 50}
methods:
  fast-bat-official: {method: fast-bat-official, step: 20}
  fast-bat-no-implicit: {method: fast-bat-no-implicit, step: 20}
seeds: [4]
measures: [robust_acc, implicit]
`)})
	r := bilevel("table study.yaml --quiet --json --out t")
	require.Equal(t, exitOK, r.code, r.stderr)
	rows := lastLine(t, r)["rows"].([]any)
	require.Len(t, rows, 2)
	value := func(row, measure int) any {
		return rows[row].(map[string]any)["values"].([]any)[measure].(map[string]any)["mean"]
	}
	require.Equal(t, first["robust_acc"], value(0, 0))
	require.Equal(t, first["implicit"], value(0, 1))
	require.Zero(t, value(1, 1))
}

// A table of robust cells whose process is killed in the middle of one, and which another process then goes on with, is
// the same bytes as one that nobody disturbed.
func TestRobustTableGoesOnAfterAKill(t *testing.T) {
	inNewFolder(t)
	writeText(t, "study.yaml", `
title: cells with and without the state of a perturbation
experiment: robust train
settings: {data: digits, model: mlp:24, batch_norm: true, train: 600, val: 100, epochs: 12, n_examples: 40}
methods:
  fast-bat-official: {method: fast-bat-official, step: 20}
  free: {method: free, replays: 4}
seeds: 1
`)
	require.Equal(t, exitOK, bilevel("table study.yaml --quiet --out whole --threads 1").code)
	want := tableFiles(t, "whole")
	c, _ := start(t, "table study.yaml --quiet --out killed --checkpoint-every 1ms --threads 1")
	checkpoints := func() []string {
		found, err := filepath.Glob(filepath.Join("killed", "cells", "*", "checkpoint.safetensors"))
		require.NoError(t, err)
		return found
	}
	require.Eventually(t, func() bool { return len(checkpoints()) == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	require.Len(t, checkpoints(), 1, "a cell is unfinished")
	require.Equal(t, exitOK, bilevel("table study.yaml --quiet --out killed --threads 1").code)
	require.Empty(t, checkpoints())
	require.Equal(t, want, tableFiles(t, "killed"))
}

func TestRobustTrainRefuses(t *testing.T) {
	inNewFolder(t)
	for line, want := range map[string]string{
		"--eps 8":                        "--eps is 8, but pixels are in [0, 1]: did you mean 8/255, which is 0.03",
		"--eps -0.1":                     "wants a number from 0 to 1",
		"--evaluate train":               `evaluate is "train": wants test or validation`,
		"--ensemble apgd":                `ensemble: unknown attack "apgd"`,
		"--ensemble-examples 0":          "--ensemble-examples 0: wants 1 to",
		"--restarts 0":                   "--restarts 0: wants 1 to",
		"--method fast-bet":              `did you mean "fast-bat"?`,
		"--set implicit=1":               `fast-at has no setting "implicit"`,
		"--method pgd --set steps=1.5":   "pgd: the setting steps wants a whole number",
		"--set bn=of":                    "wants train, frozen or eval",
		"--set wormup=1":                 `unknown setting "wormup"; did you mean "warmup"?`,
		"--method standard --set step=1": `standard has no settings, and so no "step"`,
		"--schedule ciclic":              `did you mean "cyclic"?`,
	} {
		refused(t, bilevel("robust train "+line), exitUsage, want)
	}
	require.Contains(t, bilevel("robust train --eps 8/255 --print-config").stdout, "\neps: 0.03137254901960784\n")
	refused(t, bilevel("robust train --white 4"), exitEnvironment, "is no pixel from 0 to 4",
		"give the value of a white pixel")
	refused(t, bilevel("robust tain"), exitUsage, `did you mean "train"?`)
	require.Contains(t, bilevel("robust").stdout, "Train a classifier against perturbations")
}
