package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"bilevel/internal/exactread"
)

// idxArray is an array, last index fastest.
type idxArray struct {
	shape []int
	kind  byte
	data  []byte // its elements, big endian
}

// idxKinds are the types of elements, by the third byte of a file: their bytes, and an element as a float64, which
// holds all of them exactly.
var idxKinds = map[byte]struct {
	bytes int
	value func(b []byte) float64
}{
	0x08: {1, func(b []byte) float64 { return float64(b[0]) }},
	0x09: {1, func(b []byte) float64 { return float64(int8(b[0])) }},
	0x0b: {2, func(b []byte) float64 { return float64(int16(binary.BigEndian.Uint16(b))) }},
	0x0c: {4, func(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) }},
	0x0d: {4, func(b []byte) float64 { return float64(math.Float32frombits(binary.BigEndian.Uint32(b))) }},
	0x0e: {8, func(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) }},
}

const idxBytes = 0x08 // the type of MNIST's pixels

func (a *idxArray) values() []float64 {
	kind := idxKinds[a.kind]
	values := make([]float64, len(a.data)/kind.bytes)
	for i := range values {
		values[i] = kind.value(a.data[i*kind.bytes:])
	}
	return values
}

// float32s rounds the elements to float32.
func (a *idxArray) float32s() []float32 {
	kind := idxKinds[a.kind]
	values := make([]float32, len(a.data)/kind.bytes)
	for i := range values {
		values[i] = float32(kind.value(a.data[i*kind.bytes:]))
	}
	return values
}

// readIDX reads an IDX array, plain or compressed by gzip or bzip2, to the end of r. The format of MNIST's files (Y.
// LeCun, C. Cortes, C. Burges), all numbers big endian, is
//
//	0, 0, type, rank    4 bytes; type 8 is uint8, 9 int8, 11 int16, 12 int32, 13 float32, 14 float64
//	dimensions          rank × uint32
//	data                their product in elements
//
// The dimensions are not believed: memory grows with the data, unless r is known to hold available bytes.
func readIDX(r io.Reader, available int64) (*idxArray, error) {
	b, packed, err := decompressed(r)
	if err != nil {
		return nil, err
	}
	if !packed {
		return readPlainIDX(b, available)
	}
	a, err := readPlainIDX(b, 0)
	if err != nil {
		return nil, fmt.Errorf("compressed data: %w", err)
	}
	return a, nil
}

func readPlainIDX(r io.Reader, available int64) (*idxArray, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, shortIDX(err)
	}
	if head[0] != 0 || head[1] != 0 {
		return nil, fmt.Errorf("not an IDX file: it begins with the bytes % x, not with 00 00", head[:])
	}
	kind, ok := idxKinds[head[2]]
	if !ok {
		return nil, fmt.Errorf("the IDX elements are of type %d; the format has 8, 9, 11, 12, 13 and 14", head[2])
	}
	rank := int(head[3])
	if rank < 1 {
		return nil, errors.New("an IDX array without dimensions, which is one number")
	}
	dimensions := make([]byte, 4*rank)
	if _, err := io.ReadFull(r, dimensions); err != nil {
		return nil, shortIDX(err)
	}
	shape, n := make([]int, rank), uint(kind.bytes)
	for i := range shape {
		d := binary.BigEndian.Uint32(dimensions[4*i:])
		hi, lo := bits.Mul(n, uint(d))
		if hi != 0 || lo > math.MaxInt || uint64(d) > math.MaxInt {
			return nil, errors.New("the product of the dimensions is too large")
		}
		shape[i], n = int(d), lo
	}
	begin := int64(4 + 4*rank)
	data, err := exactread.All(r, int(n), available-begin >= int64(n))
	if err != nil {
		return nil, fmt.Errorf("array of shape %v: %w", shape, err)
	}
	return &idxArray{shape, head[2], data}, nil
}

// shortIDX names the end of the file inside the header.
func shortIDX(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it ends inside its IDX header: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// readIDXFile is readIDX of a file.
func readIDXFile(path string) (*idxArray, error) {
	f, available, err := exactread.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := readIDX(f, available)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; replace it by a good copy", path, err)
	}
	return a, nil
}
