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
