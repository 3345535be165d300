//go:build unix

package data

import (
	"image/color"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Nobody writes into these pipes: opening one would wait for ever.
func TestPipesAreNotOpened(t *testing.T) {
	table := []byte("a,label\n1,0\n2,1\n")
	dir := folder(t, map[string][]byte{"train.csv": table})
	pipe := filepath.Join(dir, "test.csv")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "other"), 0o600))
	_, err := OpenFolder(pipe)
	require.ErrorContains(t, err, "is not a regular file but a pipe or a device: write its content into a file")
	d, err := OpenFolder(dir)
	require.NoError(t, err)
	require.Equal(t, 2, d.Train.N())
	require.Nil(t, d.Test)

	images := unzipped(t, map[string][]byte{"cat/a.png": oneColour(t, 2, 3, color.Gray{100}, false),
		"dog/a.png": oneColour(t, 2, 3, color.Gray{100}, false)})
	require.NoError(t, syscall.Mkfifo(filepath.Join(images, "cat", "b.png"), 0o600))
	d, err = OpenFolder(images)
	require.NoError(t, err)
	require.Equal(t, 2, d.Train.N())
}
