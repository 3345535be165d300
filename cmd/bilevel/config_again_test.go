package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/experiments/prune"
	"bilevel/experiments/robust"
	"bilevel/solvers"
)

// choices are the commands with a configuration, each with every method that it has.
func choices() (lines []string) {
	lines = []string{"train", "clean", "robust attack"}
	for _, method := range prune.Methods() {
		lines = append(lines, "prune run --method "+method)
	}
	methods, _ := robust.Methods()
	for _, method := range methods {
		lines = append(lines, "robust train --method "+method)
	}
	for _, e := range solvers.Algorithms() {
		lines = append(lines, "clean --weights plain --algo "+e.Name())
	}
	return lines
}

// What --print-config prints, every command accepts again with every method: as --config and in a folder that it goes
// on with.
func TestPrintedConfigurationsAreAccepted(t *testing.T) {
	inNewFolder(t)
	require.NoError(t, os.Mkdir("folder", 0o755))
	file := filepath.Join("folder", configFile)
	for _, line := range choices() {
		printed := bilevel(line + " --print-config")
		require.Equal(t, exitOK, printed.code, "%s: %s", line, printed.stderr)
		writeText(t, file, printed.stdout)
		again := command(t.Context(), append(wordsOf(line), "--print-config", "--config", file))
		require.Equal(t, printed, again, line)
		again = command(t.Context(), append(wordsOf(line), "--print-config", "--resume", "folder"))
		require.Equal(t, printed, again, line)
	}
}

// wordsOf are the words of a line before its flags.
func wordsOf(line string) []string {
	c, _, _ := (&app{}).root().Find(strings.Fields(line))
	return strings.Fields(words(c))
}

// What a run writes beside its results is accepted again, and a run that is begun goes on.
func TestWrittenConfigurationsAreAccepted(t *testing.T) {
	inNewFolder(t)
	const model = "m/model.safetensors"
	for i, line := range []string{
		"train --model softmax --epochs 1",
		"clean --weights none --model softmax --iters 5",
		"clean --weights plain --iters 5 --algo hoag",
		"clean --weights plain --iters 5 --algo shine",
		"clean --weights plain --iters 5 --algo bisls",
		"prune run --model mlp:8 --method omp --pretrain-epochs 1 --finetune-epochs 1 --skip-latency",
		"prune run --model mlp:8 --method bip --prune-step 0.05 --pretrain-epochs 1 --prune-epochs 1 " +
			"--finetune-epochs 1 --skip-latency",
		"robust train --model mlp:8 --epochs 1 --n-examples 20",
		"robust attack --attack fgsm --n-examples 20 --model " + model,
	} {
		out := fmt.Sprint("out", i)
		if i == 0 {
			out = "m"
		}
		run := strings.Join(wordsOf(line), " ")
		first := untimed(t, bilevel(line+" --quiet --json --out "+out))
		require.Equal(t, first, untimed(t, bilevel(run+" --quiet --json --resume "+out)), line)
		for _, again := range []string{" --resume " + out, " --out again --config " + filepath.Join(out, configFile)} {
			require.NoError(t, os.RemoveAll(filepath.Join(out, "cells")))
			got := untimed(t, bilevel(run+" --quiet --json"+again))
			for _, name := range []string{"key", "oracle", "test_error", "test_accuracy", "robust_acc"} {
				require.Equal(t, first[name], got[name], line+again)
			}
		}
	}
}
