package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A table of 30 rows in two classes; kind is 1 where turned, else 0, for rows with positive x.
func rowsOfTwoKinds(turned bool) string {
	b := &strings.Builder{}
	b.WriteString("x,y,kind\n")
	for i := range 30 {
		x := []string{"-1", "1"}[i%2]
		kind := []string{"0", "1"}[i%2]
		if turned {
			kind = []string{"1", "0"}[i%2]
		}
		b.WriteString(x + "." + strings.Repeat("1", 1+i/6) + ",0." + strings.Repeat("2", 1+i%6) + "," + kind + "\n")
	}
	return b.String()
}

// Whatever a run writes stands in the table of outputs, so that the next run in the folder removes it, and nothing that
// is the user's.
func TestRunsLeaveNothingOfEarlierOnes(t *testing.T) {
	inNewFolder(t)
	require.Equal(t, exitOK, bilevel("train --quiet --model softmax --epochs 1 --out net").code)
	const others = "notes.txt labels-mine.csv model-seed-x.npz error-epochs.txt"
	for _, line := range []string{
		"train --model softmax --epochs 1",
		"clean --weights table --model softmax --iters 5",
		"clean --weights plain --iters 5",
		"prune run --model mlp:8 --method omp --pretrain-epochs 1 --finetune-epochs 1 --skip-latency",
		"robust train --model mlp:8 --epochs 1 --n-examples 20",
		"robust attack --attack fgsm --eps 0.1 --eps 1e-05 --n-examples 20 --model net/model.safetensors",
	} {
		for _, seeds := range []string{" --seeds 2", ""} {
			require.Equal(t, exitOK, bilevel(line+seeds+" --quiet --out a").code)
			for _, name := range listing(t, "a") {
				own := name == configFile || name == "cells" ||
					outputs(strings.Join(wordsOf(line), " ")).MatchString(name)
				require.True(t, own, "%s writes %s", line, name)
			}
			for _, name := range strings.Fields(others) {
				writeText(t, filepath.Join("a", name), "")
			}
			require.NoError(t, removeEarlier("a"))
			require.NoError(t, os.Remove(filepath.Join("a", configFile)))
			require.ElementsMatch(t, strings.Fields(others), listing(t, "a"), line)
			require.NoError(t, os.RemoveAll("a"))
		}
	}
}

// A run in the folder of another leaves nothing of that one, and what a stop leaves is not taken for its results.
func TestRunsInTheSameFolder(t *testing.T) {
	inNewFolder(t)
	require.Equal(t, exitOK, bilevel("clean --quiet --weights table --model softmax --iters 5 --seeds 2 --out a").code)
	const line = "train --quiet --model softmax --epochs 1 --out "
	require.Equal(t, exitOK, bilevel(line+"b").code)
	require.Equal(t, exitOK, bilevel(line+"a").code)
	require.Equal(t, listing(t, "b"), listing(t, "a"))
	cells, err := filepath.Glob(filepath.Join("a", "cells", "*"))
	require.NoError(t, err)
	require.Len(t, cells, 1)

	writeText(t, filepath.Join("a", configFile), "command: something else\n")
	writeText(t, filepath.Join("a", "suspects.csv"), "mine\n")
	require.Equal(t, exitOK, bilevel(line+"a").code)
	require.FileExists(t, filepath.Join("a", "suspects.csv"), "it may be the user's")
}

// No command writes over what it reads.
func TestOutputsThatAreInputs(t *testing.T) {
	inNewFolder(t)
	writeText(t, "own.csv", rowsOfTwoKinds(false))
	const train = "train --quiet --data own.csv --label kind --model softmax --epochs 1 "
	require.Equal(t, exitOK, bilevel(train+"--out a").code)
	const model = "a/model.safetensors"
	require.NoError(t, os.Symlink("own.csv", "link.csv"))
	require.NoError(t, os.Mkdir("data", 0o755))
	writeText(t, filepath.Join("data", "train.csv"), rowsOfTwoKinds(false))
	before, err := os.ReadFile(model)
	require.NoError(t, err)
	const predict = "predict --data own.csv --model " + model
	const prune = "prune run --data own.csv --label kind --method omp --pretrain-epochs 1 "
	for line, want := range map[string]string{
		predict + " --out own.csv":                                    "--out own.csv would replace own.csv",
		predict + " --out link.csv":                                   "--out link.csv would replace own.csv",
		predict + " --out " + model:                                   "which the command reads",
		"predict --data ./data --out data/train.csv --model " + model: "would replace data/train.csv",
		"prune export --model " + model + " --out " + model:           "which the command reads",
		train + "--out a --from " + model:                             "the results would replace " + model,
		prune + "--out a --from " + model:                             "the results would replace " + model,
	} {
		refused(t, bilevel(line), exitUsage, want)
	}
	after, err := os.ReadFile(model)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, exitOK, bilevel("predict --model "+model+" --data own.csv --out labels.csv").code)
}

// A run does not go on with other rows, other trusted rows or another network to start from.
func TestResumeWithOtherData(t *testing.T) {
	inNewFolder(t)
	writeText(t, "own.csv", rowsOfTwoKinds(false))
	require.NoError(t, os.Mkdir("mine", 0o755))
	save := func(name string, values []float32, shape ...int) {
		require.NoError(t, os.WriteFile(filepath.Join("mine", name), array(t, values, shape...), 0o600))
	}
	var x, y, trusted []float32
	for i := range 40 {
		x = append(x, float32(i%2)+0.01*float32(i), float32(i%3))
		y = append(y, float32(i%2))
		trusted = append(trusted, float32(i%4/2))
	}
	save("train_x.npy", x, 40, 2)
	save("train_y.npy", y, 40)
	save("trusted.npy", trusted, 40)
	require.Equal(t, exitOK, bilevel("train --quiet --model softmax --epochs 1 --out net").code)
	for line, change := range map[string]func(){
		"train --data own.csv --label kind --model softmax --epochs 1": func() {
			writeText(t, "own.csv", rowsOfTwoKinds(true))
		},
		"clean --data ./mine --model softmax --weights none --iters 5": func() {
			trusted[0], trusted[2] = trusted[2], trusted[0]
			save("trusted.npy", trusted, 40)
		},
		"train --model softmax --epochs 1 --from net/model.safetensors": func() {
			require.Equal(t, exitOK, bilevel("train --quiet --model softmax --epochs 2 --out net").code)
		},
	} {
		out := strings.Fields(line)[0]
		r := bilevel(line + " --quiet --out " + out)
		require.Equal(t, exitOK, r.code, r.stderr)
		resume := out + " --quiet --resume " + out
		require.Equal(t, exitOK, bilevel(resume).code)
		change()
		refused(t, bilevel(resume), exitEnvironment, out+" was begun with other data: rows, or a file that the run")
		require.NoError(t, os.RemoveAll(out))
	}
}

func TestOutputsAtALinkToNothing(t *testing.T) {
	inNewFolder(t)
	require.NoError(t, os.Symlink("gone", "link"))
	refused(t, bilevel("train --out link"), exitEnvironment, "link: it is a link to gone, which is not there")
}
