package data

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"bilevel/internal/exactread"
)

func TestReadIDX(t *testing.T) {
	b := idx([]byte{1, 2, 3, 4, 5, 6}, 1, 2, 3)
	for _, file := range [][]byte{b, compress(t, b)} {
		a, err := readIDX(iotest.OneByteReader(bytes.NewReader(file)), 0)
		require.NoError(t, err)
		require.Equal(t, &idxArray{[]int{1, 2, 3}, []byte{1, 2, 3, 4, 5, 6}}, a)
	}
}

func TestReadIDXRefuses(t *testing.T) {
	good := idx([]byte{1, 2, 3}, 3)
	for _, c := range []struct {
		name string
		file []byte
		want string
		is   error
	}{
		{"empty", nil, "ends inside its IDX header", io.ErrUnexpectedEOF},
		{"cut magic", good[:3], "ends inside its IDX header", io.ErrUnexpectedEOF},
		{"cut dimension", good[:6], "ends inside its IDX header", io.ErrUnexpectedEOF},
		{"cut data", good[:10], "array of shape [3]: it ends after 2 of 3 bytes", io.ErrUnexpectedEOF},
		{"trailing", append(good[:len(good):len(good)], 0), "further bytes behind the end", exactread.ErrTrailing},
		{"magic", []byte("%PDF-1.7"), "begins with the bytes 25 50 44 46", nil},
		{"type", []byte("\x00\x00\x0d\x01\x00\x00\x00\x00"), "type 0x0d; only 0x08", nil},
		{"rank 0", idx(nil), "an IDX array of 0 dimensions", nil},
		{"rank 5", idx(nil, 1, 1, 1, 1, 1), "an IDX array of 5 dimensions", nil},
		{"product", idx(nil, 1<<31, 1<<31, 1<<31), "product of the dimensions is too large", nil},
		{"product, signed", idx(nil, 1<<31, 1<<31, 2), "product of the dimensions is too large", nil},
		{"absurd", idx([]byte{1}, 1<<31, 1<<31), "it ends after 1 of", io.ErrUnexpectedEOF},
	} {
		_, err := readIDX(bytes.NewReader(c.file), 0)
		require.ErrorContains(t, err, c.want, c.name)
		if c.is != nil {
			require.ErrorIs(t, err, c.is, c.name)
		}
		_, err = readIDX(bytes.NewReader(compress(t, c.file)), 0)
		require.ErrorContains(t, err, c.want, c.name)

		path := filepath.Join(folder(t, map[string][]byte{"x": c.file}), "x")
		_, err = readIDXFile(path)
		require.ErrorContains(t, err, c.want, c.name)
		require.ErrorContains(t, err, path, c.name)
		require.ErrorContains(t, err, "replace it by a good copy", c.name)
	}
}

func TestReadIDXRefusesBadCompression(t *testing.T) {
	z := compress(t, idx(make([]byte, 1000), 1000))
	for n := 2; n < len(z); n++ {
		_, err := readIDX(bytes.NewReader(z[:n]), 0)
		require.ErrorContains(t, err, "compressed data", "cut to %d bytes", n)
	}
	z[len(z)-5]++ // the checksum
	_, err := readIDX(bytes.NewReader(z), 0)
	require.ErrorContains(t, err, "checksum")
}

func TestReadIDXFileMissing(t *testing.T) {
	_, err := readIDXFile(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzIDX: what readIDX takes has as many bytes as its shape says, and is the file.
func FuzzIDX(f *testing.F) {
	f.Add(idx([]byte{1, 2, 3, 4, 5, 6}, 1, 2, 3))
	f.Add(idx([]byte{}, 0, 5))
	f.Add(compress(f, idx([]byte{7}, 1)))
	f.Add(idx(nil, 1<<31, 1<<31))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readIDX(bytes.NewReader(b), 0)
		if err != nil {
			return
		}
		n, shape := 1, []uint32{}
		for _, d := range a.shape {
			n *= d
			shape = append(shape, uint32(d))
		}
		if n != len(a.data) {
			t.Fatalf("shape %v with %d bytes", a.shape, len(a.data))
		}
		if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) && !bytes.Equal(b, idx(a.data, shape...)) {
			t.Fatalf("shape %v and %d bytes are not the file", a.shape, len(a.data))
		}
	})
}
