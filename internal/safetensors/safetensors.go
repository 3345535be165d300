// Package safetensors reads and writes files of named arrays in the safetensors format, which Python's library of the
// same name and PyTorch's tools read too:
//
//	8 bytes   n, little endian: the length of the header
//	n bytes   the header, a JSON object: {"NAME": {"dtype": "F32", "shape": […], "data_offsets": [from, to]}, …,
//	          "__metadata__": {"KEY": "TEXT", …}}
//	…         the arrays' elements, row-major and little endian; offsets count from here
//
// Arrays lie one after the other without gaps. Nothing is trusted: a header that is too large, offsets that overlap or
// leave gaps, and shapes that do not fit are errors, and memory is taken only for what the file really holds.
package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
)

// Array is one named array: exactly one of the slices is set. Others are read as the nearest of them: F16 and BF16 as
// F32, integers that int32 holds as I32.
type Array struct {
	Shape []int
	F32   []float32
	F64   []float64
	I32   []int32
}

// Compact is an array of real numbers: float32 where that loses nothing, and float64 otherwise.
func Compact(shape []int, values []float64) Array {
	short := make([]float32, len(values))
	for i, v := range values {
		if short[i] = float32(v); float64(short[i]) != v && v == v {
			return Array{Shape: shape, F64: values}
		}
	}
	return Array{Shape: shape, F32: short}
}

// Len is the number of elements.
func (a Array) Len() int { return len(a.F32) + len(a.F64) + len(a.I32) }

// Reals are the elements as float64, whatever their type.
func (a Array) Reals() []float64 {
	out := slices.Clone(a.F64)
	for _, v := range a.F32 {
		out = append(out, float64(v))
	}
	for _, v := range a.I32 {
		out = append(out, float64(v))
	}
	return out
}

// File is the content of a file.
type File struct {
	Arrays   map[string]Array
	Metadata map[string]string
}

// headerLimit is the longest header that is read, as in the reference implementation.
const headerLimit = 100_000_000

type entry struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// Write writes a file; arrays lie in the order of their names, those of 8-byte elements first, so that each is aligned.
func Write(w io.Writer, f File) error {
	names := slices.SortedFunc(maps.Keys(f.Arrays), func(a, b string) int {
		if d := f.Arrays[b].width() - f.Arrays[a].width(); d != 0 {
			return d
		}
		if a < b {
			return -1
		}
		return 1
	})
	header := map[string]any{}
	if len(f.Metadata) > 0 {
		header["__metadata__"] = f.Metadata
	}
	off := 0
	for _, name := range names {
		a := f.Arrays[name]
		if size := product(a.Shape); name == "__metadata__" || size != a.Len() {
			return fmt.Errorf("safetensors: the array %q of shape %v has %d elements", name, a.Shape, a.Len())
		}
		shape := a.Shape
		if shape == nil {
			shape = []int{}
		}
		end := off + a.width()*a.Len()
		header[name] = entry{a.dtype(), shape, [2]int{off, end}}
		off = end
	}
	text, err := json.Marshal(header)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)); err != nil {
		return err
	}
	for _, name := range names {
		if err := f.Arrays[name].write(w); err != nil {
			return err
		}
	}
	return nil
}

func (a Array) dtype() string {
	switch {
	case a.F64 != nil:
		return "F64"
	case a.I32 != nil:
		return "I32"
	}
	return "F32"
}

func (a Array) width() int {
	if a.F64 != nil {
		return 8
	}
	return 4
}

func (a Array) write(w io.Writer) error {
	const block = 1 << 13
	buf := make([]byte, 0, 8*block)
	flush := func() error {
		_, err := w.Write(buf)
		buf = buf[:0]
		return err
	}
	for i := range a.Len() {
		switch {
		case a.F64 != nil:
			buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(a.F64[i]))
		case a.I32 != nil:
			buf = binary.LittleEndian.AppendUint32(buf, uint32(a.I32[i]))
		default:
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(a.F32[i]))
		}
		if len(buf) >= 8*block-8 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// Read reads a file of size bytes.
func Read(r io.ReaderAt, size int64) (*File, error) {
	var head [8]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, errors.New("safetensors: the file is shorter than its first 8 bytes")
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > headerLimit || int64(n) > size-8 {
		return nil, fmt.Errorf("safetensors: a header of %d bytes in a file of %d", n, size)
	}
	text := make([]byte, n)
	if _, err := r.ReadAt(text, 8); err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("safetensors: the header is no JSON object: %w", err)
	}
	f := &File{Arrays: map[string]Array{}}
	entries := map[string]entry{}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		part := raw[name]
		if name == "__metadata__" {
			if err := json.Unmarshal(part, &f.Metadata); err != nil {
				return nil, fmt.Errorf("safetensors: the metadata are no texts: %w", err)
			}
			continue
		}
		var e entry
		if err := json.Unmarshal(part, &e); err != nil {
			return nil, fmt.Errorf("safetensors: the entry of %q: %w", name, err)
		}
		entries[name] = e
	}
	if err := checkOffsets(entries, size-8-int64(n)); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		a, err := readArray(r, 8+int64(n), entries[name])
		if err != nil {
			return nil, fmt.Errorf("safetensors: %q: %w", name, err)
		}
		f.Arrays[name] = a
	}
	return f, nil
}

// ReadFile reads a file that is to hold something; where its content is not usable, the error says that it is none.
func ReadFile(path, something string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f, err := Read(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s is no %s: %w", path, something, err)
	}
	return f, nil
}

// checkOffsets refuses arrays that overlap, leave gaps or end elsewhere than the file.
func checkOffsets(entries map[string]entry, bytes int64) error {
	names := slices.SortedFunc(maps.Keys(entries), func(a, b string) int {
		x, y := entries[a].Offsets, entries[b].Offsets
		if x[0] != y[0] {
			return x[0] - y[0]
		}
		return x[1] - y[1]
	})
	at := 0
	for _, name := range names {
		o := entries[name].Offsets
		if o[0] != at || o[1] < o[0] {
			return fmt.Errorf("safetensors: the array %q lies at bytes %d to %d, but the one before it ends at %d",
				name, o[0], o[1], at)
		}
		at = o[1]
	}
	if int64(at) != bytes {
		return fmt.Errorf("safetensors: the arrays end at byte %d of %d", at, bytes)
	}
	return nil
}

// product is the number of elements of a shape; -1 where it is negative or no int holds it.
func product(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 || d > 0 && n > math.MaxInt/8/d {
			return -1
		}
		n *= d
	}
	return n
}
