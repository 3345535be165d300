package data

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"bilevel/internal/exactread"

	"bilevel/internal/alloctest"
)

func TestReadIDX(t *testing.T) {
	b := idx([]byte{1, 2, 3, 4, 5, 6}, 1, 2, 3)
	for _, file := range [][]byte{b, compress(t, b)} {
		a, err := readIDX(iotest.OneByteReader(bytes.NewReader(file)), 0)
		require.NoError(t, err)
		require.Equal(t, &idxArray{[]int{1, 2, 3}, idxBytes, []byte{1, 2, 3, 4, 5, 6}}, a)
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
		{"type", []byte("\x00\x00\x0a\x01\x00\x00\x00\x00"), "type 10; the format has 8, 9, 11, 12, 13 and 14", nil},
		{"rank 0", idx(nil), "an IDX array without dimensions", nil},
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
	f.Add(idx(nil, 1<<26))
	f.Add(idxOf(0x0e, 1, []float64{1.5}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a *idxArray
		var err error
		alloctest.Bounded(t, len(b), 4*alloctest.Factor(b), 2<<20, func() { a, err = readIDX(bytes.NewReader(b), 0) })
		if err != nil {
			return
		}
		n, head := idxKinds[a.kind].bytes, []byte{0, 0, a.kind, byte(len(a.shape))}
		for _, d := range a.shape {
			n *= d
			head = binary.BigEndian.AppendUint32(head, uint32(d))
		}
		if n != len(a.data) || len(a.values())*idxKinds[a.kind].bytes != n {
			t.Fatalf("shape %v with %d bytes", a.shape, len(a.data))
		}
		if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) && !bytes.HasPrefix(b, []byte("BZh")) &&
			!bytes.Equal(b, append(head, a.data...)) {
			t.Fatalf("shape %v and %d bytes are not the file", a.shape, len(a.data))
		}
	})
}

// idxOf is an IDX file of any of its types with one dimension, or more where a shape is given.
func idxOf[T any](kind byte, rank int, values []T, shape ...uint32) []byte {
	if shape == nil {
		shape = []uint32{uint32(len(values))}
		for len(shape) < rank {
			shape = append(shape, 1)
		}
	}
	b := []byte{0, 0, kind, byte(len(shape))}
	for _, d := range shape {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	b, err := binary.Append(b, binary.BigEndian, values)
	if err != nil {
		panic(err)
	}
	return b
}

func TestReadIDXOfEveryType(t *testing.T) {
	for _, file := range [][]byte{
		idxOf(0x08, 1, []uint8{1, 100}), idxOf(0x09, 2, []int8{1, 100}), idxOf(0x0b, 3, []int16{1, 100}),
		idxOf(0x0c, 5, []int32{1, 100}), idxOf(0x0d, 1, []float32{1, 100}), idxOf(0x0e, 255, []float64{1, 100}),
	} {
		a, err := readIDX(bytes.NewReader(file), 0)
		require.NoError(t, err)
		require.Equal(t, []float64{1, 100}, a.values())
		require.Equal(t, []float32{1, 100}, a.float32s())
		require.Len(t, a.shape, int(file[3]))
	}
	a, err := readIDX(bytes.NewReader(idxOf(0x0c, 1, []int32{-7})), 0)
	require.NoError(t, err)
	require.Equal(t, []float64{-7}, a.values())
}
