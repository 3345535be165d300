package npy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

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

// ReadAny is Read of an array of numbers or text. Where r is known to hold available bytes in all, that saves copies;
// it may be 0.
func ReadAny(r io.Reader, available int64) (*Array, error) {
	a, err := readAny(r, available, nil)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return a, nil
}

// ReadFile reads the array of numbers of a file. Its errors name the file.
func ReadFile(path string) (*Array, error) { return readFile(path, read) }

// ReadAnyFile is ReadFile of an array of numbers or text.
func ReadAnyFile(path string) (*Array, error) { return readFile(path, readAny) }

// A reader reads an array from r, where available bytes are known to come, if its type and shape are accepted.
type reader[A any] func(r io.Reader, available int64, accept func(DType, []int) error) (*A, error)

func readFile[A any](path string, read reader[A]) (*A, error) {
	f, size, err := exactread.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := read(bufio.NewReader(f), size, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: not a usable .npy file: %w", path, err)
	}
	return a, nil
}

// read is readAny of numbers.
func read(r io.Reader, available int64, accept func(DType, []int) error) (*Array, error) {
	return readAny(r, available, func(d DType, shape []int) error {
		if d.IsText() {
			return fmt.Errorf("the elements are %v; save the array as a.astype('<f4') or another type of numbers", d)
		}
		if accept != nil {
			return accept(d, shape)
		}
		return nil
	})
}

// readAny reads an array and turns it to little endian and C order.
func readAny(r io.Reader, available int64, accept func(DType, []int) error) (*Array, error) {
	h, begin, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if h.record != nil {
		return nil, errRecords
	}
	a := &Array{Shape: h.shape}
	big := false
	if a.DType, a.Width, big, err = typeOfDescr(h.descr); err != nil {
		return nil, err
	}
	n, err := product(h.shape)
	if err != nil {
		return nil, err
	}
	size := a.itemSize()
	if size > 0 && n > math.MaxInt/size {
		return nil, fmt.Errorf("shape %s of %v: %w", tuple(h.shape), a.DType, errTooLarge)
	}
	if size == 0 && n > maxEmpty {
		return nil, fmt.Errorf("%d texts of no characters; at most %d are read", n, maxEmpty)
	}
	if accept != nil {
		if err := accept(a.DType, h.shape); err != nil {
			return nil, err
		}
	}
	if a.Data, err = h.data(r, available-int64(begin), n, a.DType, size); err != nil {
		return nil, err
	}
	if big {
		unit := size
		if a.DType == UnicodeType {
			unit = 4 // each character is a number
		}
		for at := 0; at < len(a.Data); at += unit {
			slices.Reverse(a.Data[at : at+unit])
		}
	}
	if h.fortran {
		a.Data = fromFortran(a.Data, h.shape, size)
	}
	return a, nil
}

// data reads the n elements of a file whose header is h.
func (h header) data(r io.Reader, available int64, n int, name fmt.Stringer, size int) ([]byte, error) {
	data, err := exactread.All(r, n*size, available >= int64(n*size))
	if err != nil {
		return nil, fmt.Errorf("data of shape %s of %v: %w", tuple(h.shape), name, err)
	}
	return data, nil
}

// ReadRawFile reads the array of a file, of elements of any type. Its errors name the file.
func ReadRawFile(path string) (*Raw, error) { return readFile(path, readRaw) }

// readRaw reads an array and turns it to C order.
func readRaw(r io.Reader, available int64, _ func(DType, []int) error) (*Raw, error) {
	h, begin, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	a := &Raw{Shape: h.shape}
	if h.record != nil {
		a.Type = *h.record
	} else if a.Type, err = ParseType(h.descr); err != nil {
		return nil, err
	}
	n, err := product(h.shape)
	if err != nil {
		return nil, err
	}
	if a.Type.Size > 0 && n > math.MaxInt/a.Type.Size {
		return nil, fmt.Errorf("shape %s of %v: %w", tuple(h.shape), a.Type, errTooLarge)
	}
	if a.Data, err = h.data(r, available-int64(begin), n, a.Type, a.Type.Size); err != nil {
		return nil, err
	}
	if h.fortran {
		a.Data = fromFortran(a.Data, h.shape, a.Type.Size)
	}
	return a, nil
}

// maxEmpty bounds the elements that have no bytes in the file.
const maxEmpty = 1 << 20

// fromFortran reorders elements of so many bytes from first index fastest to last index fastest.
func fromFortran(data []byte, shape []int, size int) []byte {
	last := len(shape) - 1
	if last < 1 || len(data) == 0 {
		return data
	}
	stride := make([]int, len(shape)) // of each index in data, in bytes
	step := size
	for i, d := range shape {
		stride[i], step = step, step*d
	}
	dst, index, from := make([]byte, 0, len(data)), make([]int, len(shape)), 0
	for len(dst) < len(data) {
		for range shape[last] { // along the last index
			dst = append(dst, data[from:from+size]...)
			from += stride[last]
		}
		from -= shape[last] * stride[last]
		for i := last - 1; i >= 0; i-- { // the next row, as an odometer counts
			index[i]++
			if from += stride[i]; index[i] < shape[i] {
				break
			}
			from -= shape[i] * stride[i]
			index[i] = 0
		}
	}
	return dst
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

// typeOfDescr finds the type of a descr: a byte order (< little, > big, | none), a kind and the bytes of
// an element, of Unicode text its characters.
func typeOfDescr(descr string) (d DType, width int, big bool, err error) {
	order, kind := byte('|'), descr
	if descr != "" && strings.IndexByte("<>|", descr[0]) >= 0 {
		order, kind = descr[0], descr[1:]
	}
	big = order == '>'
	for t, row := range dtypes {
		if d := DType(t); d.valid() && !d.IsText() && row.descr[1:] == kind {
			return d, 0, big && row.bytes > 1, nil
		}
	}
	if n, ok := strings.CutPrefix(kind, "U"); ok {
		if width, err = strconv.Atoi(n); err == nil && 0 <= width && width <= maxText {
			return UnicodeType, 4 * width, big, nil
		}
	}
	if n, ok := strings.CutPrefix(kind, "S"); ok {
		if width, err = strconv.Atoi(n); err == nil && 0 <= width && width <= maxText {
			return BytesType, width, false, nil
		}
	}
	for _, o := range others {
		if strings.HasPrefix(kind, o.kind) {
			return 0, 0, false, fmt.Errorf("the elements are %s (type %q); save the array as %s", o.is, descr, o.save)
		}
	}
	return 0, 0, false, fmt.Errorf("elements of type %q are not supported; save the array as a.astype('<f4') or "+
		"another type of numbers", descr)
}

// maxText is the longest text that is read, in characters.
const maxText = 1 << 20

// others are the types of NumPy that are not read, by the beginning of their descr.
var others = []struct{ kind, is, save string }{
	{"O", "Python objects", "a.astype(str) if they are labels, or a.astype('<f4') if they are numbers"},
	{"c", "complex numbers", "a.real, or as two columns"},
	{"M", "dates", "a.astype(str) if they are labels, or a.astype('<i8') if they are numbers"},
	{"m", "times", "a.astype(str) if they are labels, or a.astype('<i8') if they are numbers"},
	{"f", "floating-point numbers of a size that differs between machines", "a.astype('<f8')"},
	{"V", "bytes without a type, as those of bfloat16 are", "a.astype('<f4') before it loses its type"},
}
