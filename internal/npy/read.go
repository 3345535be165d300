package npy

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"bilevel/internal/exactread"
)

// Read reads an array from r, which must end with it. What the header claims is not believed: memory grows with the
// data.
func Read(r io.Reader) (*Array, error) { return ReadIf(r, nil) }

// ReadIf is Read of an array whose type and shape a function accepts; its error comes back before any element is read.
// A nil function accepts everything.
func ReadIf(r io.Reader, accept func(d DType, shape []int) error) (*Array, error) {
	a, err := read(r, 0, accept)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return a, nil
}

// ReadFile reads the array of a file. Its errors name the file.
func ReadFile(path string) (*Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := int64(0)
	if info.Mode().IsRegular() {
		size = info.Size()
	}
	a, err := read(bufio.NewReader(f), size, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: not a usable .npy file: %w", path, err)
	}
	return a, nil
}

// read reads an array. Where r is known to hold available bytes in all, that saves copies; it may be 0.
func read(r io.Reader, available int64, accept func(DType, []int) error) (*Array, error) {
	h, begin, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	d, err := dtypeOf(h.descr)
	if err != nil {
		return nil, err
	}
	if h.fortran && len(h.shape) > 1 {
		return nil, errors.New("the array is in Fortran order; save it as numpy.ascontiguousarray(a)")
	}
	n, err := product(h.shape)
	if err != nil {
		return nil, err
	}
	if n > math.MaxInt/d.Size() {
		return nil, fmt.Errorf("shape %s of %v: %w", tuple(h.shape), d, errTooLarge)
	}
	if accept != nil {
		if err := accept(d, h.shape); err != nil {
			return nil, err
		}
	}
	bytes := n * d.Size()
	data, err := exactread.All(r, bytes, available-int64(begin) >= int64(bytes))
	if err != nil {
		return nil, fmt.Errorf("data of shape %s of %v: %w", tuple(h.shape), d, err)
	}
	return &Array{DType: d, Shape: h.shape, Data: data}, nil
}

// readHeader reads up to the data and returns how many bytes that was.
func readHeader(r io.Reader) (h header, begin int, err error) {
	var fixed [12]byte
	if _, err := io.ReadFull(r, fixed[:8]); err != nil {
		return h, 0, short(err)
	}
	if string(fixed[:len(magic)]) != magic {
		return h, 0, fmt.Errorf("it begins with %q, not with %q", fixed[:len(magic)], magic)
	}
	var size int
	switch major, minor := fixed[6], fixed[7]; {
	case major == 1 && minor == 0:
		if _, err := io.ReadFull(r, fixed[8:10]); err != nil {
			return h, 0, short(err)
		}
		size, begin = int(binary.LittleEndian.Uint16(fixed[8:])), 10
	case (major == 2 || major == 3) && minor == 0:
		if _, err := io.ReadFull(r, fixed[8:12]); err != nil {
			return h, 0, short(err)
		}
		n := binary.LittleEndian.Uint32(fixed[8:])
		if n > maxHeader {
			return h, 0, fmt.Errorf("a header of %d bytes; at most %d are read", n, maxHeader)
		}
		size, begin = int(n), 12
	default:
		return h, 0, fmt.Errorf("format version %d.%d; versions 1.0, 2.0 and 3.0 are read", major, minor)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, 0, short(err)
	}
	h, err = parseHeader(string(text))
	return h, begin + size, err
}

// short names the end of the file inside the header.
func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("it ends inside its header: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// dtypeOf finds the type of a descr: a byte order (< little, > big, | none), a kind and the bytes of an element.
func dtypeOf(descr string) (DType, error) {
	for d, row := range dtypes {
		if row.descr == descr && DType(d).valid() {
			return DType(d), nil
		}
		if row.bytes == 1 && len(descr) == 3 && (descr[0] == '<' || descr[0] == '>') && descr[1:] == row.descr[1:] {
			return DType(d), nil // single bytes have no order
		}
		if len(descr) == 3 && descr[0] == '>' && row.bytes > 1 && descr[1:] == row.descr[1:] {
			return 0, fmt.Errorf("the elements %q are big endian; save the array as a.astype(%q)", descr, row.descr)
		}
	}
	return 0, fmt.Errorf("elements of type %q are not supported; save the array as a.astype('<f4') or another plain number", descr)
}
