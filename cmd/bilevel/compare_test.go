package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A comparison tries settings, runs the best ones, and writes the page, the table and every point. What the problem
// refuses is told and stops nothing. The same command again only shows it, and other processes give the same bytes.
func TestCompare(t *testing.T) {
	t.Setenv(asCommand, "1") // for the processes below
	inNewFolder(t)
	const line = "compare --problem finite-sum --algo soba,bome,sbfw --calls 200 --seeds 2 --grid 0.5,1 " +
		"--outer-grid 0.25,1 --records 4 --target 1e-5 --set reg=1e-7 "
	r := bilevel(line)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "Refused: sbfw: the problem finite sum has no set of x")
	require.Contains(t, r.stdout, "Settings were chosen by the lowest gap of the seeds [1 2], calls 200, records 1, "+
		"among 4 combinations: step_factor [0.5 1], outer_factor [0.25 1].")
	require.Regexp(t, `(?m)^soba: step_factor (0\.5|1), outer_factor (0\.25|1) \(gap \S+; one of 4\)\.$`, r.stdout)
	require.Regexp(t, `(?m)^bome +2 +\d`, r.stdout)
	dir := filepath.Join("results", "compare-finite-sum")
	want := tableFiles(t, dir)
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Refused: sbfw: the problem finite sum has no set of x")
	for _, name := range []string{"distance-iteration", "distance-calls", "distance-seconds", "gap-iteration",
		"gap-calls",
		"gap-seconds"} {
		require.FileExists(t, filepath.Join(dir, name+".svg"))
		require.Contains(t, string(page), `aria-label="`+name+`"`)
	}
	f, err := os.Open(filepath.Join(dir, "benchmark.csv"))
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+2*2*5, "two algorithms with two seeds, five points each")
	curves, err := os.ReadFile(filepath.Join(dir, "curves.csv"))
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(curves)), "\n"), 1+2*2*5)
	require.NotContains(t, string(curves), "seconds")
	tuning, err := os.ReadFile(filepath.Join(dir, "tuning", "cells.csv"))
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(string(tuning)), "\n"), 1+2*4*2)

	again := bilevel(line + "--quiet --workers 2 --out both")
	require.Equal(t, exitOK, again.code, again.stderr)
	require.Equal(t, want, tableFiles(t, "both"))
	recipe := bilevel("table both/table.yaml --quiet --out third")
	require.Equal(t, exitOK, recipe.code, recipe.stderr)
	require.Equal(t, want, tableFiles(t, "third"), "a folder's recipe is one to run")
}

// A comparison that is killed while it tries settings goes on with the same command to the same bytes.
func TestCompareKilledAndResumed(t *testing.T) {
	inNewFolder(t)
	const line = "compare --problem finite-sum --algo soba --calls 60000 --seeds 2 --grid 1,0.5 --outer-grid 1 " +
		"--records 4 " +
		"--quiet --threads 1 --checkpoint-every 5ms "
	require.Equal(t, exitOK, bilevel(line+"--out alone").code)
	want := tableFiles(t, "alone")
	killed, _ := start(t, line+"--out killed")
	require.Eventually(t, func() bool {
		begun, err := filepath.Glob(filepath.Join("killed", "tuning", "cells", "*", "checkpoint.safetensors"))
		done, _ := filepath.Glob(filepath.Join("killed", "tuning", "cells", "*", "record.gob"))
		return err == nil && len(begun) == 1 && len(done) > 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, killed.Process.Signal(syscall.SIGKILL))
	require.Error(t, killed.Wait())
	require.NoFileExists(t, filepath.Join("killed", "table.yaml"))
	r := bilevel(line + "--out killed")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, want, tableFiles(t, "killed"))
}

func TestCompareErrors(t *testing.T) {
	dir := inNewFolder(t)
	for line, want := range map[string]string{
		"compare":                                        "compare wants --problem, one of scalar, ",
		"compare --problem scalr":                        `did you mean "scalar"?`,
		"compare --problem scalar --algo sob":            `did you mean "soba"?`,
		"compare --problem scalar --algo soba,soba":      "--algo soba,soba: soba is there twice",
		"compare --problem scalar --grid 1,0":            "--grid 1,0: wants different positive factors",
		"compare --problem scalar --grid 1,1":            "--grid 1,1: wants different positive factors",
		"compare --problem scalar --grid x":              "--grid x: wants different positive factors",
		"compare --problem scalar --outer-grid -1":       "--outer-grid -1: wants different positive factors",
		"compare --problem scalar --calls 0":             "--calls 0: wants at least 1",
		"compare --problem scalar --tune-calls -1":       "--tune-calls -1: wants at least 1",
		"compare --problem scalar --tune-seeds 0":        "--tune-seeds 0: wants 1 to",
		"compare --problem scalar --seeds 0":             "--seeds 0: wants 1 to",
		"compare --problem scalar --records 0":           "records 0: wants a budget",
		"compare --problem scalar --target -1":           "target is -1: wants a positive",
		"compare --problem scalar --set calls":           "--set calls sets nothing: wants NAME=VALUE",
		"compare --problem scalar --set cals=3":          `did you mean "calls"?`,
		"compare --problem scalar --set calls=many":      "settings of compare: calls",
		"compare --problem scalar --algo sbfw":           "no algorithm is left to compare: sbfw: the problem",
		"compare --problem scalar --algo soba --calls 2": "one iteration takes 4 oracle calls and the budget is 2",
		"compare --problem scalar more":                  "compare takes flags only",
		"compare --problem finite-sum --batch 40":        "batch is 40 and the lower level has 12 rows",
	} {
		refused(t, bilevel(line), exitUsage, want)
	}
	for range 20 {
		err := takeSettings(map[string]any{"b": 1, "a": 1}, "compare", nil, nil)
		require.ErrorContains(t, err, `unknown setting "a"`, "the first of two")
	}
	require.Empty(t, listing(t, dir), "nothing was written")
	r := bilevel("compare --problem ijcnn1 --algo soba", "BILEVEL_DATA="+dir)
	require.Equal(t, exitEnvironment, r.code)
	require.Contains(t, r.stderr, "ijcnn1")
}
