package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README shows what the command prints.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	texts, err := filepath.Glob("testdata/readme/*.*")
	require.NoError(t, err)
	require.Len(t, texts, 7)
	kernels := map[string][]byte{}
	for _, file := range texts {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		kernels[filepath.Base(file)] = text
	}
	for _, source := range []string{"reverse.cu", "shift.cu"} {
		require.Contains(t, string(readme), "```cuda\n"+string(kernels[source])+"```")
	}
	s := begin(t)
	for name, text := range kernels {
		require.NoError(t, os.WriteFile(name, text, 0o666))
	}
	save(s, "in.npy", ramp(64))
	shown := 0
	for _, block := range strings.Split(string(readme), "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, command := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, output, _ := strings.Cut(command, "\n")
			args, ours := strings.CutPrefix(line, "ptxrun ")
			if !ours || strings.Contains(args, ">") {
				continue
			}
			shown++
			var stdout, stderr bytes.Buffer
			status := run(context.Background(), strings.Fields(args), &stdout, &stderr)
			require.NotEqual(t, exitRefused, status, "%s: %s", line, &stderr)
			require.Equal(t, strings.TrimSuffix(output, "\n"), strings.TrimSuffix(stdout.String(), "\n"), line)
		}
	}
	require.Equal(t, 5, shown)
	require.Equal(t, []float32{63, 62}, load[float32](s, "out.npy", 64)[:2])
}

// The pages on launch files and on nvcc show a kernel, a launch file and what the command prints for them.
func TestPages(t *testing.T) {
	page := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ptxrun", name))
		require.NoError(t, err)
		return string(text)
	}
	general, nvcc := page("README.md"), page("nvcc.md")
	source, err := os.ReadFile("testdata/pages/window.cu")
	require.NoError(t, err)
	require.Contains(t, nvcc, "```cuda\n"+string(source)+"```")
	text, err := os.ReadFile("testdata/pages/window.ptx")
	require.NoError(t, err)
	_, file, found := strings.Cut(general, "```json\n")
	require.True(t, found)
	file, _, _ = strings.Cut(file, "```")

	s := begin(t)
	require.NoError(t, os.WriteFile("window.ptx", text, 0o666))
	require.NoError(t, os.WriteFile("window.json", []byte(file), 0o666))
	shown := 0
	for _, block := range strings.Split(general+nvcc, "```console\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, command := range strings.Split("\n"+block, "\n$ ")[1:] {
			line, output, _ := strings.Cut(command, "\n")
			args, ours := strings.CutPrefix(line, "ptxrun ")
			if !ours {
				continue
			}
			shown++
			save(s, "x.npy", ramp(64))
			save(s, "y.npy", ramp(64))
			var stdout, stderr bytes.Buffer
			status := run(context.Background(), strings.Fields(strings.ReplaceAll(args, "'", "")), &stdout, &stderr)
			require.NotEqual(t, exitRefused, status, "%s: %s", line, &stderr)
			beginning, _, shortened := strings.Cut(output, "…")
			if require.Contains(t, stdout.String(), beginning, line); !shortened {
				require.Equal(t, output, stdout.String(), line)
			}
		}
	}
	require.Equal(t, 3, shown)
}
