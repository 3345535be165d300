package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/testrun"
)

// All series are measured where BILEVEL_LONG is set, else those of perceptrons, which have every axis.
func TestBenchScaling(t *testing.T) {
	dir := inNewFolder(t)
	only := testrun.Size("grad", "")
	r := bilevel("bench scaling --json --seconds 0 --largest 32 --threads 3 --out out --only=" + only)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, 1, strings.Count(r.stdout, "\n"), "standard output has one line, and the rest is elsewhere")
	require.Regexp(t, `(?m)^grad_batch +batch 32( +[0-9.]+){4}$`, r.stderr)
	got := lastLine(t, r)
	require.Contains(t, got["device"], "cpu")
	type series struct {
		key, axis string
		at        []float64
	}
	want := slices.DeleteFunc([]series{
		{"grad_batch", "batch", []float64{16, 32}}, {"grad_width", "width", []float64{32}},
		{"grad_threads", "threads", []float64{1, 2, 3}}, {"soba_batch", "batch", []float64{16, 32}},
		{"conv_batch", "batch", []float64{8, 16, 32}}, {"conv_threads", "threads", []float64{1, 2, 3}},
	}, func(s series) bool { return !strings.Contains(s.key, only) })
	require.Len(t, got["series"], len(want))
	rows := 0
	for i, s := range got["series"].([]any) {
		s := s.(map[string]any)
		require.Equal(t, want[i].key, s["key"])
		require.Equal(t, want[i].axis, s["axis"])
		points := s["points"].([]any)
		require.Len(t, points, len(want[i].at))
		for j, p := range points {
			p := p.(map[string]any)
			require.Equal(t, want[i].at[j], p["at"])
			require.Positive(t, p["ms"])
			require.Positive(t, p["flop"])
			if j == 0 {
				require.Contains(t, p, "relative")
				require.Nil(t, p["relative"])
			} else {
				require.Positive(t, p["relative"])
			}
			require.Len(t, p, 4)
			rows++
		}
	}

	require.Equal(t, []string{"scaling.csv", "scaling.png", "scaling.svg"}, listing(t, filepath.Join(dir, "out")))
	read := func(name string) *bytes.Reader {
		b, err := os.ReadFile(filepath.Join("out", name))
		require.NoError(t, err)
		return bytes.NewReader(b)
	}
	table, err := csv.NewReader(read("scaling.csv")).ReadAll()
	require.NoError(t, err)
	require.Len(t, table, 1+rows)
	require.Equal(t, []string{"series", "axis", "at", "ms", "flop", "relative"}, table[0])
	_, err = png.Decode(read("scaling.png"))
	require.NoError(t, err)
	drawing := xml.NewDecoder(read("scaling.svg"))
	text := ""
	for {
		token, err := drawing.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if words, ok := token.(xml.CharData); ok {
			text += string(words)
		}
	}
	for _, word := range []string{"batch", "width", "threads", "in proportion to the work", "Gradient of"} {
		require.Contains(t, text, word)
	}
}

func TestBenchScalingOfOne(t *testing.T) {
	dir := inNewFolder(t)
	net := bilevel("bench scaling --seconds 0 --largest 8 --only conv_batch --device cpu")
	require.Equal(t, exitOK, net.code, net.stderr)
	require.Equal(t, 1, strings.Count(net.stdout, "conv_batch"))
	r := bilevel("bench scaling --seconds 0 --largest 32 --only soba --device cpu")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stderr)
	require.Equal(t, 2, strings.Count(r.stdout, "soba_batch"))
	require.NotContains(t, r.stdout, "grad")
	require.Empty(t, listing(t, dir))
}

func TestBenchScalingErrors(t *testing.T) {
	dir := inNewFolder(t)
	require.NoError(t, os.WriteFile("file", nil, 0o600))
	for _, c := range []struct {
		line, want string
		code       int
	}{
		{"--seconds -1", "--seconds -1: wants 0 or more", exitUsage},
		{"--seconds nan", "--seconds NaN: wants 0 or more", exitUsage},
		{"--largest 0", "--largest 0: wants 1 or more", exitUsage},
		{"--largest 7 --only batch", `no series whose name contains "batch" has a size up to 7`, exitUsage},
		{"--only adam", `no series whose name contains "adam"`, exitUsage},
		{"--threads -1", "--threads -1: wants 0 (all) to", exitUsage},
		{"--device cup", `did you mean "cpu"?`, exitUsage},
		{"extra", "bilevel bench scaling takes flags only", exitUsage},
		{"--out file", "results cannot be written to file: file is a file", exitEnvironment},
		{"--device cuda:99", "use --device cpu", exitEnvironment},
		{"--device ref --only threads --json",
			"threads are measured on the cpu device alone, not on ref", exitEnvironment},
	} {
		r := bilevel("bench scaling " + c.line)
		if strings.Contains(c.line, "--json") { // the table's head is on standard error before the sentence
			r.stderr = r.stderr[strings.Index(r.stderr, "bilevel: "):]
		}
		refused(t, r, c.code, c.want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := command(ctx, strings.Fields("bench scaling --out out"))
	require.Equal(t, exitEnvironment, r.code)
	require.Contains(t, r.stderr, "stopped by Ctrl-C or SIGTERM: no results were written")
	require.Equal(t, []string{"file"}, listing(t, dir))
}
