package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/npy"
)

// idx puts an IDX file together.
func idx(data []byte, shape ...uint32) []byte {
	b := []byte{0, 0, 8, byte(len(shape))}
	for _, d := range shape {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, data...)
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return z.Bytes()
}

// folder writes files into a new folder.
func folder(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func write(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o777))
	for name, b := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	}
}

// with returns files with one of them replaced, or taken out where b is nil.
func with(files map[string][]byte, name string, b []byte) map[string][]byte {
	changed := map[string][]byte{}
	for k, v := range files {
		changed[k] = v
	}
	changed[name] = b
	if b == nil {
		delete(changed, name)
	}
	return changed
}

// array is the bytes of a .npy file.
func array[T npy.Elem](t testing.TB, values []T, shape ...int) []byte {
	t.Helper()
	a, err := npy.New(values, shape...)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, npy.Write(&b, a))
	return b.Bytes()
}

// pixels is n images of the size 2×3 whose values tell image and place, from the first image number on.
func pixels(n, first int) []byte {
	b := make([]byte, 6*n)
	for i := range b {
		b[i] = byte(10*(first+i/6) + i%6)
	}
	return b
}

// tiny is a folder in MNIST's layout: 3 training and 2 test images of 2×3, in 4 classes.
func tiny() map[string][]byte {
	return map[string][]byte{
		"train-images-idx3-ubyte": idx(pixels(3, 0), 3, 2, 3),
		"train-labels-idx1-ubyte": idx([]byte{0, 2, 1}, 3),
		"t10k-images-idx3-ubyte":  idx(pixels(2, 20), 2, 2, 3),
		"t10k-labels-idx1-ubyte":  idx([]byte{3, 0}, 2),
	}
}

// noEnv is an environment without variables.
func noEnv(string) string { return "" }
