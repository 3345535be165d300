package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// content returns the names in dir and the content of its file name.
func content(t *testing.T, dir, name string) ([]string, string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return names, string(b)
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	for _, want := range []string{"one", "", strings.Repeat("long ", 100_000)} {
		require.NoError(t, WriteFile(path, []byte(want)))
		names, got := content(t, dir, "a.txt")
		require.Equal(t, []string{"a.txt"}, names)
		require.Equal(t, want, got)
	}
}

func TestFailureLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	require.NoError(t, WriteFile(path, []byte("old")))
	boom := errors.New("boom")
	half := func(w io.Writer) {
		_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
		require.NoError(t, err)
	}
	require.Equal(t, boom, Write(path, func(w io.Writer) error { half(w); return boom }))
	require.Panics(t, func() { _ = Write(path, func(w io.Writer) error { half(w); panic(boom) }) })
	names, got := content(t, dir, "a.txt")
	require.Equal(t, []string{"a.txt"}, names)
	require.Equal(t, "old", got)
}

func TestRenameFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.txt")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "full"), 0o777)) // a folder in the way
	require.ErrorContains(t, WriteFile(path, []byte("new")), "write "+path+": ")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestNoFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "a.txt")
	err := WriteFile(path, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, err, "write "+path+": no such file or directory", "the temporary file is not named")
}

func TestWriteInTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, WriteFile("a.txt", []byte("x")))
	names, got := content(t, ".", "a.txt")
	require.Equal(t, []string{"a.txt"}, names)
	require.Equal(t, "x", got)
}

// A link still is one after a write, also where it led to nothing, and what it leads to is what was written.
func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "elsewhere"), 0o777))
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	require.NoError(t, os.Symlink("two", one))
	require.NoError(t, os.Symlink(filepath.Join("elsewhere", "a.txt"), two))
	for _, want := range []string{"new", "newer"} {
		require.NoError(t, WriteFile(one, []byte(want)))
		names, got := content(t, filepath.Join(dir, "elsewhere"), "a.txt")
		require.Equal(t, []string{"a.txt"}, names)
		require.Equal(t, want, got)
		to, err := os.Readlink(one)
		require.NoError(t, err)
		require.Equal(t, "two", to)
	}
}

func TestWriteKeepsPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.txt")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, WriteFile(path, []byte("x")))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
