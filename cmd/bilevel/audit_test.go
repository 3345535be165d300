package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The audit of a part is the same bytes again, by other processes and after a look at what is there; seconds stand in a
// file of their own.
func TestAudit(t *testing.T) {
	t.Setenv(asCommand, "1") // for the processes below
	inNewFolder(t)
	const line = "audit --quick --part ridge --seeds 2 "
	r := bilevel(line + "--json")
	require.Equal(t, exitOK, r.code, r.stderr)
	part := lastLine(t, r)["parts"].([]any)[0].(map[string]any)
	require.Equal(t, "ridge", part["name"])
	require.Len(t, part["rows"], 3)
	off, exact := part["rows"].([]any)[0].(map[string]any), part["rows"].([]any)[2].(map[string]any)
	require.Zero(t, off["cosine"].(map[string]any)["mean"], "nothing moves without the term")
	require.InDelta(t, 1, off["implicit_share"].(map[string]any)["mean"], 1e-6)
	require.InDelta(t, 1, exact["cosine"].(map[string]any)["mean"], 1e-6)
	require.Less(t, exact["value"].(map[string]any)["mean"], off["value"].(map[string]any)["mean"])
	dir := filepath.Join("results", "audit-quick")
	page, err := os.ReadFile(filepath.Join(dir, "audit.md"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(page), "Written by `bilevel audit --quick`:\n\n| part | variant | "))
	require.Contains(t, string(page), "\n| Weight of a ridge regression | term off | 2 | 1 | 0 | ")
	require.FileExists(t, filepath.Join(dir, "seconds.md"))
	want := tableFiles(t, filepath.Join(dir, "ridge"))

	again := bilevel(line + "--quiet --workers 2 --out both")
	require.Equal(t, exitOK, again.code, again.stderr)
	require.Equal(t, want, tableFiles(t, filepath.Join("both", "ridge")))
	other, err := os.ReadFile(filepath.Join("both", "audit.md"))
	require.NoError(t, err)
	require.Equal(t, string(page), string(other))

	require.NoError(t, os.Remove(filepath.Join(dir, "audit.md")))
	shown := bilevel(line)
	require.Equal(t, exitOK, shown.code, shown.stderr)
	require.Contains(t, shown.stdout, string(page), "the cells were there")
}

// A plan of two parts on the same images knows the cells of the second after the trials of the first, which take
// numbers in place of the images' bytes: their keys are those that processes of their own find.
func TestAuditPlansOfSeveralParts(t *testing.T) {
	t.Setenv(asCommand, "1")
	inNewFolder(t)
	r := bilevel("audit --quick --dry-run --seeds 1 --part bip --part fast-bat")
	require.Equal(t, exitOK, r.code, r.stderr)
}

func TestAuditErrors(t *testing.T) {
	dir := inNewFolder(t)
	for line, want := range map[string]string{
		"audit more":                    "audit takes flags only",
		"audit --quick --part rigde":    `did you mean "ridge"?`,
		"audit --quick --seeds 0":       "--seeds 0: wants 1 to",
		"audit --quick --workers 0":     "--workers 0: wants 1 to 1024",
		"audit --checkpoint-every -1s":  "--checkpoint-every -1s: wants a positive time",
		"audit --part digits --quick":   "the audit has no part",
		"audit --quick --progress none": "--progress none: wants",
	} {
		refused(t, bilevel(line), exitUsage, want)
	}
	require.Empty(t, listing(t, dir), "nothing was written")
	r := bilevel("audit --part ijcnn1", "BILEVEL_DATA="+dir)
	require.Equal(t, exitEnvironment, r.code)
	require.Contains(t, r.stderr, "ijcnn1")
}
