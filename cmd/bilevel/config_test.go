package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const quick = "train --quiet --json --model softmax --epochs 2 --train 200 --val 100 "

func writeText(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// result is the JSON line of a command, without what depends on the clock.
func untimed(t *testing.T, r result) map[string]any {
	t.Helper()
	require.Equal(t, exitOK, r.code, r.stderr)
	got := lastLine(t, r)
	delete(got, "seconds")
	delete(got, "epoch_seconds")
	return got
}

// The effective configuration beside the results is one that --config takes, and gives the same run.
func TestConfigurationIsItsOwnInput(t *testing.T) {
	inNewFolder(t)
	first := untimed(t, bilevel(quick+"--step 0.07 --seed 9 --out a"))
	again := untimed(t, bilevel("train --quiet --json --config a/config.yaml --out b"))
	require.Equal(t, first, again)
	one, err := os.ReadFile(filepath.Join("a", "config.yaml"))
	require.NoError(t, err)
	two, err := os.ReadFile(filepath.Join("b", "config.yaml"))
	require.NoError(t, err)
	require.Equal(t, string(one), string(two))
	require.Contains(t, string(one), "\nstep: 0.07\n")
	require.Contains(t, string(one), "\n# step size\nstep:", "every setting with what it means")

	other := untimed(t, bilevel("train --quiet --json --config a/config.yaml --step 0.01 --out c"))
	require.NotEqual(t, first, other, "flags override the file")

	printed := bilevel(quick + "--step 0.07 --seed 9 --print-config")
	require.Equal(t, string(one), printed.stdout)
	for _, command := range []string{"clean", "train"} {
		writeText(t, command+".yaml", bilevel(command+" --print-config").stdout)
		require.Equal(t, exitOK, bilevel(command+" --print-config --config "+command+".yaml").code)
	}
}

func TestConfigurationsRefused(t *testing.T) {
	dir := inNewFolder(t)
	for text, want := range map[string]string{
		"stap: 0.1":          `c.yaml: unknown setting "stap"; did you mean "step"?`,
		"step: often":        "c.yaml: step is often: wants a number",
		"epochs: [1]":        "c.yaml: epochs is [1]: wants a whole number",
		"model: {a: 1}":      "c.yaml: model is [{a 1}]: wants a value",
		"epochs: 1.5":        "c.yaml: epochs is 1.5: wants a whole number",
		"command: clean":     "c.yaml is a configuration of `bilevel clean`, not of `bilevel train`",
		"out: elsewhere":     `c.yaml: unknown setting "out"`,
		"- 1\n- 2":           "c.yaml is no YAML of names and values",
		"step: [1":           "c.yaml is no YAML of names and values",
		"schedule: liner":    `unknown schedule "liner"`,
		"model: mlp:10-many": `"many" is no width of a hidden layer`,
		"optimizer: lion":    `unknown optimizer "lion"`,
	} {
		writeText(t, "c.yaml", text)
		refused(t, bilevel("train --quiet --config c.yaml"), exitUsage, want)
	}
	refused(t, bilevel("train --config missing.yaml"), exitEnvironment, "missing.yaml")
	refused(t, bilevel("train --resume missing"), exitEnvironment, "missing is no folder of results to go on with")
	refused(t, bilevel("train --resume a --config c.yaml"), exitUsage, "a run that goes on has its configuration in")
	refused(t, bilevel("train --checkpoint-every 0s"), exitUsage, "wants a positive time, such as 30s")
	require.Equal(t, []string{"c.yaml"}, listing(t, dir))
}

// What is finished is not done again, and settings of a run that goes on cannot be changed.
func TestResume(t *testing.T) {
	inNewFolder(t)
	first := untimed(t, bilevel(quick+"--seeds 2 --out a"))
	records, err := filepath.Glob(filepath.Join("a", "cells", "*", "record.gob"))
	require.NoError(t, err)
	require.Len(t, records, 2)
	before, err := os.Stat(records[0])
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Dir(records[1])), "one cell is lost")
	require.NoError(t, os.Remove(filepath.Join("a", "result.json")))
	again := untimed(t, bilevel("train --quiet --json --resume a"))
	require.Equal(t, fixed(first), fixed(again))
	require.FileExists(t, filepath.Join("a", "result.json"))
	after, err := os.Stat(records[0])
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime())

	refused(t, bilevel("train --resume a --step 0.5"), exitUsage, "--resume goes on with", "step is 0.05 and not 0.5",
		"leave the flag out")
	moved := bilevel("train --quiet --resume a --device ref --threads 1")
	require.Equal(t, exitOK, moved.code, moved.stderr)
	writeText(t, records[0], "nonsense")
	refused(t, bilevel("train --quiet --resume a"), exitEnvironment, "record.gob cannot be read",
		"remove it to run the cell again")
	checkpoint := filepath.Join(filepath.Dir(records[0]), "checkpoint.safetensors")
	require.NoError(t, os.Remove(records[0]))
	writeText(t, checkpoint, "nonsense")
	refused(t, bilevel("train --quiet --resume a"), exitEnvironment, "is no checkpoint",
		"remove it to begin the cell anew")
}

// A folder that holds a table is left alone, and a set that is smaller than the usual minibatch is one minibatch.
func TestTrainInAFolderOfATable(t *testing.T) {
	inNewFolder(t)
	require.NoError(t, os.Mkdir("a", 0o755))
	writeText(t, filepath.Join("a", "table.yaml"), "experiment: train\n")
	refused(t, bilevel("train --quiet --out a"), exitEnvironment, "a holds a table (table.yaml)")
	require.Equal(t, []string{"table.yaml"}, listing(t, "a"))

	r := bilevel("train --quiet --epochs 1 --train 20 --out b")
	require.Equal(t, exitOK, r.code, r.stderr)
	text, err := os.ReadFile(filepath.Join("b", "config.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(text), "\nbatch: 20\n")
	refused(t, bilevel("train --quiet --epochs 1 --train 20 --batch 32 --out b"), exitUsage, "minibatches of 32 rows")
}

// fixed is a summary without its times.
func fixed(summary map[string]any) string {
	delete(summary, "seconds")
	text, _ := json.Marshal(summary)
	return string(text)
}

func TestTrainAndPredict(t *testing.T) {
	inNewFolder(t)
	r := bilevel("train --json --epochs 4 --batch-norm --ema 0.9 --out a")
	require.Equal(t, exitOK, r.code, r.stderr)
	got := lastLine(t, r)
	require.Less(t, got["test_error"].(float64), 0.1)
	require.Contains(t, r.stderr, "test error")
	p := bilevel("predict --model a/model.safetensors --out labels.csv")
	require.Equal(t, exitOK, p.code, p.stderr)
	labels, err := os.ReadFile("labels.csv")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(labels)), "\n")
	require.Equal(t, "row,label,probability", lines[0])
	require.Len(t, lines, 1+1797)
	same := bilevel("predict --model a/model.safetensors")
	require.Equal(t, string(labels), same.stdout)
	more := bilevel("train --json --quiet --epochs 1 --step 1e-6 --batch-norm --from a/model.safetensors --out b")
	require.Less(t, lastLine(t, more)["val_error"].(float64), 0.15, "training goes on from the model")

	refused(t, bilevel("predict"), exitUsage, "predict wants --model FILE")
	refused(t, bilevel("predict --model missing"), exitEnvironment, "the model cannot be read")
	writeText(t, "m", "nonsense")
	refused(t, bilevel("predict --model m"), exitEnvironment, "m is no model")
	refused(t, bilevel("predict --model m.npz"), exitEnvironment, "m.npz is an archive of NumPy arrays")
	refused(t, bilevel("predict --model a/model.safetensors --part val"), exitUsage, "has no such part")
	refused(t, bilevel("train --quiet --model mlp:7 --from a/model.safetensors"), exitEnvironment,
		`0.weight is [300 64], not [7 64]`)
}

// --set names a setting as a configuration file does, or the algorithm's own, and the file beside the results has both.
func TestSet(t *testing.T) {
	inNewFolder(t)
	flags := untimed(t, bilevel(quick+"--step 0.07 --out a"))
	require.Equal(t, flags, untimed(t, bilevel(quick+"--set step=0.07 --out b")))
	const plain = "clean --quiet --json --weights plain --iters 20 --algo f2sa "
	without := untimed(t, bilevel(plain+"--out c"))
	with := untimed(t, bilevel(plain+"--set inner_steps=3 --set reg=0.01 --out d"))
	require.NotEqual(t, without["oracle"], with["oracle"])
	require.Equal(t, with, untimed(t, bilevel("clean --quiet --json --config d/config.yaml --out e")))
	require.Equal(t, with, untimed(t, bilevel("clean --quiet --json --resume d --set inner_steps=3")))
	require.Equal(t, with, untimed(t, bilevel("clean --quiet --json --resume d --set reg=0.01")))

	const several = "--set inner_steps=3 --set multiplier=2 "
	two := untimed(t, bilevel(plain+several+"--out f"))
	require.Equal(t, two, untimed(t, bilevel("clean --quiet --json --resume f "+several)), "each in the file's order")
	refused(t, bilevel("clean --quiet --resume f --set inner_steps=4"), exitUsage,
		"where set is inner_steps=3, multiplier=2 and not inner_steps=4")
	printed := bilevel("clean --config f/config.yaml --set reg=0.02 --print-config").stdout
	require.Contains(t, printed, `set: ["inner_steps=3","multiplier=2"]`, "another setting leaves those of the file")

	for line, want := range map[string]string{
		plain + "--set inner_stpes=3":                  `unknown setting "inner_stpes"; did you mean "inner_steps"?`,
		plain + "--set terms=3":                        `f2sa has no setting "terms"`,
		plain + "--set inner_steps=x":                  "f2sa: the setting inner_steps wants a whole number",
		plain + "--set reg":                            "--set reg sets nothing: wants NAME=VALUE",
		plain + "--set reg=much":                       "--set: reg is much: wants a number",
		plain + "--set iters=30":                       "--set iters=30: iters is given twice",
		"clean --set multiplier=2":                     "an algorithm's own settings go with --weights plain",
		"train --set out=x":                            `--set: unknown setting "out"`,
		"train --set inner_steps=3":                    `--set: unknown setting "inner_steps"`,
		"clean --quiet --resume d --set inner_steps=4": "--resume goes on with",
	} {
		refused(t, bilevel(line+" "), exitUsage, want)
	}
}
