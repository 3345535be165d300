package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"bilevel/internal/testrun"
)

// asCommand is set where the test's binary is to be the command, as a table's processes start it.
const asCommand = "BILEVEL_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	testrun.CollectLess()
	os.Exit(m.Run())
}

// a recipe of six short cells, which checkpoints of a few milliseconds interrupt often.
const sixCells = `
title: six cells
experiment: train
settings: {data: digits, model: softmax, epochs: 60, train: 300, val: 100}
methods:
  sgd: {optimizer: sgd}
  adam: {optimizer: adam, step: 0.01}
seeds: 3
`

// tableFiles are the files that do not depend on who did which cell.
func tableFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range []string{"result.json", "table.csv", "differences.csv", "cells.csv", "table.md", "table.tex"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		found[name] = string(text)
	}
	return found
}

// prepared is a process of the command that is not started yet, and what it says on standard error.
func prepared(t *testing.T, line string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	c := exec.Command(program, strings.Fields(line)...)
	out := &strings.Builder{}
	c.Stderr = out
	c.Env = append(os.Environ(), asCommand+"=1")
	t.Cleanup(func() { c.Process.Kill() })
	return c, out
}

func start(t *testing.T, line string) (*exec.Cmd, *strings.Builder) {
	t.Helper()
	c, out := prepared(t, line)
	require.NoError(t, c.Start())
	return c, out
}

func TestTable(t *testing.T) {
	t.Setenv(asCommand, "1") // for the processes below
	inNewFolder(t)
	writeText(t, "six.yaml", sixCells)
	r := bilevel("table six.yaml")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^adam +3 +\d`, r.stdout)
	require.Regexp(t, `(?m)^adam − sgd +test error +3 +`, r.stdout)
	require.Contains(t, r.stdout, "report.html: "+filepath.Join("results", "table-six"))
	one := tableFiles(t, filepath.Join("results", "table-six"))

	r = bilevel("table six.yaml --quiet --json --workers 3 --out three")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, 6.0, lastLine(t, r)["finished"])
	require.Equal(t, one, tableFiles(t, "three"), "one process and three give the same bytes")

	for _, part := range []string{"1/2", "2/2"} {
		r := bilevel("table six.yaml --quiet --shard " + part + " --out part" + part[:1])
		require.Equal(t, exitOK, r.code, r.stderr)
		require.Contains(t, tableFiles(t, "part"+part[:1])["table.md"],
			"# six cells (partial)\n\n**3 cells are missing: this table is partial**")
	}
	r = bilevel("table merge part1 part2 --quiet --out whole")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, one, tableFiles(t, "whole"))

	again := bilevel("table three/table.yaml --quiet --out again")
	require.Equal(t, exitOK, again.code, again.stderr)
	require.Equal(t, one, tableFiles(t, "again"), "a folder's recipe is one to run")

	dry := bilevel("table six.yaml --seeds 4 --dry-run --quiet")
	require.Equal(t, exitOK, dry.code, dry.stderr)
	require.Equal(t, 6, strings.Count(dry.stdout, "finished\n"))
	require.Equal(t, 2, strings.Count(dry.stdout, "to do\n"))
	line := regexp.MustCompile(`(?m)^\S+ +1 +\S+ +its finished cells +\d+ +0\.[0-9]+$`)
	require.Len(t, line.FindAllString(dry.stdout, -1), 2, dry.stdout)
	dry = bilevel("table six.yaml --set epochs=2 --seeds 1 --dry-run --quiet --out new")
	require.Equal(t, exitOK, dry.code, dry.stderr)
	require.Equal(t, 2, strings.Count(dry.stdout, "a whole cell run to try it "))
	require.NoDirExists(t, "new")

	require.Equal(t, exitOK, bilevel("table --list").code)
	require.Regexp(t, `(?m)^optimizers +\S.*\(\d+ cells\)$`, bilevel("table --list").stdout)
}

// Cells that fail are rows, and the exit status says that some did.
func TestTableFailures(t *testing.T) {
	inNewFolder(t)
	writeText(t, "six.yaml", strings.Replace(sixCells, "optimizer: adam, step: 0.01", "from: missing.safetensors", 1))
	r := bilevel("table six.yaml --quiet --out out")
	refused(t, r, exitEnvironment,
		"3 of 6 cells failed; "+filepath.Join("out", "table.md")+" says why, and --retry runs them again")
	require.Contains(t, tableFiles(t, "out")["table.md"],
		"the model cannot be read: open missing.safetensors: no such file")
}

// Two processes on one folder do every cell once; one that is killed in the middle of a cell is replaced by the other.
func TestTableOfTwoProcesses(t *testing.T) {
	inNewFolder(t)
	writeText(t, "six.yaml", strings.Replace(sixCells, "model: softmax, epochs: 60", "model: mlp:64, epochs: 400", 1))
	require.Equal(t, exitOK, bilevel("table six.yaml --quiet --out alone").code)
	want := tableFiles(t, "alone")

	a, told := start(t, "table six.yaml --out both --threads 1")
	b, tells := start(t, "table six.yaml --out both --threads 1")
	require.NoError(t, a.Wait())
	require.NoError(t, b.Wait())
	done := map[string]int{}
	line := regexp.MustCompile(`(?m)^(\S+, seed \d) \(.*: train: [0-9.]+ s$`)
	for _, cell := range line.FindAllStringSubmatch(told.String()+tells.String(), -1) {
		done[cell[1]]++
	}
	require.Equal(t, map[string]int{
		"sgd, seed 1": 1, "sgd, seed 2": 1, "sgd, seed 3": 1, "adam, seed 1": 1, "adam, seed 2": 1, "adam, seed 3": 1,
	}, done)
	require.Equal(t, want, tableFiles(t, "both"))

	a, _ = start(t, "table six.yaml --quiet --out killed --checkpoint-every 5ms --threads 1")
	b, _ = start(t, "table six.yaml --quiet --out killed --checkpoint-every 5ms --threads 1")
	require.Eventually(t, func() bool {
		begun, err := filepath.Glob(filepath.Join("killed", "cells", "*", "checkpoint.safetensors"))
		return err == nil && len(begun) == 2
	}, time.Minute, time.Millisecond, "both are in the middle of a cell")
	require.NoError(t, a.Process.Signal(syscall.SIGKILL))
	require.NoError(t, b.Wait())
	require.Error(t, a.Wait())
	require.Equal(t, want, tableFiles(t, "killed"))
}

// A worker ends when the process that started it does, in whatever way, and leaves its cell for the next.
func TestWorkersEndWithTheirParent(t *testing.T) {
	inNewFolder(t)
	writeText(t, "six.yaml", strings.Replace(sixCells, "epochs: 60", "epochs: 100000", 1))
	worker, _ := prepared(t, "table six.yaml --quiet --worker --out out --checkpoint-every 5ms")
	stdin, err := worker.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, worker.Start())
	require.Eventually(t, func() bool {
		begun, err := filepath.Glob(filepath.Join("out", "cells", "*", "checkpoint.safetensors"))
		return err == nil && len(begun) == 1
	}, time.Minute, time.Millisecond)
	require.NoError(t, stdin.Close())
	require.Error(t, worker.Wait())
	locks, err := filepath.Glob(filepath.Join("out", "cells", "*", "lock.1"))
	require.NoError(t, err)
	require.Len(t, locks, 1)
	text, err := os.ReadFile(locks[0])
	require.NoError(t, err)
	require.Contains(t, string(text), `"free":true`)
}

func TestTableErrors(t *testing.T) {
	dir := inNewFolder(t)
	writeText(t, "six.yaml", sixCells)
	writeText(t, "train.yaml", bilevel("train --print-config").stdout)
	for change, want := range map[string]string{
		"seeds: 3>sedes: 3":                   `did you mean "seeds"?`,
		"epochs: 60>epoch: 60":                `method sgd: settings: unknown setting "epoch"; did you mean "epochs"?`,
		"epochs: 60>epochs: many":             "method sgd: settings: epochs is many: wants a whole number",
		"epochs: 60>epochs: 0":                "--epochs 0: wants 1 to",
		"epochs: 60>seed: 4":                  "settings: seed is of the table and not of a cell",
		"epochs: 60>out: x":                   `unknown setting "out"`,
		"experiment: train>experiment: trian": `unknown experiment "trian"`,
		"optimizer: sgd>optimizer: sdg":       `unknown optimizer "sdg"`,
		"data: digits>data: diggits":          "did you mean digits?",
		"seeds: 3>seeds: 0":                   "the recipe has no cells",
		"title: six cells>title: [":           "not the YAML of a recipe",
	} {
		from, to, _ := strings.Cut(change, ">")
		require.Contains(t, sixCells, from)
		writeText(t, "bad.yaml", strings.Replace(sixCells, from, to, 1))
		refused(t, bilevel("table bad.yaml --out out"), exitUsage, want)
	}
	for line, want := range map[string]string{
		"table":                                "table wants one recipe",
		"table six.yaml more":                  "table wants one recipe",
		"table optimizer":                      `there is no recipe "optimizer"`,
		"table train.yaml":                     "this is a configuration of `bilevel train` and no recipe",
		"table six.yaml --shard 3/2":           `shard "3/2": wants I/N`,
		"table six.yaml --workers 0":           "--workers 0: wants 1 to",
		"table six.yaml --seeds 0":             "--seeds 0: wants 1 to",
		"table six.yaml --set epochs":          "--set epochs sets nothing",
		"table six.yaml --set epchs=2":         `unknown setting "epchs"; did you mean "epochs"?`,
		"table six.yaml --checkpoint-every 0s": "wants a positive time",
		"table merge":                          "table merge wants the folders",
	} {
		refused(t, bilevel(line), exitUsage, want)
	}
	refused(t, bilevel("table missing.yaml"), exitEnvironment, "the recipe cannot be read")
	refused(t, bilevel("table merge missing"), exitEnvironment, "missing holds no table")
	require.Equal(t, []string{"bad.yaml", "six.yaml", "train.yaml"}, listing(t, dir), "nothing was written")

	require.Equal(t, exitOK, bilevel("train --quiet --epochs 1 --out run").code)
	refused(t, bilevel("table six.yaml --out run"), exitEnvironment, "run holds results of another command")
	refused(t, bilevel("train --quiet --config six.yaml --out x"), exitUsage, "unknown setting")
	require.Equal(t, exitOK, bilevel("table six.yaml --quiet --set epochs=1 --out own").code)
	refused(t, bilevel("table six.yaml --out own"), exitEnvironment, "the folder own holds another table: settings is")
	text, err := os.ReadFile(filepath.Join("own", "table.yaml"))
	require.NoError(t, err)
	old := regexp.MustCompile(`(?m)^version: .*$`).ReplaceAllString(string(text), "version: old")
	writeText(t, filepath.Join("own", "table.yaml"), old)
	refused(t, bilevel("table six.yaml --set epochs=1 --out own"), exitEnvironment, "was made by another version, old")
}

// The recipe f2sa-deck runs, at a size that takes seconds: its cases are settings that follow an axis, its grids are
// texts of several settings, and the settings that are given here stand beside the table.
func TestTableOfTheDeck(t *testing.T) {
	inNewFolder(t)
	r := bilevel("table f2sa-deck --seeds 2 --threads 1 --quiet --json --out out --set case=fashion-0.7 " +
		"--set problem=digits-clean --set train=64 --set val=64 --set batch=16 --set records=2 --set calls=120 " +
		"--set step_factor=1")
	require.Equal(t, exitOK, r.code, r.stderr)
	text, err := os.ReadFile(filepath.Join("out", "table.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "Set for this table: calls 120 in place of 40000.")
	require.Regexp(t, `f2sa, case fashion-0.7: set y_step=\S+ .* \(value \S+; one of 18`, string(text))
	require.Regexp(t, `saba, case fashion-0.7: outer_factor \S+ \(value \S+; one of 3`, string(text))
	for _, method := range []string{"f2sa-adam printed", "f2sa printed", "f2sa printed falling", "soba"} {
		require.Regexp(t, `\| `+method+` +\| fashion-0.7 +\| 2 `, string(text))
	}
	cells, err := os.ReadFile(filepath.Join("out", "cells.csv"))
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(cells)), "\n"), 1+8*2)
	require.FileExists(t, filepath.Join("out", "test_error-iteration-fashion-0.7.svg"))
}
