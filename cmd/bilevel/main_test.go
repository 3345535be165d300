package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// command runs bilevel in this process; env holds NAME=value pairs.
func command(ctx context.Context, args []string, env ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, &stdout, &stderr, func(name string) string {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	})
	return result{code, stdout.String(), stderr.String()}
}

// bilevel runs a command line; words are separated by spaces.
func bilevel(line string, env ...string) result {
	return command(context.Background(), strings.Fields(line), env...)
}

// lastLine decodes the last line of standard output.
func lastLine(t *testing.T, r result) map[string]any {
	t.Helper()
	require.True(t, strings.HasSuffix(r.stdout, "\n"))
	lines := strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &object))
	return object
}

// inNewFolder makes a new folder the working directory.
func inNewFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	return dir
}

func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// The numbers that the command promises of --weights plain, with several seeds each a mean, a deviation and the values.
var (
	numbers = []string{
		"test_error", "val_loss", "auc", "auc_drawn", "precision", "recall", "best_f1", "iterations", "seconds",
	}
	baselines = []string{"all", "clean", "validation"}
	oracle    = []string{"lower_gradients", "upper_gradients", "hvp", "jvp", "values", "samples"}
)

func TestCleanJSON(t *testing.T) {
	dir := inNewFolder(t)
	r := bilevel("clean --weights plain --iters 200 --json --seed 3 --out out")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, 1, strings.Count(r.stdout, "\n"), "standard output has one line, and the rest is elsewhere")
	require.Contains(t, r.stderr, "test error, cleaned")
	require.Contains(t, r.stderr, "suspects.csv: out")
	got := lastLine(t, r)
	for _, key := range numbers {
		require.IsType(t, 0.0, got[key], key)
	}
	for _, key := range baselines {
		require.IsType(t, 0.0, got["baselines"].(map[string]any)[key], key)
	}
	for _, key := range oracle {
		require.IsType(t, 0.0, got["oracle"].(map[string]any)[key], key)
	}
	require.Equal(t, "cpu", got["device"])
	require.Equal(t, 3.0, got["seed"])
	require.Equal(t, 200.0, got["iterations"])
	for _, key := range []string{"best_f1_threshold", "best_f1_precision", "best_f1_recall"} {
		require.Contains(t, got, key)
	}
	for _, key := range []string{"test_error", "auc", "precision", "recall", "best_f1"} {
		require.True(t, 0 <= got[key].(float64) && got[key].(float64) <= 1, "%s is a fraction", key)
	}
	require.Subset(t, listing(t, filepath.Join(dir, "out")),
		[]string{"result.json", "suspects.csv", "weights.png", "error-iterations.svg"})
	require.Equal(t, []string{"out"}, listing(t, dir))
}

func TestCleanSeveralSeeds(t *testing.T) {
	inNewFolder(t)
	r := bilevel("clean --weights plain --iters 100 --json --quiet --seeds 2 --seed 5")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stderr)
	got := lastLine(t, r)
	require.Equal(t, []any{5.0, 6.0}, got["seed"])
	require.Equal(t, "cpu", got["device"])
	check := func(object map[string]any, keys []string) {
		for _, key := range keys {
			of := object[key].(map[string]any)
			values := of["values"].([]any)
			require.Len(t, values, 2, key)
			require.InDelta(t, (values[0].(float64)+values[1].(float64))/2, of["mean"], 1e-9, key)
			require.Contains(t, of, "std")
		}
	}
	check(got, numbers)
	check(got["baselines"].(map[string]any), baselines)
	check(got["oracle"].(map[string]any), oracle)
	require.Subset(t, listing(t, filepath.Join("results", "clean-digits")),
		[]string{"suspects-seed-5.csv", "suspects-seed-6.csv"})
}

func TestCleanForPeople(t *testing.T) {
	inNewFolder(t)
	r := bilevel("clean --weights plain --iters 50 --device ref --train 200 --val 100 --out out")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^test error, cleaned +[0-9.]+ %$`, r.stdout)
	require.Regexp(t, `(?m)^detector, area under curve +0\.`, r.stdout)
	require.Regexp(t, `^solve: [0-9.]+ s\ncertificate: [0-9.]+ s\nbaselines: [0-9.]+ s\n$`, r.stderr,
		"no bar where there is no terminal")
	r = bilevel("clean --weights plain --iters 5 --quiet --out out")
	require.Equal(t, result{}, r)
}

func TestCleanBitsAreTheSame(t *testing.T) {
	inNewFolder(t)
	once := lastLine(t, bilevel("clean --weights plain --iters 60 --json --quiet"))
	again := lastLine(t, bilevel("clean --weights plain --iters 60 --json --quiet --threads 2"))
	delete(once, "seconds")
	delete(again, "seconds")
	for threads, line := range map[string]map[string]any{"0": once, "2": again} { // the one setting that is another
		settings := line["settings"].(map[string]any)
		require.Equal(t, threads, settings["threads"])
		delete(settings, "threads")
	}
	require.Equal(t, once, again)
}

func TestVersion(t *testing.T) {
	r := bilevel("version")
	require.Equal(t, exitOK, r.code)
	require.Regexp(t, `^bilevel \S.*, go1\.\S+ \w+/\w+\n$`, r.stdout)
	require.Empty(t, r.stderr)
	require.Equal(t, r, bilevel("--version"))
}

func TestHelp(t *testing.T) {
	for _, line := range []string{"", "help", "--help", "-h"} {
		r := bilevel(line)
		require.Equal(t, exitOK, r.code)
		require.Empty(t, r.stderr)
		for _, name := range []string{"clean", "doctor", "version"} {
			require.Regexp(t, `(?m)^  `+name+` +\S`, r.stdout)
		}
	}
	help := bilevel("help clean")
	require.Equal(t, exitOK, help.code)
	require.Equal(t, help, bilevel("clean --help"))
	for _, flag := range strings.Fields(
		"data trusted weights model algo corrupt train val iters batch reg step outer-step schedule seed seeds " +
			"device threads out json quiet",
	) {
		require.Contains(t, help.stdout, "--"+flag+" ")
	}
}

func TestDoctor(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "mnist"), 0o700))
	r := bilevel("doctor", "BILEVEL_DATA="+root)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `(?m)^  cpu +.* self-tests passed`, r.stdout)
	require.Regexp(t, `(?m)^  ref +.* self-tests passed`, r.stdout)
	require.Regexp(t, `(?m)^  cuda +(device not available: cuda:0: |.* self-tests passed)`, r.stdout)
	require.Regexp(t, `(?m)^  cuda-sim +simulated A100, .*, 108 multiprocessors, .* self-tests passed`, r.stdout)
	require.Regexp(t, `(?m)^  digits +embedded$`, r.stdout)
	require.Contains(t, r.stdout, filepath.Join(root, "mnist"))
	require.Regexp(t, `(?m)^  fashion-mnist +(/|not found in .*bilevel data get fashion-mnist)`, r.stdout)
}

func TestResultsFolder(t *testing.T) {
	for set, want := range map[string]string{
		"digits": "clean-digits", "./a/b": "clean-b", "a/b/": "clean-b", "/": "clean-root",
	} {
		require.Equal(t, filepath.Join("results", want), resultsFolder("clean", set))
	}
	dir := inNewFolder(t)
	require.Equal(t, filepath.Join("results", "clean-"+filepath.Base(dir)), resultsFolder("clean", "."))
}

// A stop does not wait for a command that goes on, but for one whose cells are at work.
func TestStopWaitsForWork(t *testing.T) {
	done := make(chan int, 1)
	_, ended := (&app{}).ends(done, time.Millisecond, time.Hour)
	require.False(t, ended)

	a := &app{}
	a.working.Lock()
	_, ended = a.ends(done, time.Millisecond, time.Millisecond)
	require.False(t, ended, "not for ever")
	time.AfterFunc(50*time.Millisecond, func() { done <- exitEnvironment })
	code, ended := a.ends(done, time.Millisecond, time.Hour)
	require.True(t, ended)
	require.Equal(t, exitEnvironment, code)
}
