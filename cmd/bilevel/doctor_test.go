package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda/report"
	"bilevel/device/devicetest"
	"bilevel/device/open"
)

// examine runs doctor --device on the given cases and measurements, to save time.
func examine(ctx context.Context, f *common, cases []devicetest.Case, o report.Options) (r result, err error) {
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr}
	err = a.examineDevice(ctx, f, cases, o)
	return result{stdout: stdout.String(), stderr: stderr.String()}, err
}

func keys(object any) []string { return slices.Sorted(maps.Keys(object.(map[string]any))) }

// twoMeasurements are options for a vector operation and a matrix product at one small size.
func twoMeasurements() report.Options {
	scenes := slices.DeleteFunc(report.Scenes(), func(s report.Scene) bool {
		return s.Name != "map, axpy" && s.Name != "gemm, square"
	})
	return report.Options{Sizes: []report.Size{{Name: "small", Words: 1 << 10, Side: 32}}, Scenes: scenes}
}

// The report of a card has all keys that the doc comments of its types promise, in the file and on standard output.
func TestDoctorReport(t *testing.T) {
	t.Setenv(cacheVariable, "")
	dir := inNewFolder(t)
	f := &common{device: "cuda-sim:h100", json: true, out: "a/b"}
	r, err := examine(context.Background(), f, devicetest.Cases()[:40], twoMeasurements())
	require.NoError(t, err)
	require.Equal(t, "1", os.Getenv(cacheVariable), "the driver reads this when it is first used")
	written, err := os.ReadFile(filepath.Join(dir, "a", "b", "report.json"))
	require.NoError(t, err)
	require.Equal(t, r.stdout, string(written))
	require.Equal(t, 1, strings.Count(r.stdout, "\n"))
	got := lastLine(t, r)
	require.Equal(t, []string{"card", "conformance", "detail", "device", "driver_cache", "kernels",
		"model", "modules", "processors", "program", "time", "timing"}, keys(got))
	require.Equal(t, []string{"cases", "failed", "passed", "seconds"}, keys(got["conformance"]))
	require.Equal(t, []string{"clock_mhz", "compute_capability", "driver", "l2_bytes", "memory_bus_bits",
		"memory_bytes", "memory_clock_mhz", "multiprocessors", "name", "simulated"}, keys(got["card"]))
	require.Equal(t, []string{"assumed", "fp32_flop_per_second", "like", "memory_bytes_per_second",
		"source", "tf32_flop_per_second"}, keys(got["model"]))
	rows := got["kernels"].([]any)
	require.Len(t, rows, 2)
	for _, row := range rows {
		require.Equal(t, []string{"bound", "bytes", "estimate_seconds", "flop", "kernels", "measured_over_estimate",
			"name", "of_peak", "prepare_seconds", "seconds", "shape", "size"}, keys(row))
	}
	require.Equal(t, []string{"load_seconds", "name", "ptx_bytes"}, keys(got["modules"].([]any)[0]))
	require.EqualValues(t, 40, got["conformance"].(map[string]any)["passed"])
	require.Equal(t, "simulated H100", got["card"].(map[string]any)["name"])
	require.Equal(t, "12.2", got["card"].(map[string]any)["driver"])
	require.Contains(t, r.stderr, "\n40 of 40 conformance cases passed in ")
	require.Contains(t, r.stderr, "nothing was measured")
	require.Regexp(t, `(?m)^kernels: [0-9.]+ s$`, r.stderr)
}

// The whole suite also runs on a device that is not a card; its report has nothing about a card.
func TestDoctorOfAProcessor(t *testing.T) {
	inNewFolder(t)
	r := bilevel("doctor --device cpu --threads 2 --json")
	require.Equal(t, exitOK, r.code, r.stderr)
	got := lastLine(t, r)
	require.Equal(t, []string{"conformance", "detail", "device", "processors", "program", "time"}, keys(got))
	require.EqualValues(t, len(devicetest.Cases()), got["conformance"].(map[string]any)["passed"])
	f := &common{device: "cpu", quiet: true}
	r, err := examine(context.Background(), f, devicetest.Cases()[:40], report.Options{})
	require.NoError(t, err)
	require.Equal(t, result{}, r)
}

// wrong is a conformance case that fails.
func wrong(name string) devicetest.Case {
	return devicetest.Case{Name: name, Run: func(device.Device) error { return errors.New("got 4, want 3") }}
}

// The table and the error name a case that fails, and the cases after it run all the same. Folders, cards and
// measurements that fail are named as well.
func TestDoctorFindsFaults(t *testing.T) {
	inNewFolder(t)
	cases := append(devicetest.Cases()[:2:2], wrong("sum of 3"), devicetest.Cases()[2])
	r, err := examine(context.Background(), &common{device: "cpu"}, cases, report.Options{})
	require.EqualError(t, err, "doctor: cpu computes wrong results in 1 of 4 cases, such as sum of 3")
	require.False(t, isUsage(err))
	require.Contains(t, r.stdout, "3 of 4 conformance cases passed")
	require.Contains(t, r.stdout, "\n  WRONG  sum of 3: got 4, want 3\n")

	require.NoError(t, os.WriteFile("file", nil, 0o600))
	refused(t, bilevel("doctor --device cpu --out file"), exitEnvironment,
		"results cannot be written to file: file is a file")
	refused(t, bilevel("doctor --device cuda:99"), exitEnvironment, "device not available: cuda:99: ")

	huge := twoMeasurements()
	huge.Sizes[0].Words = 1 << 40
	_, err = examine(context.Background(), &common{device: "cuda-sim", quiet: true}, nil, huge)
	require.ErrorContains(t, err, "doctor: 1 of 2 measurements failed, such as map, axpy (small): ")
	stopped, stop := context.WithCancel(context.Background())
	stop()
	f := &common{device: "cuda-sim", quiet: true, out: "out"}
	_, err = examine(stopped, f, devicetest.Cases(), report.Options{})
	require.ErrorIs(t, err, errStopped)
	require.NoDirExists(t, "out")
}

// Of several cases that fail, the short self-test gives the number, and names the first.
func TestSelfTestsThatFail(t *testing.T) {
	dev, err := open.Open("ref", open.Options{})
	require.NoError(t, err)
	verdict, ok := conformance(dev, []devicetest.Case{devicetest.Cases()[0], wrong("sum"), wrong("sum")})
	require.False(t, ok)
	require.Equal(t, "WRONG in 2 of 3 self-tests, such as sum: got 4, want 3", verdict)
	verdict, ok = conformance(dev, devicetest.Cases()[:2])
	require.True(t, ok)
	require.Regexp(t, `^2 of 2 self-tests passed in \d+\.\d s$`, verdict)
	slow := make([]devicetest.Case, 1000) // more than a second allows
	for i := range slow {
		slow[i] = devicetest.Case{Name: "slow",
			Run: func(device.Device) error { time.Sleep(100 * time.Millisecond); return nil }}
	}
	verdict, ok = conformance(dev, slow)
	require.True(t, ok)
	ran := regexp.MustCompile(
		`^(\d+) of (\d+) self-tests passed in \d+\.\d s \(--device runs all 1000\)$`,
	).FindStringSubmatch(verdict)
	require.NotNil(t, ran, verdict)
	require.Equal(t, ran[1], ran[2], "what was not tried has not failed")
	require.NotEqual(t, "1000", ran[1])
	require.NoError(t, dev.Close())
}

// The container image is built by targets of the Makefile that CI runs too; its tests run where they are asked for.
// Apart from them, it only installs packages and the pinned headers, downloads modules and adds a user.
func TestImageIsBuiltAsInCI(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err)
		return string(text)
	}
	makefile, ci := read("Makefile"), read(".ci/run")
	targets := 0
	for line := range strings.Lines(read("Dockerfile.cuda")) {
		step, isStep := strings.CutPrefix(strings.TrimSpace(line), "RUN ")
		if !isStep {
			continue
		}
		target, isTarget := strings.CutPrefix(strings.TrimPrefix(step, `[ -z "$TEST" ] || `), "make ")
		if !isTarget {
			require.Regexp(t,
				`^(apt-get update && apt-get install|scripts/cuda-tools headers$|go mod download$|useradd )`, step)
			continue
		}
		targets++
		require.Contains(t, makefile, "\n"+target+":")
		require.Regexp(t, `(?m)^\s*make .*\b`+target+`\b`, ci)
	}
	require.Equal(t, 2, targets)
	require.Contains(t, makefile, "CUDA_INCLUDE ?=", "the image has headers of its own")
	for _, folder := range []string{"/.git", "/.cuda-tools", "/results"} {
		require.Contains(t, strings.Fields(read(".dockerignore")), folder)
	}
}

// A case after which the card is lost ends the suite, and the report has the results up to that case.
func TestDoctorOfALostCard(t *testing.T) {
	inNewFolder(t)
	lost := devicetest.Case{Name: "bad index", Run: func(d device.Device) error {
		return errors.Join(errors.New("lost"), d.Close())
	}}
	cases := append(devicetest.Cases()[:3:3], lost, devicetest.Cases()[3])
	f := &common{device: "cuda-sim", json: true, quiet: true}
	r, err := examine(context.Background(), f, cases, twoMeasurements())
	require.ErrorContains(t, err, "the suite ended at case 4 of 5, bad index: ")
	var got findings
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	require.Equal(t, 3, got.Conformance.Passed)
	require.Nil(t, got.Report)
}
