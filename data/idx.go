package data

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"

	"bilevel/internal/exactread"
)

// idxArray is an array of bytes, last index fastest.
type idxArray struct {
	shape []int
	data  []byte
}

const idxMaxRank = 4

// readIDX reads an IDX array of bytes, plain or compressed by gzip, to the end of r. The format of MNIST's files
// (Y. LeCun, C. Cortes, C. Burges), all numbers big endian, is
//
//	0, 0, type, rank    4 bytes; type 8 is uint8, the only one read here
//	dimensions          rank × uint32
//	data                their product in elements
//
// The dimensions are not believed: memory grows with the data, unless r is known to hold available bytes.
func readIDX(r io.Reader, available int64) (*idxArray, error) {
	b := bufio.NewReader(r)
	if two, _ := b.Peek(2); string(two) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("compressed data: %w", err)
		}
		a, err := readPlainIDX(z, 0)
		if err != nil {
			return nil, fmt.Errorf("compressed data: %w", err)
		}
		return a, nil
	}
	return readPlainIDX(b, available)
}

func readPlainIDX(r io.Reader, available int64) (*idxArray, error) {
	var head [4 + 4*idxMaxRank]byte
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return nil, shortIDX(err)
	}
	if head[0] != 0 || head[1] != 0 {
		return nil, fmt.Errorf("not an IDX file: it begins with the bytes % x, not with 00 00", head[:4])
	}
	if head[2] != 8 {
		return nil, fmt.Errorf("the IDX elements are of type %#02x; only 0x08, bytes, is read", head[2])
	}
	rank := int(head[3])
	if rank < 1 || rank > idxMaxRank {
		return nil, fmt.Errorf("an IDX array of %d dimensions; 1 to %d are read", rank, idxMaxRank)
	}
	if _, err := io.ReadFull(r, head[4:4+4*rank]); err != nil {
		return nil, shortIDX(err)
	}
	shape, n := make([]int, rank), uint(1)
	for i := range shape {
		d := binary.BigEndian.Uint32(head[4+4*i:])
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
	return &idxArray{shape, data}, nil
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
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	available := int64(0)
	if info.Mode().IsRegular() {
		available = info.Size()
	}
	a, err := readIDX(f, available)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; replace it by a good copy", path, err)
	}
	return a, nil
}
